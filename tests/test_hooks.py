"""Good manners: nothing is left on a model after success, error or cancel, and other nodes' patches keep working."""

import comfy.lora
import comfy.model_management
import comfy.samplers
import comfy.sd
import comfy_extras.nodes_freelunch as freelunch
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_sag as sag
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention

from edit_cases import (
    clip_latent,
    conditioning,
    edited,
    inverted,
    inverted_noise,
    negative,
    prompt_edit,
    sampled,
    small_model,
    snapshot,
    with_lora,
)
from fatezero_pack.fatezero.edit.settings import RECONSTRUCTION, WORDS, BlendSettings
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.masks.source_mask import source_mask
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate, joint_group_norms, residual_group_norms
from fatezero_pack.fatezero.prompts.window import Window
from golden_unet import relative

EDIT = prompt_edit()
ALWAYS = Window(0, 1)
FUSED = BlendSettings(ALWAYS, ALWAYS)
UNFUSED = BlendSettings(Window(0, 0), Window(0, 0))
EVERYTHING = BlendSettings(ALWAYS, ALWAYS, WORDS, 0.9, latent_window=ALWAYS)


# Nothing left behind.


class Stop(Exception):
    """The error of some other node inside a step."""


def stopping_model(model, failure, after: int):
    """A clone whose middle block fails at a model call: inside a step, inside the UNet."""
    calls = []

    def fail(hidden, extra):
        if extra["block"] == ("middle", 0):
            calls.append(1)
            if len(calls) > after:
                failure()
        return hidden

    stopping = model.clone()
    stopping.set_model_attn1_output_patch(fail)
    return stopping


def raise_error():
    raise Stop


def cancel():
    comfy.model_management.interrupt_current_processing()
    comfy.model_management.throw_exception_if_processing_interrupted()


INFLATION = Inflation(("current", "middle"), normalise_across_frames=True)


@pytest.mark.parametrize("attention_from", ["inversion", RECONSTRUCTION])
def test_nothing_left_after_success(attention_from):
    plain = small_model()
    model = inflate(plain, INFLATION)
    sampled(plain, inverted(plain, EDIT), EDIT)  # loaded, as ComfyUI leaves it
    before = snapshot(plain), snapshot(model)
    source = inverted(model, EDIT)
    edited(
        model,
        source,
        EDIT,
        BlendSettings(ALWAYS, ALWAYS, WORDS, 0.9, latent_window=ALWAYS, attention_from=attention_from),
    )
    source_mask(source, EDIT, "", 0.5, None)
    assert (snapshot(plain), snapshot(model)) == before


@pytest.mark.parametrize(
    "failure, error", [(raise_error, Stop), (cancel, comfy.model_management.InterruptProcessingException)]
)
@pytest.mark.parametrize("stage, after", [("invert", 1), ("blend", 0), ("blend", 1), ("blend", 2)])
def test_nothing_left_after_error_and_cancel(failure, error, stage, after):
    plain = small_model()
    model = inflate(plain, INFLATION)
    source = inverted(model, EDIT)
    expected = edited(model, source, EDIT, EVERYTHING)
    stopping = stopping_model(model, failure, after)
    before = snapshot(plain), snapshot(model), snapshot(stopping)
    with pytest.raises(error):
        if stage == "invert":
            inverted(stopping, EDIT)
        else:
            edited(stopping, source, EDIT, EVERYTHING)
    assert (snapshot(plain), snapshot(model), snapshot(stopping)) == before
    assert torch.equal(edited(model, source, EDIT, EVERYTHING), expected)


