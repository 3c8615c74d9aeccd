"""What is wrong further on in the graph is said before the clip is inverted."""

from dataclasses import replace

import pytest
import torch

from edit_cases import prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.video.clip import Selection
from fatezero_pack.fatezero.video.frames import Placement
from fatezero_pack.fatezero.video.read import read_images
from fatezero_pack.nodes.shared import foresight
from workflow_runs import nodes, shipped, shortened

EDIT = prompt_edit("a red circle on green grass", "a blue circle on green grass")


def graph(kind, inputs, takes=None):
    return {
        "1": {"class_type": "FateZeroEditPrompts", "inputs": {}},
        "2": {"class_type": "FateZeroInvert", "inputs": {"source": ["1", 0]}},
        "3": {"class_type": kind, "inputs": {**({"edit": ["1", 2]} if takes is None else takes), **inputs}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }


def look(kind, inputs, takes=None, output="4", edit=EDIT):
    prompt = graph(kind, inputs, takes)
    foresight.look_ahead({name: entry for name, entry in prompt.items() if name <= output}, "1", edit)


@pytest.mark.parametrize("kind", ["FateZeroAttentionBlend", "FateZeroBlendSampler"])
@pytest.mark.parametrize("mask_from", ["mask input", "words inside mask input"])
def test_a_mask_input_without_a_mask(kind, mask_from):
    with pytest.raises(Refusal, match=f"has 'mask from' on {mask_from}, but nothing is connected to its"):
        look(kind, {"preset.mask_from": mask_from})
    look(kind, {"preset.mask_from": mask_from, "mask": ["9", 0]})
    look(kind, {"preset.mask_from": "words"})
    look(kind, {"preset.mask_from": mask_from}, takes={"edit": ["8", 2]})  # of another Edit Prompts
    look(kind, {"preset.mask_from": mask_from}, output="3")  # which nobody asks for, so that it never runs


def look_at_models(kind, edited, inverted, **others):
    """With a checkpoint, and behind it an Inflate UNet of some inputs, or none; the ids of what each takes."""
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}}
    inflated = {
        name: {"class_type": "FateZeroInflate", "inputs": {"model": ["7", 0], **values}}
        for name, values in (("8", edited), ("9", inverted))
        if values is not None
    }
    prompt = {
        **graph(kind, {"model": ["8" if "8" in inflated else "7", 0], "source": ["2", 1]}),
        "7": loader,
        **inflated,
    }
    prompt["2"]["inputs"]["model"] = ["9" if "9" in inflated else "7", 0]
    foresight.look_ahead({**prompt, **others}, "1", EDIT)


@pytest.mark.parametrize("kind", ["FateZeroAttentionBlend", "FateZeroBlendSampler"])
def test_a_model_inflated_otherwise_than_that_of_the_inversion(kind):
    """Which the blend nodes refuse, but only when the clip is inverted."""
    usual, first = {"key_frames": "current + middle (paper)"}, {"key_frames": "first (Video-P2P)"}
    told = r"is inflated with \[key frames first\] but the source was inverted with \[nothing\]; use one Inflate UNet"
    with pytest.raises(Refusal, match=f"further on, cannot run: the model {told}"):
        look_at_models(kind, first, None)
    for edited, inverted in ((None, usual), (usual, first), (usual, {**usual, "minimum_width": 640})):
        with pytest.raises(Refusal, match="further on, cannot run: the model is inflated with"):
            look_at_models(kind, edited, inverted)
    same = {"key_frames": "custom", "custom_key_frames": "current,middle"}
    for inverted in (usual, {}, same, {**usual, "frames_at_once": 2}):
        look_at_models(kind, usual, inverted)
    look_at_models(kind, None, None)
    switch = {"class_type": "Switch", "inputs": {"on": True, "any": ["5", 0]}}
    tuned = {"class_type": "FateZeroLoadTuned", "inputs": {"model": ["5", 0]}}
    for untold in (switch, tuned):
        look_at_models(kind, None, usual, **{"7": untold})
    look_at_models(kind, {"key_frames": ["5", 0]}, usual)
    look_at_models(kind, {"key_frames": "custom", "custom_key_frames": "nonsense"}, usual)


