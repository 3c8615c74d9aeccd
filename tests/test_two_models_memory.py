"""Wan 2.2 14B's two models on a device with room for one: the other is never in it, as under two KSamplers."""

import comfy.model_base
import comfy.model_management
import pytest
import torch

from fatezero_pack.fatezero.edit.settings import WORDS
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.invert import Invert
from nodes import KSamplerAdvanced
from tiny_video_models import two_wans

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
STEPS, BOUNDARY = 6, 0.875
FUSED = {"preset": "attribute", "self_until": 1.0, "cross_until": 1.0, "mask_from": "off", "latent_blend": False}


@pytest.fixture(scope="module")
def pair():
    """For a device of another name than the CPU, on which alone ComfyUI never makes room."""
    models = two_wans()
    for model in models:
        model.load_device = torch.device("cpu", 0)
    return models


@pytest.fixture
def held(pair, monkeypatch):
    """What is loaded whenever a model is asked: a set of places in the pair, for each call; the device has no room."""
    calls, ask = [], comfy.model_base.BaseModel.apply_model

    def asked(self, *args, **kwargs):
        loaded = [each.model.model for each in comfy.model_management.current_loaded_models]
        calls.append({place for place, model in enumerate(pair) if any(model.model is other for other in loaded)})
        assert self in loaded
        return ask(self, *args, **kwargs)

    def free(device=None, torch_free_too=False):
        return (0, 0) if torch_free_too else 0

    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", asked)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)
    yield calls
    comfy.model_management.unload_all_models()


@pytest.fixture
def latent():
    return torch.randn(1, 16, 3, 8, 10, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def prompts(t5_prompt):
    return t5_prompt(SOURCE), t5_prompt(TARGET), t5_prompt("snow")


@pytest.fixture
def edit(t5_tokens):
    return make_prompt_edit(t5_tokens(SOURCE), t5_tokens(TARGET))


@pytest.fixture
def run(pair, latent, prompts):
    wires = pair[0], prompts[0], {"samples": latent}, STEPS, "simple"
    return Invert.execute(*wires, low_noise_model=pair[1], boundary=BOUNDARY, reuse=False).args[1]


def changes(calls):
    """The places in the order in which they were loaded; each call found one of them alone."""
    assert calls and all(len(places) == 1 for places in calls), calls
    order = [next(iter(places)) for places in calls]
    return [place for place, before in zip(order, [None, *order]) if place != before]


def test_two_ksamplers_load_one_after_the_other(pair, held, latent, prompts):
    """What ComfyUI does by itself: the measure for the others."""
    for place, first, last in ((0, 0, 4), (1, 4, STEPS)):
        settings = "disable", 7, STEPS, 1.0, "euler", "simple"
        KSamplerAdvanced().sample(
            pair[place], *settings, prompts[1], prompts[2], {"samples": latent}, first, last, "enable"
        )
    assert changes(held) == [0, 1]


def test_an_inversion_loads_one_after_the_other(pair, held, latent, prompts):
    """Up with the one for low noise first; the clip that is drawn again comes down the other way round."""
    wires = pair[0], prompts[0], {"samples": latent}, STEPS, "simple"
    options = {"low_noise_model": pair[1], "boundary": BOUNDARY, "reuse": False}
    Invert.execute(*wires, **options)
    assert changes(held) == [1, 0]
    held.clear()
    Invert.execute(*wires, **options, report_error=True)
    assert changes(held) == [1, 0, 1]


def test_an_edit_loads_one_after_the_other(pair, run, held, edit, prompts):
    wires = pair[0], run, edit, prompts[1], prompts[2], 2.0, FUSED
    AttentionBlendSampler.execute(*wires, low_noise_model=pair[1])
    assert changes(held) == [0, 1]


def test_attention_blend_loads_one_after_the_other(pair, run, held, edit, prompts, latent):
    blended = AttentionBlend.execute(pair[0], run, edit, FUSED, low_noise_model=pair[1]).args
    change, samples = run.stages[0].stop, {"samples": latent}
    for model, first, last, noise, left in (
        (blended[0], 0, change, "enable", "enable"),
        (blended[1], change, STEPS, "disable", "disable"),
    ):
        settings = noise, 7, STEPS, 1.0, "euler", "simple"
        (samples,) = KSamplerAdvanced().sample(model, *settings, prompts[1], prompts[2], samples, first, last, left)
    assert changes(held) == [0, 1]


def test_a_coupled_edit_loads_one_after_the_other(pair, held, edit, prompts, latent):
    wires = pair[0], edit, *prompts, {"samples": latent}, STEPS, 2.0, "simple", 4
    options = {"cross_until": 1.0, "self_until": 1.0, "skip": 0.0, "drift": 0.0, "mask_from": WORDS}
    CoupledEditSampler.execute(*wires, low_noise_model=pair[1], boundary=BOUNDARY, **options)
    assert changes(held) == [1, 0, 1], "the words are looked for at a level of the second"
