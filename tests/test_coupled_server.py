"""Coupled Edit Sampler on real servers, with small video models."""

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"


def graph(target, kind="wan", **settings):
    given = {"steps": 3, "cfg": 1.0, "scheduler": "simple", "seed": 0}
    given |= {"cross_until": 0.4, "self_until": 0.0, "skip": 0.0, "drift": 0.0, **settings}
    prompts = {"clip": ["model", 1], "source_prompt": SOURCE, "target_prompt": target}
    prompts |= {"mode": "auto", "emphasis": "", "mask_words": "", "target_mask_words": "", "windows": ""}
    wires = {"model": ["model", 0], "edit": ["prompts", 2], "source": ["prompts", 0], "positive": ["prompts", 1]}
    wires |= {"negative": ["prompts", 0], "latent": ["model", 2]}
    return {
        "model": {"class_type": "TestTinyVideoModel", "inputs": {"kind": kind}},
        "prompts": {"class_type": "FateZeroEditPrompts", "inputs": prompts},
        "edit": {"class_type": "FateZeroCoupledSampler", "inputs": {**wires, **given}},
        "clip": {"class_type": "SaveLatent", "inputs": {"samples": ["model", 2], "filename_prefix": "clip"}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["edit", 0], "filename_prefix": "coupled"}},
    }


def saved(server, run, node):
    return load_file(server.path(run.outputs[node]["latents"][0]))["latent_tensor"]


def test_a_wan_clip_is_edited_by_its_words(either_server):
    run = either_server.run(graph(TARGET))
    assert run.status == "success", run.error["exception_message"]
    edited, clip = saved(either_server, run, "save"), saved(either_server, run, "clip")
    assert edited.shape == (1, 16, 3, 8, 10) and (edited - clip).abs().max() > 1e-3
    run = either_server.run(graph(TARGET, mask_from="words", mask_threshold=0.9))
    masked = saved(either_server, run, "save")
    outside = (masked - clip).abs().amax(dim=1) < 1e-5
    assert 0 < outside.float().mean() < 1 and run.outputs["edit"]["images"], "outside the words the clip stays"
    run = either_server.run(graph(SOURCE))
    assert (saved(either_server, run, "save") - clip).abs().max() < 1e-4, "the same prompt gives the clip back"


@pytest.mark.parametrize("kind, target", [("wan_5b", TARGET), ("hunyuan", f"{TARGET} and white snow")])
def test_other_models_edit_a_clip_by_its_words(server, kind, target):
    """Of 48 channels; with prompt and clip in one attention, and prompts of unlike length."""
    run = server.run(graph(target, kind))
    assert run.status == "success", run.error["exception_message"]
    edited, clip = saved(server, run, "save"), saved(server, run, "clip")
    assert edited.shape == clip.shape and (edited - clip).abs().max() > 1e-3
    run = server.run(graph(SOURCE, kind))
    assert (saved(server, run, "save") - clip).abs().max() < 1e-4, "the same prompt gives the clip back"


def test_prompts_of_unlike_length_edit_a_clip(server):
    """Longer than a text encoder fills up to; the negative is the short one."""
    long = f"{TARGET}, " * 100
    run = server.run(graph(long, cfg=1.5))
    assert run.status == "success", run.error["exception_message"]
    edited, clip = saved(server, run, "save"), saved(server, run, "clip")
    assert edited.shape == clip.shape and (edited - clip).abs().max() > 1e-3


@pytest.mark.parametrize(
    "node, inputs, told",
    [
        ("FateZeroInflate", {"key_frames": "all", "minimum_width": 0, "normalise_across_frames": False,
                             "custom_key_frames": "current"}, "Inflate UNet to ST-Attention: 'model' is Wan, a video"),
    ],
)  # fmt: skip
def test_nodes_of_the_other_family_step_aside_in_a_sentence(server, node, inputs, told):
    prompt = graph(TARGET)
    prompt["other"] = {"class_type": node, "inputs": {"model": ["model", 0], **inputs}}
    prompt["edit"]["inputs"]["model"] = ["other", 0]
    run = server.run(prompt)
    assert run.status == "error" and run.error["exception_message"].startswith(told), run.error
