"""A new target costs the edit only: one inversion and one null text, over HTTP, in every cache mode of ComfyUI."""

import pytest

from workflow_runs import nodes, shipped, shortened

INVERT, NULL_TEXT, PROMPTS = "FateZeroInvert", "FateZeroNullText", "FateZeroEditPrompts"
TARGETS = [f"a {color} circle on green grass" for color in ("blue", "yellow", "purple", "orange", "white")]
FOUND = "found again"

pytestmark = pytest.mark.slow


def graph(server):
    """The word swap template in small, and the ids of its prompts, inversion and null text."""
    prompt = shortened(shipped(server, "demo_p2p_word_swap"), steps=5)  # no other test has made these runs
    return prompt, *(nodes(prompt, kind)[0] for kind in (PROMPTS, INVERT, NULL_TEXT))


def made(server, prompt, ids):
    """Which of these nodes computed their run in this prompt, instead of finding it or not running at all."""
    run = server.run(prompt)
    assert run.status == "success", run.error
    return [node for node in ids if node in run.executed and FOUND not in run.outputs[node]["text"][0]]


@pytest.mark.parametrize("arguments", [("--cache-classic",), ("--cache-none",)])
def test_five_targets_one_inversion_one_null_text(start_server, arguments):
    check_five_targets(start_server(*arguments))


def test_with_the_defaults(server):
    check_five_targets(server)


def test_on_the_oldest_comfyui(old_server):
    check_five_targets(old_server)


def check_five_targets(server):
    prompt, prompts, *runs = graph(server)
    counts = dict.fromkeys(runs, 0)
    for target in TARGETS:
        prompt[prompts]["inputs"].update(target_prompt=target, emphasis="", mask_words="circle")
        for node in made(server, prompt, runs):
            counts[node] += 1
    assert list(counts.values()) == [1, 1]


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
