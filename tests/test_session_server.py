"""A new target costs the edit only: one inversion, one null text and one walk through the source's rows, over HTTP, in
every cache mode of ComfyUI."""

import pytest
from safetensors.torch import load_file

from workflow_runs import SAMPLER, nodes, shipped, short_demo, shortened

INVERT, NULL_TEXT, PROMPTS = "FateZeroInvert", "FateZeroNullText", "FateZeroEditPrompts"
TARGETS = [f"a {color} circle on green grass" for color in ("blue", "yellow", "purple", "orange", "white")]
FOUND, REPLAYED = "found again", "more than plain sampling, for the clip's attention"

pytestmark = pytest.mark.slow


def graph(server):
    """The word swap template in small, and the ids of its prompts, inversion and null text."""
    prompt = shortened(
        shipped(server, "fatezero_video_edit_demo_p2p_word_swap"), steps=5
    )  # no other test has made these runs
    return prompt, *(nodes(prompt, kind)[0] for kind in (PROMPTS, INVERT, NULL_TEXT))


def made(server, prompt, ids):
    """Which of these nodes computed their run in this prompt, instead of finding it or not running at all."""
    run = server.run(prompt)
    assert run.status == "success", run.error
    return [node for node in ids if node in run.executed and FOUND not in run.outputs[node]["text"][0]]


@pytest.mark.parametrize("arguments", [("--cache-classic",), ("--cache-none",)])
def test_five_targets_one_inversion_one_null_text(start_server, arguments):
    server = start_server(*arguments)
    check_five_targets(server)
    check_attention_is_kept(server)


def test_with_the_defaults(server):
    check_five_targets(server)
    check_attention_is_kept(server)


def test_on_the_oldest_comfyui(old_server):
    check_five_targets(old_server)
    check_attention_is_kept(old_server)


def check_five_targets(server):
    prompt, prompts, *runs = graph(server)
    counts = dict.fromkeys(runs, 0)
    for target in TARGETS:
        prompt[prompts]["inputs"].update(target_prompt=target, emphasis="", mask_words="circle")
        for node in made(server, prompt, runs):
            counts[node] += 1
    assert list(counts.values()) == [1, 1]


def with_report(server, null_text):
    """The short demo, whose edit tells how it ran."""
    prompt, invert = short_demo(server, steps=6)
    (sampler,) = nodes(prompt, SAMPLER)
    if null_text:
        inputs = {"model": prompt[invert]["inputs"]["model"], "source": [invert, 1], "guidance": 4.0, "inner_steps": 1}
        inputs |= {"negative": prompt[sampler]["inputs"]["negative"], "report_error": False}
        inputs["method"] = "negative-prompt inversion (fast, no optimization)"
        prompt["null"] = {"class_type": NULL_TEXT, "inputs": inputs}
        prompt[sampler]["inputs"]["source"] = ["null", 0]
    prompt["blank"] = {"class_type": "EmptyImage", "inputs": dict(width=64, height=64, batch_size=1, color=0)}
    inputs = {"before": ["blank", 0], "after": ["blank", 0], "made_by": [sampler, 0]}
    prompt["report"] = {"class_type": "FateZeroEditReport", "inputs": inputs}
    return prompt


def edited(server, prompt, target, source_attention):
    """The edit's latent, and what its report says."""
    prompt[nodes(prompt, PROMPTS)[0]]["inputs"].update(target_prompt=target, emphasis="", mask_words="circle")
    prompt[nodes(prompt, SAMPLER)[0]]["inputs"]["source_attention"] = source_attention
    run = server.run(prompt)
    assert run.status == "success", run.error
    return load_file(server.path(run.outputs["edit"]["latents"][0]))["latent_tensor"], run.outputs["report"]["text"][0]


def check_attention_is_kept(server):
    fresh = with_report(server, null_text=False)
    _, told = edited(server, fresh, TARGETS[0], "cache")
    assert REPLAYED in told and "Kept for a new target: " in told
    # Another graph with the same inversion: what an edit has shown serves them both.
    for prompt, how in ((with_report(server, null_text=True), "auto"), (fresh, "cache")):
        edit, told = edited(server, prompt, TARGETS[1], how)
        assert "attention is kept from an earlier edit" in told and "Kept for" not in told
        replayed, told = edited(server, prompt, TARGETS[1], "replay")
        assert REPLAYED in told
        assert float((edit - replayed).norm() / replayed.norm()) < 1e-5


def test_what_the_run_depends_on_inverts_anew(server):
    prompt, prompts, invert, _ = graph(server)
    (video,) = nodes(prompt, "FateZeroVideoLoad")
    prompt = {node: entry for node, entry in prompt.items() if entry["class_type"] != "FateZeroVideoSave"}
    prompt["show"] = {"class_type": "PreviewAny", "inputs": {"source": [invert, 3]}}
    made(server, prompt, [invert])
    for node, name, value in (
        (prompts, "source_prompt", "a red circle on the green grass"),
        (invert, "steps", 4),
        (video, "count", 1),
    ):
        prompt[node]["inputs"][name] = value
        assert made(server, prompt, [invert]) == [invert], name
        prompt[prompts]["inputs"]["target_prompt"] += " x"
        assert made(server, prompt, [invert]) == [], name
