"""What is wrong further on in the graph is said before the clip is inverted."""

import pytest

from edit_cases import prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.shared import foresight
from workflow_runs import nodes, shipped, shortened

TOKENS = prompt_edit("a red circle on green grass", "a blue circle on green grass").source


def graph(kind, inputs, takes=None):
    return {
        "1": {"class_type": "FateZeroEditPrompts", "inputs": {}},
        "2": {"class_type": "FateZeroInvert", "inputs": {"source": ["1", 0]}},
        "3": {"class_type": kind, "inputs": {**({"edit": ["1", 2]} if takes is None else takes), **inputs}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }


def look(kind, inputs, takes=None, output="4"):
    prompt = graph(kind, inputs, takes)
    foresight.look_ahead({name: entry for name, entry in prompt.items() if name <= output}, "1", TOKENS)


@pytest.mark.parametrize("kind", ["FateZeroAttentionBlend", "FateZeroBlendSampler"])
@pytest.mark.parametrize("mask_from", ["mask input", "words inside mask input"])
def test_a_mask_input_without_a_mask(kind, mask_from):
    with pytest.raises(Refusal, match=f"has 'mask from' on {mask_from}, but nothing is connected to its"):
        look(kind, {"preset.mask_from": mask_from})
    look(kind, {"preset.mask_from": mask_from, "mask": ["9", 0]})
    look(kind, {"preset.mask_from": "words"})
    look(kind, {"preset.mask_from": mask_from}, takes={"edit": ["8", 2]})  # of another Edit Prompts
    look(kind, {"preset.mask_from": mask_from}, output="3")  # which nobody asks for, so that it never runs


@pytest.mark.parametrize("kind", ["FateZeroAttentionMask", "FateZeroAttentionHeatMap"])
@pytest.mark.parametrize("takes", [None, {"source": ["2", 1]}])
def test_words_that_are_in_no_prompt(kind, takes):
    with pytest.raises(Refusal, match="cannot run: 'words' names 'squirrel', which is not in"):
        look(kind, {"words": "circle, squirrel"}, takes)
    look(kind, {"words": "circle"}, takes)
    look(kind, {"words": ""}, takes)


def test_the_names_are_those_that_nodes_have(server):
    information = server.object_info()
    for kind in (*foresight._BLENDS, *foresight._WORDS):
        assert information[kind]["display_name"] == {**foresight._BLENDS, **foresight._WORDS}[kind]
    outputs = information["FateZeroEditPrompts"]["output"]
    assert outputs[foresight.EDIT_OUTPUT] == "FZ_EDIT" and outputs[foresight.SOURCE_OUTPUT] == "CONDITIONING"


def test_nothing_is_inverted_for_an_edit_that_cannot_run(server):
    prompt = shortened(shipped(server, "demo_color_edit"))
    (blend,) = nodes(prompt, "FateZeroBlendSampler")
    prompt[blend]["inputs"] |= {"preset.mask_from": "mask input"}
    (edit,) = nodes(prompt, "FateZeroEditPrompts")
    prompt[edit]["inputs"]["target_prompt"] = "a purple circle on green grass"  # else ComfyUI may have it in its cache
    run = server.run(prompt)
    assert run.status == "error" and run.error["node_type"] == "FateZeroEditPrompts"
    assert run.error["exception_type"] == "fatezero.Refusal"  # shown with the sentence; no path
    assert run.error["exception_message"].startswith(
        "Edit Prompts: Attention Blend Sampler, further on, has 'mask from' on mask input, but nothing is connected"
    )
    assert "FateZeroInvert" not in [prompt[node]["class_type"] for node in run.executed]