def test_a_guider_can_sample_again_after_cancel():
    """ComfyUI keeps a guider between runs."""
    model = small_model()
    source = inverted(model, EDIT)
    stop = [False, True, False]

    def fail_once(hidden, extra):
        if stop and stop.pop(0):
            raise Stop
        return hidden

    model.set_model_attn1_output_patch(fail_once)
    guider = comfy.samplers.CFGGuider(blend_attention(model, source, EDIT, EVERYTHING))
    guider.set_conds(conditioning(EDIT.target), negative())
    guider.set_cfg(5.0)
    noise = inverted_noise(model, source)
    arguments = torch.zeros_like(noise), noise, comfy.samplers.sampler_object("euler"), source.sigmas.flip(0)
    with pytest.raises(Stop):
        guider.sample(*arguments, disable_pbar=True, seed=0)
    assert set(guider.original_conds) == {"positive", "negative"}
    result = guider.sample(*arguments, disable_pbar=True, seed=0) / (1 + float(source.sigmas[0]) ** 2) ** 0.5
    assert relative(result, edited(model, source, EDIT, EVERYTHING)) < 1e-3
    assert torch.equal(
        guider.sample(*arguments, disable_pbar=True, seed=0), guider.sample(*arguments, disable_pbar=True, seed=0)
    )


def test_other_nodes_forward_is_given_back():
    """A norm whose forward another pack has replaced gets that one back."""
    network = small_model().model.diffusion_model
    norm = next(residual_group_norms(network))

    def theirs(x):
        return torch.nn.functional.group_norm(x, norm.num_groups)

    norm.forward = theirs
    with joint_group_norms(network, {"cond_or_uncond": [0]}):
        assert norm.forward is not theirs
    assert norm.forward is theirs


def test_nodes_leave_their_model_alone():
    plain = small_model()
    before = snapshot(plain)
    model = inflate(plain, INFLATION)
    inflated = snapshot(model)
    source = inverted(model, EDIT)
    blend_attention(model, source, EDIT, FUSED)
    inflate(model, Inflation(("first",)))
    assert {**snapshot(plain), "weights": 0} == {**before, "weights": 0}
    assert snapshot(model) == inflated


# LoRA.


def test_order_of_lora_and_our_nodes():
    plain, inflation = small_model(), Inflation(("current", "middle"))
    first = inflate(with_lora(plain), inflation)
    source = inverted(first, EDIT)
    assert relative(inverted(inflate(plain, inflation), EDIT).trajectory, source.trajectory) > 1e-4
    assert torch.equal(inverted(with_lora(inflate(plain, inflation)), EDIT).trajectory, source.trajectory)
    results = [
        sampled(model, source, EDIT)
        for model in (
            blend_attention(first, source, EDIT, FUSED),
            blend_attention(with_lora(inflate(plain, inflation)), source, EDIT, FUSED),
            inflate(blend_attention(with_lora(plain), source, EDIT, FUSED), inflation),
            with_lora(blend_attention(inflate(plain, inflation), source, EDIT, FUSED)),
        )
    ]
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("at_inversion, at_edit", [((), (0,)), ((0,), ()), ((0,), (1,)), ((0,), (0, 1))])
def test_another_lora_than_at_inversion_is_refused(at_inversion, at_edit):
    def model(seeds):
        model = small_model()
        for seed in seeds:
            model = with_lora(model, seed)
        return model

    source = inverted(model(at_inversion), EDIT)
    with pytest.raises(ValueError, match="^'model' is not the one the source was inverted with"):
        edited(model(at_edit), source, EDIT, FUSED)


def test_another_strength_of_the_lora_is_refused():
    source = inverted(with_lora(small_model()), EDIT)
    with pytest.raises(ValueError, match="other LoRAs"):
        edited(with_lora(small_model(), strength=0.5), source, EDIT, FUSED)


# Patches of other packs.


def image_prompt(query, key, value, extra):
    """As IPAdapter: the text's cross-attention and an image's added to it."""
    text = optimized_attention(query, key, value, extra["n_heads"])
    picture = key.flip(1)[:, :4] * 0.5
    return text + 0.5 * optimized_attention(query, picture, picture.sin(), extra["n_heads"])


def with_image_prompt(model, *key):
    model = model.clone()
    model.set_model_attn2_replace(image_prompt, *key)
    return model


def self_attention_guidance(model):
    return sag.SelfAttentionGuidance.execute(model, 0.8, 2.0).result[0]


def perturbed_attention_guidance(model):
    return pag.PerturbedAttentionGuidance.execute(model, 2.0).result[0]


def free_u(model):
    return freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2).result[0]


