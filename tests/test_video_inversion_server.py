"""The whole path of an inverted clip of a video model, with the demo video model on a real server."""

import re

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SOURCE, TARGET = "a blue square on white snow", "a blue square on yellow sand"


def graph(target=TARGET, **preset):
    prompts = {"clip": ["model", 1], "source_prompt": SOURCE, "target_prompt": target, "mode": "auto"}
    prompts |= {"emphasis": "", "mask_words": "", "target_mask_words": "", "windows": ""}
    video = {
        "file": "demo/blue_square_on_snow.mp4",
        "start": 0,
        "count": 5,
        "every_nth": 1,
        "width": 128,
        "height": 128,
    }
    values = {"self_from": 0.0, "self_until": 0.0, "cross_from": 0.0, "cross_until": 0.4, "mask_from": "off"}
    values |= {"mask_threshold": 0.5, "latent_blend": False, "latent_from": 0.0, "latent_until": 1.0}
    values |= {"mask_self_attention": False, **preset}
    preset = {"preset": "style"} | {f"preset.{name}": value for name, value in values.items()}
    edit = {"model": ["model", 0], "source": ["load", 0], "edit": ["prompts", 2], "positive": ["prompts", 1]}
    words = {
        "words": "snow",
        "when": "average of all steps",
        "step": 0,
        "scale": "each frame by itself",
        "opacity": 0.6,
    }
    invert = {"model": ["model", 0], "source": ["prompts", 0], "latent": ["latent", 0], "steps": 12}
    invert |= {"schedule": "DDIM (official)", "report_error": True}
    keep = {"source": ["invert", 1], "filename_prefix": "fatezero/wan"}
    heat = {"source": ["load", 0], "images": ["video", 0], **words}
    return {
        "model": {"class_type": "FateZeroLoadDemoVideoModel", "inputs": {}},
        "video": {"class_type": "FateZeroVideoLoad", "inputs": {**video, "fit": "crop", "grid": "8"}},
        "latent": {"class_type": "VAEEncode", "inputs": {"pixels": ["video", 0], "vae": ["model", 2]}},
        "prompts": {"class_type": "FateZeroEditPrompts", "inputs": prompts},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        "invert": {"class_type": "FateZeroInvert", "inputs": invert},
        "load": {"class_type": "FateZeroSaveSource", "inputs": keep},
        "heat": {"class_type": "FateZeroAttentionHeatMap", "inputs": heat},
        "edit": {
            "class_type": "FateZeroBlendSampler",
            "inputs": {**edit, "negative": ["negative", 0], "cfg": 1.0, **preset},
        },
        "decoded": {"class_type": "VAEDecode", "inputs": {"samples": ["edit", 0], "vae": ["model", 2]}},
        "report": {
            "class_type": "FateZeroEditReport",
            "inputs": {
                "before": ["video", 0], "after": ["decoded", 0], "edit": ["prompts", 2], "source": ["load", 0],
                "made_by": ["edit", 0],
            },
        },
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["edit", 0], "filename_prefix": "edit"}},
        "clip": {"class_type": "SaveLatent", "inputs": {"samples": ["latent", 0], "filename_prefix": "clip"}},
    }  # fmt: skip


def saved(server, run, node):
    return load_file(server.path(run.outputs[node]["latents"][0]))["latent_tensor"]


def completed(server, prompt):
    run = server.run(prompt)
    assert run.status == "success", run.error
    return run


def test_a_clip_is_inverted_saved_loaded_and_edited(server):
    run = completed(server, graph())
    (told,) = run.outputs["invert"]["text"]
    assert "5 frames of 128x128, 12 steps" in told and "Uni-Inv" in told and "reconstruction error" in told
    assert run.outputs["heat"]["images"] and run.outputs["report"]["text"]
    edited, clip = saved(server, run, "save"), saved(server, run, "clip")
    assert edited.shape == clip.shape == (1, 16, 2, 16, 16) and (edited - clip).abs().max() > 0.1
    loaded = graph()
    name = run.outputs["load"]["text"][0].split("\n")[0]
    for unused in ("invert", "heat", "report", "clip", "latent"):
        del loaded[unused]
    loaded["load"] = {"class_type": "FateZeroLoadSource", "inputs": {"file": f"{name} [output]", "model": ["model", 0]}}
    loaded["edit"]["inputs"]["source"] = ["load", 1]
    again = saved(server, completed(server, loaded), "save")
    assert (again - edited).abs().max() < 1e-5, "from a file it is the same edit"