@pytest.mark.parametrize("kind", ["FateZeroAttentionBlend", "FateZeroBlendSampler"])
def test_adding_without_a_place_or_a_word(kind):
    adding = {"preset": "add", "preset.mask_from": "mask input"}
    with pytest.raises(Refusal, match="further on, cannot run: the presets add and replace need to know where"):
        look(kind, adding)
    look(kind, {**adding, "mask": ["9", 0]})
    with pytest.raises(Refusal, match="further on, cannot run: the presets add and replace make new words appear"):
        look(kind, {**adding, "mask": ["9", 0]}, edit=prompt_edit("a red circle", "a red circle"))
    with pytest.raises(Refusal, match="'mask from' is mask input and shows no place"):
        look(kind, {"preset": "add"})  # a graph that leaves 'mask from' as the preset has it
    look(kind, {"preset": "replace"})
    gone = prompt_edit("a red circle and a star", "a red circle")
    with pytest.raises(Refusal, match="further on, cannot run: the presets add and replace make new words appear"):
        look(kind, {"preset": "replace"}, edit=gone)
    for until in (0, ["9", 0]):  # never, or over a wire
        look(kind, {"preset": "replace", "preset.new_words_until": until}, edit=gone)


@pytest.mark.parametrize("kind", ["FateZeroAttentionBlend", "FateZeroBlendSampler"])
def test_a_mask_of_words_where_none_is_replaced(kind):
    """Such as with equal prompts, or words that were only added."""
    same = prompt_edit("a red circle on grass", "a red circle on grass")
    added = prompt_edit("a circle on grass", "a circle on grass at night")
    for edit, why in ((same, "both prompts are the same"), (added, "no word of the source prompt is replaced")):
        for inputs, mask_from in (
            ({"preset": "attribute"}, "words, to the edges"),
            ({"preset": "remove"}, "words, to the edges"),
            ({"preset": "remove (as in the paper)"}, "words"),
            ({"preset": "attribute", "preset.mask_from": "words"}, "words"),
        ):
            with pytest.raises(Refusal, match=f"cannot run: 'mask from' is {mask_from} but {why}"):
                look(kind, inputs, edit=edit)
        look(kind, {"preset": "style"}, edit=edit)
        look(kind, {"preset": "attribute", "preset.mask_from": "off", "preset.latent_blend": False}, edit=edit)
    look(kind, {"preset": ["9", 0]}, edit=same)  # over a wire, where nobody knows it yet
    look(kind, {"preset": "attribute"})


@pytest.mark.parametrize("kind", ["FateZeroAttentionMask", "FateZeroAttentionHeatMap"])
@pytest.mark.parametrize("takes", [None, {"source": ["2", 1]}])
def test_words_that_are_in_no_prompt(kind, takes):
    with pytest.raises(Refusal, match="cannot run: 'words' names 'squirrel', which is not in"):
        look(kind, {"words": "circle, squirrel"}, takes)
    look(kind, {"words": "circle"}, takes)
    look(kind, {"words": ""}, takes)


def test_the_names_are_those_that_nodes_have(server):
    information = server.object_info()
    for kind, name in {**foresight._BLENDS, **foresight._WORDS, **foresight.SAVE, **foresight.WITH_LATENT}.items():
        assert information[kind]["display_name"] == name
    outputs = information["FateZeroEditPrompts"]["output"]
    loaded = information["FateZeroVideoLoad"]
    assert loaded["output_name"][foresight.FPS_OUTPUT] == "fps" and loaded["output"][foresight.AUDIO_OUTPUT] == "AUDIO"
    assert outputs[foresight.EDIT_OUTPUT] == "FZ_EDIT" and outputs[foresight.SOURCE_OUTPUT] == "CONDITIONING"


SOUND = {"waveform": torch.full((1, 10, 99), 9.0), "sample_rate": 48000}
THINNED = "Video Save, further on: gif plays at most 50 frames per second; one of 2 frames is saved."
SILENT = "Video Save, further on: gif holds no sound."
MIXED = "Video Save, further on: The sound's 10 channels are mixed into one."
LOUD = "Video Save, further on: The sound is far louder than full scale and is cut to it; lower its volume."


def saving(side=16, **inputs):
    given = {"images": ["2", 0], "fps": ["1", 1], "audio": ["1", 2], "format": "mp4", **inputs}
    prompt = {
        "1": {"class_type": "FateZeroVideoLoad", "inputs": {}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "FateZeroVideoSave", "inputs": given},
    }

    def whole(size):
        return Placement(size, size)

    clip = replace(read_images(torch.zeros(2, 16, side, 3), "clip", Selection(), whole, 60.0), audio=SOUND)
    return foresight.what_saving_changes(prompt, "1", clip)


@pytest.mark.parametrize(
    "inputs, told",
    [
        (dict(format="gif"), [THINNED, SILENT]),
        (dict(format="gif", fps=60.0, audio=["9", 0]), []),  # of other nodes
        (dict(format="gif", images=["9", 0], fps=["9", 0], audio=["9", 0]), []),  # another clip's
        (dict(format="mp4"), [MIXED, LOUD]),
        (dict(format="ffv1", audio=None), []),
        (dict(format=["9", 0]), []),
    ],
)
def test_what_saving_changes_is_said_when_the_clip_is_loaded(inputs, told):
    assert saving(**inputs) == told


