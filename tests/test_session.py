"""Runs kept for the session: found by content, alone by content, and without keeping anything alive."""

import gc
import os
import time
import weakref
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch

from edit_cases import SOURCE, TARGET, clip_latent, conditioning, negative, prompt_edit, random_controlnet, small_model
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.source import session_folder
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.null_text import OPTIMIZED, NullTextOptimization

EDIT = prompt_edit(SOURCE, TARGET)
FOUND = "found again"


@pytest.fixture
def temp():
    return Path(folder_paths.get_temp_directory())


@pytest.fixture(scope="module")
def model():
    return inflate(small_model(), Inflation(("-1", "first")))


def inverted(model, latent=None, source=None, **settings):
    """The run of DDIM Invert, and whether it was found again."""
    with torch.inference_mode():
        _, run, _, report = Invert.execute(
            model,
            source or conditioning(EDIT.source),
            {"samples": clip_latent() if latent is None else latent},
            **{"steps": 3, "schedule": OFFICIAL, **settings},
        ).result
    return run, FOUND in report


def null_text(model, run, start=None, **settings):
    with torch.inference_mode():
        run, _, report = NullTextOptimization.execute(
            model, run, start or negative(), **{"guidance": 5.0, "method": OPTIMIZED, "inner_steps": 2, **settings}
        ).result
    return run, report


def test_the_living_run_is_found_with_its_cache(model):
    first, found = inverted(model)
    assert not found
    again, found = inverted(model)
    assert found and again.cache is first.cache and again is first


def test_a_freed_run_is_found_in_the_temp_folder_to_the_bit(model):
    first, _ = inverted(model)
    kept, gone = replace(first), weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None  # nothing of ours keeps it alive
    again, found = inverted(model)
    assert found and again.tokens == kept.tokens and again.fingerprint == kept.fingerprint
    for name in ("sigmas", "trajectory", "word_maps"):
        assert torch.equal(getattr(again, name), getattr(kept, name)), name


def test_a_controlnet_on_the_source_comes_back(model):
    def source():
        return conditioning(EDIT.source, control=random_controlnet(0.8), control_apply_to_uncond=False)

    inverted(model, source=source())
    gc.collect()
    control = source()
    again, found = inverted(model, source=control)
    assert found and again.conditioning[0][1]["control"] is control[0][1]["control"]
    other = conditioning(EDIT.source, control=random_controlnet(0.7), control_apply_to_uncond=False)
    assert not inverted(model, source=other)[1]


def patched(model, strength):
    """The model with a weight patch, as a LoRA leaves it."""
    model = model.clone()
    name = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    weight = model.model.state_dict()[name]
    model.add_patches({name: ("diff", (torch.ones_like(weight),))}, strength)
    return model


@pytest.mark.parametrize(
    "change",
    [
        lambda model: {"latent": clip_latent(seed=1)},
        lambda model: {"source": conditioning(prompt_edit("a silver jeep on the road", TARGET).source)},
        lambda model: {"steps": 4},
        lambda model: {"schedule": "normal"},
        lambda model: {"refinement": 1},
        lambda model: {"evaluate_at": "current label (paper)"},
        lambda model: {"model": patched(model, 0.5)},
        lambda model: {"model": patched(model, 0.6)},
        lambda model: {"model": small_model()},
        lambda model: {"model": inflate(small_model(), Inflation(("first",)))},
        lambda model: {"model": inflate(small_model(seed=1), Inflation(("-1", "first")))},
    ],
)
def test_whatever_changes_the_result_inverts_anew(model, change):
    inverted(model)
    inverted(patched(model, 0.4))
    assert not inverted(**{"model": model, **change(model)})[1]


def test_what_changes_nothing_does_not(model):
    inverted(model)
    assert inverted(sampled_in_chunks(model, 1))[1]
    assert inverted(inflate(small_model(), Inflation(("-1", "first"))))[1]
    assert not inverted(model, reuse=False)[1]


def test_chunks_that_change_the_result_are_another_run(monkeypatch):
    """With all frames as key frames, a part of a clip sees some of them only."""
    model = inflate(small_model(), Inflation(("all",)))
    latent = clip_latent(frames=4)
    inverted(model, latent)
    assert not inverted(sampled_in_chunks(model, 2), latent)[1]
    assert inverted(sampled_in_chunks(model, 2), latent)[1]
    assert inverted(sampled_in_chunks(model, 4), latent)[1]


def test_a_model_that_cannot_be_named_is_inverted_anew_and_says_why(model):
    other = model.clone()
    other.set_model_attn1_output_patch(lambda value, options: value)
    with torch.inference_mode():
        for _ in range(2):
            *_, report = Invert.execute(
                other, conditioning(EDIT.source), {"samples": clip_latent()}, steps=2, schedule=OFFICIAL
            ).result
            assert FOUND not in report and "made anew whenever a prompt changes, since 'model' carries" in report


def test_the_error_is_told_whenever_it_is_asked_for(model):
    def report(**settings):
        with torch.inference_mode():
            return Invert.execute(
                model, conditioning(EDIT.source), {"samples": clip_latent()}, steps=3, schedule=OFFICIAL, **settings
            ).result[3]

    assert "error" not in report()
    assert "reconstruction error without guidance: " in report(report_error=True)
    assert "error" not in report()


@pytest.mark.slow
def test_null_text_is_found_again(model):
    run, _ = inverted(model)
    first, told = null_text(model, run)
    again, told_again = null_text(model, run)
    assert FOUND not in told and told_again.startswith(told) and FOUND in told_again
    assert torch.equal(again.null_text.embeddings, first.null_text.embeddings)
    for change in ({"guidance": 6.0}, {"inner_steps": 3}, {"start": conditioning(EDIT.target)}, {"early_stop": 0.0}):
        assert FOUND not in null_text(model, run, **change)[1], change
    other, _ = inverted(model, latent=clip_latent(seed=2))
    assert FOUND not in null_text(model, other)[1]


def test_a_damaged_file_is_made_again(model, temp):
    inverted(model)
    gc.collect()
    (file,) = temp.rglob("run.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    assert not inverted(model)[1]
    assert inverted(model)[1]


def test_the_least_recently_used_goes_first(model, temp, monkeypatch):
    for steps in (2, 3, 4):
        inverted(model, steps=steps)
        time.sleep(0.02)
    gc.collect()
    assert inverted(model, steps=2)[1]
    size = sum(file.stat().st_size for file in temp.rglob("*.safetensors"))
    monkeypatch.setattr(session_folder, "MOST_BYTES", size)
    inverted(model, steps=5)
    gc.collect()
    assert inverted(model, steps=2)[1] and not inverted(model, steps=3)[1]


def test_a_temp_folder_that_cannot_be_written_is_no_error(model, temp):
    temp.write_text("a file in its place")
    with torch.inference_mode():
        *_, report = Invert.execute(
            model, conditioning(EDIT.source), {"samples": clip_latent()}, steps=2, schedule=OFFICIAL
        ).result
    assert "the temp folder cannot keep it" in report
    assert not os.path.isdir(temp)