OTHERS = {
    "attn2 replaced by a 2-tuple key": lambda model: with_image_prompt(model, "middle", 0),
    "attn2 replaced by a 3-tuple key": lambda model: with_image_prompt(model, "middle", 0, 0),
    "PAG": perturbed_attention_guidance,
    "SAG": self_attention_guidance,
    "FreeU": free_u,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_nodes_before_and_after_ours(name):
    other, model = OTHERS[name], small_model()
    source = inverted(model, EDIT)
    before = sampled(blend_attention(other(model), source, EDIT, FUSED), source, EDIT)
    after = sampled(other(blend_attention(model, source, EDIT, FUSED)), source, EDIT)
    assert torch.equal(before, after)
    assert relative(before, sampled(blend_attention(model, source, EDIT, FUSED), source, EDIT)) > 1e-4  # not lost
    assert relative(before, sampled(other(model), source, EDIT)) > 1e-4  # nor is ours


@pytest.mark.parametrize("name", OTHERS)
def test_other_nodes_under_a_closed_blend_are_as_without_us(name):
    other, model = OTHERS[name], small_model()
    source = inverted(model, EDIT)
    alone = sampled(other(model), source, EDIT) / (1 + float(source.sigmas[0]) ** 2) ** 0.5
    assert relative(sampled(other(blend_attention(model, source, EDIT, UNFUSED)), source, EDIT), alone) < 1e-5


@pytest.mark.parametrize("wrapped", [perturbed_attention_guidance, lambda model: model], ids=["with PAG", "alone"])
def test_extra_passes_of_guidance_nodes_are_not_fused(wrapped):
    """A model call after the guider's own, from a post-cfg function, is the plain model's."""
    model = small_model()
    source = inverted(model, EDIT)
    compared = []

    def call_again(arguments):
        network, x, sigma = arguments["model"], arguments["input"], arguments["sigma"]
        (again,) = comfy.samplers.calc_cond_batch(network, [arguments["cond"]], x, sigma, arguments["model_options"])
        options = {"transformer_options": {}}
        (plain,) = comfy.samplers.calc_cond_batch(network, [arguments["cond"]], x, sigma, options)
        compared.append((again, plain, arguments["cond_denoised"]))
        return arguments["denoised"]

    blended = wrapped(blend_attention(model, source, EDIT, FUSED))
    blended.set_model_sampler_post_cfg_function(call_again)
    sampled(blended, source, EDIT)
    assert len(compared) == source.steps
    for again, plain, fused in compared:
        assert torch.equal(again, plain)
        assert relative(fused, plain) > 1e-5


def test_only_the_positive_rows_are_fused():
    """The negative's prediction is what the plain model says of it."""
    model = small_model()
    source = inverted(model, EDIT)
    compared = []

    def look(arguments):
        options = {"transformer_options": {}}
        (plain,) = comfy.samplers.calc_cond_batch(
            arguments["model"], [arguments["uncond"]], arguments["input"], arguments["sigma"], options
        )
        compared.append((arguments["uncond_denoised"], plain))
        return arguments["denoised"]

    blended = blend_attention(model, source, EDIT, FUSED)
    blended.set_model_sampler_post_cfg_function(look)
    sampled(blended, source, EDIT)
    assert len(compared) == source.steps
    assert max(relative(*pair) for pair in compared) < 1e-5


def test_rows_in_separate_calls():
    """Short of memory ComfyUI runs the positive and the negative one after the other."""
    model = small_model()
    source = inverted(model, EDIT)
    together = edited(model, source, EDIT, EVERYTHING)
    network = model.model
    network.memory_required = lambda shape, cond_shapes={}: 1e30 if shape[0] > len(clip_latent()) else 1
    try:
        apart = edited(model, source, EDIT, EVERYTHING)
    finally:
        del network.memory_required
    assert relative(apart, together) < 1e-5


def test_two_positives_are_both_fused():
    """Conditioning Combine of the target with itself is the target."""
    model = small_model()
    source = inverted(model, EDIT)
    blended = blend_attention(model, source, EDIT, FUSED)
    once = sampled(blended, source, EDIT)
    twice = sampled(blended, source, EDIT, positive=conditioning(EDIT.target) + conditioning(EDIT.target))
    assert relative(twice, once) < 1e-5