@pytest.mark.parametrize("format, most", [("mp4", 16384), ("av1", 8192), ("webp", 16383), ("png", None)])
def test_sizes_that_a_format_cannot_hold_are_said_when_the_clip_is_loaded(format, most):
    told = " ".join(saving(side=9000, format=format, audio=None, compare_with=["1", 0]))
    assert told.startswith(f"Video Save, further on: {format} holds at most {most} pixels a side") if most else not told


def encoding(frames, kind="FateZeroCoupledSampler", loader="UNETLoader", file="wan2.1_t2v.safetensors", **changed):
    prompt = {
        "1": {"class_type": "FateZeroVideoLoad", "inputs": {}},
        "2": {"class_type": loader, "inputs": {"unet_name": file}},
        "3": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["2", 0], "lora_name": "a.safetensors"}},
        "4": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["9", 0]}},
        "5": {"class_type": kind, "inputs": {"model": ["3", 0], "latent": ["4", 0]}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
        **changed,
    }
    return foresight.what_encoding_drops(prompt, "1", frames)


CUT = "further on: of 8 frames the model's VAE keeps 5 (1 + a multiple of 4); set 'count' to 5, or to 9."


@pytest.mark.parametrize(
    "given, told",
    [
        (dict(frames=8), [f"Coupled Edit Sampler, {CUT}"]),
        (dict(frames=9), []),
        (dict(frames=1), []),
        (dict(frames=8, kind="FateZeroInvert"), [f"DDIM Invert + Store Attention, {CUT}"]),
        (
            dict(frames=8, kind="FateZeroInvert", loader="FateZeroLoadDemoVideoModel", file=""),
            [f"DDIM Invert + Store Attention, {CUT}"],
        ),
        (dict(frames=8, kind="FateZeroInvert", loader="CheckpointLoaderSimple", file="taiwan-v1-5.safetensors"), []),
        (dict(frames=8, loader="Unknown", file=""), [f"Coupled Edit Sampler, {CUT}"]),
        (
            dict(frames=13, file="ltx-video-2b-v0.9.5.safetensors"),
            [
                f"Coupled Edit Sampler, {CUT}".replace("5 (1", "9 (1")
                .replace("8 frames", "13 frames")
                .replace(" 4)", " 8)")
                .replace("to 5, or to 9", "to 9, or to 17")
            ],
        ),
        ({"frames": 8, "4": {"class_type": "VAEEncode", "inputs": {"pixels": ["7", 0]}}}, []),  # another clip
        ({"frames": 8, "6": {"class_type": "FateZeroEditPrompts", "inputs": {}}}, []),  # which nobody asks for
    ],
)
def test_frames_that_a_video_model_leaves_out_are_said_when_the_clip_is_loaded(given, told):
    assert encoding(**given) == told


@pytest.mark.parametrize("name", ["edit_with_video_transformer", "invert_with_video_transformer"])
def test_the_loaded_clip_says_on_a_server_what_a_video_model_leaves_out(server, name):
    prompt = shortened(shipped(server, f"fatezero_video_edit_demo_{name}"), frames=5)
    (load,) = nodes(prompt, "FateZeroVideoLoad")
    told = {}
    for count in (4, 5):
        prompt[load]["inputs"]["count"] = count
        run = server.run(prompt)
        assert run.status == "success", run.error
        told[count] = run.outputs[load]["text"][0]
    assert "of 4 frames the model's VAE keeps 1 (1 + a multiple of 4); set 'count' to 1, or to 5." in told[4]
    assert "further on" not in told[5]


def test_the_loaded_clip_says_on_a_server_what_saving_will_change(server):
    prompt = shortened(shipped(server, "fatezero_video_edit_demo_color_edit"))
    save, *_ = nodes(prompt, "FateZeroVideoSave")
    load, *_ = nodes(prompt, "FateZeroVideoLoad")
    prompt[load]["inputs"]["force_rate"] = 60.0
    prompt[save]["inputs"] |= {"format": "gif", "fps": [load, 1]}
    run = server.run(prompt)
    assert run.status == "success" and THINNED in run.outputs[load]["text"][0]
    assert run.executed.index(load) < run.executed.index(save)


def test_nothing_is_inverted_for_an_edit_that_cannot_run(server):
    prompt = shortened(shipped(server, "fatezero_video_edit_demo_color_edit"))
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
