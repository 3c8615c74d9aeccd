"""Tuned models beside others: their base, another tuning, a LoRA, a ControlNet, and what patches cross-attention."""

from dataclasses import replace

import pytest
import torch

from edit_cases import (
    ATTENTION_ALONE,
    clip_latent,
    conditioning,
    edited,
    inverted,
    negative,
    prompt_edit,
    random_controlnet,
    random_tuned_model,
    sampled,
    small_model,
    with_lora,
)
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.tuning.layouts import FATEZERO
from golden_unet import relative

EDIT, SHAPE = prompt_edit(), PRESETS["shape"]


@pytest.fixture(scope="module")
def base():
    return small_model()


@pytest.fixture(scope="module")
def tuned(base):
    """(tuned with attention alone, tuned with convolutions), of one base."""
    return random_tuned_model(base), random_tuned_model(base, replace(ATTENTION_ALONE, layout=FATEZERO, rank=4))


def test_two_tuned_models_and_their_base_in_one_graph(base, tuned):
    """In turn, each gives what it gives alone, whichever ComfyUI has loaded last."""
    models = (base, *tuned)
    runs = [inverted(model, EDIT, clip_latent(3)) for model in models]
    first = [edited(model, run, EDIT, SHAPE) for model, run in zip(models, runs)]
    for model, run, expected in reversed(list(zip(models, runs, first))):
        assert torch.equal(edited(model, run, EDIT, SHAPE), expected)
    assert min(relative(one, other) for one, other in ((first[0], first[1]), (first[1], first[2]))) > 1e-3
    assert len({fingerprint(model) for model in models}) == 3


def test_an_edit_must_use_the_model_of_its_inversion(base, tuned):
    """The tuned state is part of what the model is."""
    source = inverted(tuned[0], EDIT, clip_latent(3))
    for other in (base, tuned[1]):
        with pytest.raises(Refusal, match="model"):
            edited(other, source, EDIT, SHAPE)


def test_controlnet_lora_and_a_patch_of_cross_attention_at_once(tuned):
    """Each of them still acts on a tuned model, and so does the fusion."""
    model = with_lora(tuned[1])
    model.set_model_attn2_patch(lambda query, key, value, extra: (query, key, value * 1.2))
    control = {"control": random_controlnet(0.5), "control_apply_to_uncond": False}
    source = inverted(model, EDIT, clip_latent(3), conditioning=conditioning(EDIT.source, **control))
    positive = conditioning(EDIT.target, **control)

    def run(model, source, positive=positive):
        return sample_edit(model, source, EDIT, SHAPE, positive, negative(), 5.0, disable_pbar=True)

    together = run(model, source)
    assert bool(torch.isfinite(together).all())
    assert relative(run(model, source, conditioning(EDIT.target)), together) > 1e-3
    assert relative(sampled(model, source, EDIT, positive=positive), together) > 1e-3
    for other in (with_lora(tuned[1]), _patched(tuned[1])):
        again = inverted(other, EDIT, clip_latent(3), conditioning=conditioning(EDIT.source, **control))
        assert relative(run(other, again), together) > 1e-3


def _patched(model):
    patched = model.clone()
    patched.set_model_attn2_patch(lambda query, key, value, extra: (query, key, value * 1.2))
    return patched


def test_a_lora_on_a_tuned_model_is_put_on_and_taken_off(tuned):
    source = inverted(tuned[0], EDIT, clip_latent(3))
    before = edited(tuned[0], source, EDIT, SHAPE)
    with_it = with_lora(tuned[0])
    assert relative(edited(with_it, inverted(with_it, EDIT, clip_latent(3)), EDIT, SHAPE), before) > 1e-3
    assert torch.equal(edited(tuned[0], source, EDIT, SHAPE), before)


def test_attention_blend_leaves_the_tuned_model_as_it_is(tuned):
    source, before = inverted(tuned[0], EDIT, clip_latent(3)), fingerprint(tuned[0])
    blended = blend_attention(tuned[0], source, EDIT, SHAPE)
    sampled(blended, source, EDIT)
    assert fingerprint(tuned[0]) == before
    network = tuned[0].model.diffusion_model
    assert not any("forward" in vars(module) for module in network.modules())