def test_ksampler_edits_with_attention_blend(either_server):
    """The edit of Attention Blend Sampler, where KSampler takes the levels of the inversion."""
    prompt = graph()
    prompt["invert"]["inputs"]["schedule"] = "simple"
    del prompt["heat"], prompt["report"]
    expected = saved(either_server, completed(either_server, prompt), "save")
    others = "positive", "negative", "cfg"
    blend = {name: wire for name, wire in prompt["edit"]["inputs"].items() if name not in others}
    prompt["blend"] = {"class_type": "FateZeroAttentionBlend", "inputs": blend}
    ksampler = {"model": ["blend", 0], "positive": ["prompts", 1], "negative": ["negative", 0], "seed": 3, "cfg": 1.0}
    ksampler |= {"latent_image": ["invert", 0], "steps": 12, "denoise": 1.0, "scheduler": "simple"}
    prompt["edit"] = {"class_type": "KSampler", "inputs": {**ksampler, "sampler_name": "euler"}}
    run = completed(either_server, prompt)
    assert (saved(either_server, run, "save") - expected).abs().max() < 1e-4
    prompt["edit"]["inputs"]["sampler_name"] = "euler_ancestral"
    run = either_server.run(prompt)
    told = "Attention Blend: the sampler euler_ancestral adds random noise at every step"
    assert run.status == "error" and run.error["exception_message"].startswith(told), run.error


def test_words_hold_the_rest_and_what_does_not_serve_is_said(server):
    prompt = graph("a red square on white snow", mask_from="words", latent_blend=True)
    del prompt["heat"]
    run = completed(server, prompt)
    change = (saved(server, run, "save") - saved(server, run, "clip")).abs().amax(dim=1)
    assert 0.2 < float((change < 1e-4).float().mean()) < 1
    prompt["edit"]["inputs"]["attention_from"] = "reconstruction"
    run = server.run(prompt)
    told = "Attention Blend Sampler: 'attention from' is reconstruction, which a video model does not have"
    assert run.status == "error" and run.error["exception_message"].startswith(told), run.error


def test_two_models_invert_and_edit_as_one_after_the_other(either_server):
    """As Wan 2.2 14B is run: each model has a part of the steps, under two KSamplers (Advanced) or in our sampler."""
    prompt = graph()
    del prompt["heat"], prompt["report"]
    none = {"model1": ["model", 0], "model2": ["model", 0], "multiplier": 1.0}
    prompt["none"] = {"class_type": "ModelMergeSubtract", "inputs": none}  # every weight is zero
    less = {"model1": ["model", 0], "model2": ["none", 0], "ratio": 0.97}
    prompt["low"] = {"class_type": "ModelMergeSimple", "inputs": less}
    both = {"low_noise_model": ["low", 0]}
    prompt["invert"]["inputs"] |= {**both, "schedule": "simple", "boundary": 0.8}
    prompt["edit"]["inputs"] |= both
    run = completed(either_server, prompt)
    (told,) = run.outputs["invert"]["text"]
    change = 12 - int(
        re.search("two models: the one for low noise takes ([0-9]+) steps, below sigma 0.8$", told, re.M)[1]
    )
    assert 2 < change < 9
    expected = saved(either_server, run, "save")
    assert (expected - saved(either_server, run, "clip")).abs().mean() > 2, "snow became sand, by both models"

    name = run.outputs["load"]["text"][0].split("\n")[0]
    loaded = {"file": f"{name} [output]", "model": ["model", 0], **both}
    prompt["load"] = {"class_type": "FateZeroLoadSource", "inputs": loaded}
    others = "positive", "negative", "cfg"
    blend = {name: wire for name, wire in prompt["edit"]["inputs"].items() if name not in others}
    prompt["blend"] = {"class_type": "FateZeroAttentionBlend", "inputs": {**blend, "source": ["load", 1]}}
    stage = {"positive": ["prompts", 1], "negative": ["negative", 0], "cfg": 1.0, "steps": 12, "sampler_name": "euler"}
    stage |= {"scheduler": "simple", "noise_seed": 3}
    first = {"model": ["blend", 0], "latent_image": ["load", 0], "add_noise": "enable", "start_at_step": 0}
    first |= {"end_at_step": change, "return_with_leftover_noise": "enable"}
    second = {"model": ["blend", 1], "latent_image": ["first", 0], "add_noise": "disable", "start_at_step": change}
    second |= {"end_at_step": 10000, "return_with_leftover_noise": "disable"}
    prompt["first"] = {"class_type": "KSamplerAdvanced", "inputs": {**stage, **first}}
    prompt["edit"] = {"class_type": "KSamplerAdvanced", "inputs": {**stage, **second}}
    again = saved(either_server, completed(either_server, prompt), "save")
    assert (again - expected).abs().max() < 1e-3 * expected.abs().max()

    prompt["first"]["inputs"]["end_at_step"] = prompt["edit"]["inputs"]["start_at_step"] = change + 2
    refused = either_server.run(prompt)
    where = (
        f"begin at sigma 0.8, which is step {change} of 12 ('end_at_step' and 'start_at_step' of KSampler (Advanced))"
    )
    message = refused.error["exception_message"]
    assert refused.status == "error" and message.startswith("Attention Blend: 'model' makes steps") and where in message
