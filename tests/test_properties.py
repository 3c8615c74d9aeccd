"""What must hold for every edit, whatever the model: through the same doors that ComfyUI's nodes use."""

import gc
import weakref
from contextlib import contextmanager
from dataclasses import replace

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch
from comfy.patcher_extension import WrappersMP

import nodes
from edit_cases import (
    CallCounter,
    clip_latent,
    conditioning,
    deterministic_samplers,
    edited,
    inverted,
    inverted_noise,
    negative,
    prompt_edit,
    sampled,
    small_model,
)
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import (
    FAST_RECONSTRUCTION,
    INPUT_MASK,
    RECONSTRUCTION,
    REPLAY,
    WORDS,
    WORDS_IN_MASK,
    BlendSettings,
    blends_latents,
)
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.voice import Voice
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from golden_unet import relative

EDIT = prompt_edit()
SAME = prompt_edit(target=prompt_edit().source.text)
ALWAYS, NEVER = Window(0, 1), Window(0, 0)
HALF_MASK = (torch.arange(16) < 8).float().expand(1, 16, 16)


@pytest.fixture(scope="module")
def model():
    return inflate(small_model(), Inflation(("current", "middle")))


@pytest.fixture(scope="module")
def source(model):
    return inverted(model, EDIT)


# Same prompt, masks of 0 and 1.


@pytest.mark.parametrize("windows", [NEVER, Window(0, 0.5), ALWAYS])
def test_same_prompt_is_the_source(model, windows):
    """Without guidance and with an exact inversion an edit to the same prompt draws the clip again."""
    source = inverted(model, SAME, steps=6, refinement=6)
    result = edited(model, source, SAME, BlendSettings(windows, windows), cfg=1.0)
    assert relative(result, clip_latent()) < 1e-3
    assert relative(result, reconstruct(model, source, disable_pbar=True)) < 1e-3


def test_same_prompt_unfused_is_the_reconstruction(model, source):
    """With both windows empty nothing is touched: bit for bit an ordinary sampling."""
    result = edited(model, source, SAME, BlendSettings(NEVER, NEVER), cfg=1.0)
    assert torch.equal(result, reconstruct(model, source, disable_pbar=True))


def test_closed_windows_are_ordinary_sampling(model, source):
    with CallCounter(model) as counter:
        result = edited(model, source, EDIT, BlendSettings(NEVER, NEVER))
    plain = sampled(model, source, EDIT) / (1 + float(source.sigmas[0]) ** 2) ** 0.5
    assert relative(result, plain) < 1e-6
    assert counter.calls == source.steps  # and no source rows run where nothing reads them


@pytest.mark.parametrize("mask_from", [INPUT_MASK, WORDS_IN_MASK])
def test_mask_of_zeros_is_the_mask_off(model, source, mask_from):
    zeros = BlendSettings(ALWAYS, Window(0, 0.5), mask_from, 0.5, torch.zeros(1, 16, 16))
    off = BlendSettings(ALWAYS, Window(0, 0.5))
    assert torch.equal(edited(model, source, EDIT, zeros), edited(model, source, EDIT, off))


def test_threshold_of_one_is_the_mask_off(model, source):
    full, off = BlendSettings(ALWAYS, Window(0, 0.5), WORDS, 1.0), BlendSettings(ALWAYS, Window(0, 0.5))
    assert torch.equal(edited(model, source, EDIT, full), edited(model, source, EDIT, off))


def test_a_mask_for_latents_alone_leaves_self_attention_to_the_source(model, source):
    mask = dict(mask_from=INPUT_MASK, mask=HALF_MASK, mask_self_attention=False)
    off = edited(model, source, EDIT, BlendSettings(ALWAYS, Window(0, 0.5)))
    assert torch.equal(edited(model, source, EDIT, BlendSettings(ALWAYS, Window(0, 0.5), **mask)), off)
    blended = edited(model, source, EDIT, BlendSettings(ALWAYS, Window(0, 0.5), **mask, latent_window=Window(0, 1)))
    assert relative(blended, off) > 1e-3


@pytest.mark.parametrize("cross", [NEVER, Window(0, 0.5)])
def test_mask_of_ones_frees_self_attention(model, source, cross):
    ones = BlendSettings(ALWAYS, cross, INPUT_MASK, mask=torch.ones(1, 16, 16))
    free = BlendSettings(NEVER, cross)
    assert relative(edited(model, source, EDIT, ones), edited(model, source, EDIT, free)) < 1e-5


def test_mask_of_zeros_and_ones_differ(model, source):
    zeros, ones = (
        edited(model, source, EDIT, BlendSettings(ALWAYS, NEVER, INPUT_MASK, mask=value.expand(1, 16, 16)))
        for value in (torch.zeros(()), torch.ones(()))
    )
    assert relative(zeros, ones) > 1e-3


def test_pixel_mask_is_the_latent_mask(model, source):
    """A MASK in pixels counts by its average over each latent."""
    of_latents = BlendSettings(ALWAYS, NEVER, INPUT_MASK, mask=HALF_MASK)
    of_pixels = BlendSettings(ALWAYS, NEVER, INPUT_MASK, mask=HALF_MASK.repeat_interleave(8, 1).repeat_interleave(8, 2))
    assert relative(edited(model, source, EDIT, of_pixels), edited(model, source, EDIT, of_latents)) < 1e-6


# Latent blending.


@pytest.mark.parametrize("attention_from", ["inversion", RECONSTRUCTION])
@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_latents_outside_the_mask_are_the_source_at_the_same_level(model, sampler, attention_from):
    source = inverted(model, EDIT, steps=5, refinement=8)
    settings = BlendSettings(
        Window(0, 0.4),
        Window(0, 0.4),
        INPUT_MASK,
        mask=HALF_MASK,
        latent_window=Window(0.2, 0.8),
        attention_from=attention_from,
    )
    latents = []
    cfg = 1.0 if attention_from == RECONSTRUCTION else 5.0  # the reconstruction is guided as the edit is
    sampled(
        blend_attention(model, source, EDIT, settings),
        source,
        EDIT,
        sampler,
        cfg=cfg,
        callback=lambda step, denoised, x, steps: latents.append(x.clone()),
    )
    outside = HALF_MASK.bool().logical_not().expand(2, 4, 16, 16)
    for step in (1, 2, 3):  # each leaves a latent of the next level
        level = source.steps - (step + 1)
        assert relative(latents[step + 1][outside], source.trajectory[level][outside]) < 1e-4
        assert relative(latents[step + 1][~outside], source.trajectory[level][~outside]) > 1e-3
    assert relative(latents[1][outside], source.trajectory[4][outside]) > 1e-5  # before the window


@pytest.mark.parametrize("steps, blended", [(50, range(10, 39)), (10, range(2, 7)), (20, range(4, 15))])
def test_steps_that_the_official_code_blends(steps, blended):
    """Strictly between 20 and 80 % (29 of 50), and one more in our own presets."""
    official = replace(PRESETS["shape (as in the paper)"], latent_window=Window(0.2, 0.8))
    assert [step for step in range(steps) if blends_latents(official, step, steps)] == list(blended)
    ours = replace(official, official_latents=False)
    assert [step for step in range(steps) if blends_latents(ours, step, steps)] == [*blended, blended.stop]


def test_latents_are_blended_as_by_the_official_code(model):
    """Outside the mask, z after a step is the source's z of the level before it, one step too noisy."""
    source = inverted(model, EDIT, steps=5, refinement=8)
    settings = BlendSettings(
        NEVER, NEVER, INPUT_MASK, mask=HALF_MASK, latent_window=Window(0.2, 0.8), official_latents=True
    )
    latents = []
    blended = blend_attention(model, source, EDIT, settings)
    sampled(blended, source, EDIT, "euler", callback=lambda step, denoised, x, steps: latents.append(x.clone()))
    outside = HALF_MASK.bool().logical_not().expand(2, 4, 16, 16)

    def z(x, level):  # of k-diffusion's x = z / sqrt(alpha_bar)
        return x[outside] / float(1 + source.sigmas[level] ** 2) ** 0.5

    for step in (1, 2):
        before, after = source.steps - step, source.steps - (step + 1)
        assert relative(z(latents[step + 1], after), z(source.trajectory[before], before)) < 1e-4
    assert relative(z(latents[4], 1), z(source.trajectory[2], 2)) > 1e-3  # the window's last step is not blended


def test_latents_at_the_end_are_the_clip_outside_the_mask(model):
    source = inverted(model, EDIT, steps=5)
    settings = BlendSettings(NEVER, NEVER, INPUT_MASK, mask=HALF_MASK, latent_window=ALWAYS)
    result = edited(model, source, EDIT, settings)
    assert relative(result[..., 8:], clip_latent()[..., 8:]) < 1e-5
    assert relative(result[..., :8], clip_latent()[..., :8]) > 1e-2


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("attention_from", [RECONSTRUCTION, FAST_RECONSTRUCTION])
def test_a_reconstruction_of_a_step_that_has_not_run_is_not_read(model, attention_from, skips):
    """What its rows will be is not there yet, and may be anything in memory; nor where a node skips a step."""
    source = inverted(model, EDIT, steps=6)
    masked = BlendSettings(ALWAYS, ALWAYS, INPUT_MASK, mask=HALF_MASK, latent_window=ALWAYS)
    blended = blend_attention(model, source, EDIT, replace(masked, attention_from=attention_from))
    last = []

    def every_other(executor, x, *args, **kwargs):
        last.append(executor(x, *args, **kwargs) if len(last) % 2 == 0 else last[-1])
        return last[-1]

    if skips:  # as LazyCache does
        blended.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "lazy", every_other)
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)  # which fills it with NaN
    try:
        assert filled and torch.isfinite(sampled(blended, source, EDIT)).all()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("end", [0.5, 1.0])
def test_a_window_or_a_stage_that_ends_early_ends_on_the_source(model, end):
    source = inverted(model, EDIT, steps=8)
    settings = BlendSettings(NEVER, NEVER, INPUT_MASK, mask=HALF_MASK, latent_window=Window(0, end))
    half = source.sigmas.flip(0)[:5]
    result = sampled(blend_attention(model, source, EDIT, settings), source, EDIT, "euler", half)
    there = source.latent_at(float(half[-1]))[..., 8:]
    assert relative(model.model.process_latent_in(result)[..., 8:], there) < 2e-2


@pytest.mark.parametrize("sampler", deterministic_samplers())
def test_an_edit_goes_by_euler_steps_whichever_sampler_was_chosen(model, source, sampler, monkeypatch):
    """Samplers that look back at earlier steps, or at several levels, carry on what an edit changes between them."""
    settings = BlendSettings(Window(0, 0.5), Window(0, 0.5), INPUT_MASK, mask=HALF_MASK, latent_window=ALWAYS)
    told = []
    blended = blend_attention(model, source, EDIT, settings, Voice("", told.append))
    edit = sampled(blended, source, EDIT, sampler)
    named = f"Euler steps are taken in place of the sampler {sampler.removesuffix('_gpu')},"
    assert (named in told[-1]) == (sampler not in ("euler", "ddim"))
    assert torch.equal(edit, sampled(blend_attention(model, source, EDIT, settings), source, EDIT, "euler"))


def test_where_nothing_is_edited_the_sampler_stays(model, source):
    alone = sampled(blend_attention(model, source, EDIT, BlendSettings(NEVER, NEVER)), source, EDIT, "heun")
    heun, euler = (sampled(model, source, EDIT, sampler) for sampler in ("heun", "euler"))
    assert relative(alone, heun) < 1e-3 < 0.1 * relative(alone, euler)  # its end is made clean


def test_a_reconstruction_takes_no_guidance_that_is_not_one_cfg(model, source):
    settings = BlendSettings(ALWAYS, ALWAYS, attention_from=RECONSTRUCTION)
    blended = blend_attention(model, source, EDIT, settings)
    prompts = conditioning(EDIT.target), negative(), negative()
    (guider,) = custom_sampler.DualCFGGuider.execute(blended, *prompts, 5.0, 5.0, "regular").result
    with pytest.raises(ValueError, match="DualCFG has other guidance than one 'cfg'; use CFGGuider or KSampler"):
        guider.sample(
            *2 * [inverted_noise(model, source)], comfy.samplers.sampler_object("euler"), source.sigmas.flip(0)
        )


@pytest.mark.parametrize("attention_from", ["inversion", RECONSTRUCTION])
def test_where_nothing_is_masked_latents_are_the_clips(model, attention_from):
    """A black mask keeps the clip, as a nearly black one does, and is not the mask off."""
    source = inverted(model, EDIT, steps=5, refinement=8)
    cfg = 1.0 if attention_from == RECONSTRUCTION else 5.0
    for mask_from, mask in ((INPUT_MASK, torch.zeros(1, 16, 16)), (WORDS, None)):
        settings = BlendSettings(
            ALWAYS, NEVER, mask_from, 1.0, mask, latent_window=ALWAYS, attention_from=attention_from
        )
        assert relative(edited(model, source, EDIT, settings, cfg=cfg), clip_latent()) < 1e-4


def test_an_edit_lets_the_model_go(model, source):
    """Without waiting for Python's garbage collector, which ComfyUI would take for a leak."""
    blended = blend_attention(model, source, EDIT, BlendSettings(ALWAYS, ALWAYS, WORDS, 0.5, latent_window=ALWAYS))
    gone = weakref.ref(blended)
    gc.collect()
    gc.disable()
    try:
        sampled(blended, source, EDIT)
        del blended
        assert gone() is None
    finally:
        gc.enable()


# Sampler nodes and guiders.

BLEND = BlendSettings(Window(0, 0.7), Window(0, 0.7), WORDS, 0.9, latent_window=Window(0.2, 0.8))


def test_sampler_node_is_blend_and_samplercustomadvanced(model, source):
    preset = {"preset": "shape", "latent_blend": True, "mask_threshold": 0.9}
    prompts = conditioning(EDIT.target), negative()
    (ours,) = AttentionBlendSampler.execute(model, source, EDIT, *prompts, 5.0, preset, source_attention=REPLAY).result
    blended, _ = AttentionBlend.execute(model, source, EDIT, preset, source_attention=REPLAY).result
    (guider,) = custom_sampler.CFGGuider.execute(blended, *prompts, 5.0).result
    theirs, _ = custom_sampler.SamplerCustomAdvanced.execute(
        *custom_sampler.DisableNoise.execute().result,
        guider,
        comfy.samplers.sampler_object("euler"),
        source.sigmas.flip(0),
        {"samples": inverted_noise(model, source)},
    ).result
    assert torch.equal(ours["samples"], theirs["samples"])


@pytest.fixture(scope="module")
def normal_source(model):
    """A run whose noise levels KSampler's own schedulers have too."""
    return inverted(model, EDIT, steps=4, schedule="normal")


def test_ksampler_that_adds_noise(model, normal_source):
    """Plain KSampler cannot leave the noise out, so its random noise is replaced by the inverted one."""
    blended = blend_attention(model, normal_source, EDIT, BLEND)
    latent = {"samples": inverted_noise(model, normal_source)}
    results = [
        nodes.KSampler().sample(
            blended, seed, 4, 5.0, "euler", "normal", conditioning(EDIT.target), negative(), latent
        )[0]["samples"]
        for seed in (1, 2)
    ]
    assert torch.equal(*results)
    assert relative(results[0], edited(model, normal_source, EDIT, BLEND)) < 1e-6


def test_ksampler_from_the_clip_itself(model, normal_source):
    """A person may connect VAE Encode's latent: the run knows where the clip was at each level."""
    blended = blend_attention(model, normal_source, EDIT, BLEND)
    result = nodes.KSampler().sample(
        blended, 3, 4, 5.0, "euler", "normal", conditioning(EDIT.target), negative(), {"samples": clip_latent()}
    )[0]["samples"]
    assert relative(result, edited(model, normal_source, EDIT, BLEND)) < 1e-6


def test_ksampler_advanced_in_two_parts(model, normal_source):
    settings = BlendSettings(Window(0, 0.7), Window(0, 0.7), WORDS, 0.9)
    blended = blend_attention(model, normal_source, EDIT, settings)
    arguments = 4, 5.0, "euler", "normal", conditioning(EDIT.target), negative()
    sampler = nodes.KSamplerAdvanced()
    (half,) = sampler.sample(
        blended, "disable", 0, *arguments, {"samples": inverted_noise(model, normal_source)}, 0, 2, "enable"
    )
    (whole,) = sampler.sample(blended, "disable", 0, *arguments, half, 2, 10000, "disable")
    assert relative(whole["samples"], edited(model, normal_source, EDIT, settings)) < 1e-5


def guiders(model):
    positive, other = conditioning(EDIT.target), conditioning(EDIT.source)
    return {
        "basic": custom_sampler.BasicGuider.execute(model, positive),
        "cfg": custom_sampler.CFGGuider.execute(model, positive, negative(), 5.0),
        "dual cfg": custom_sampler.DualCFGGuider.execute(model, positive, other, negative(), 4.0, 3.0, "regular"),
        "dual cfg nested": custom_sampler.DualCFGGuider.execute(model, positive, other, negative(), 4.0, 3.0, "nested"),
        "perp-neg": perpneg.PerpNegGuider.execute(model, positive, other, negative(), 5.0, 1.0),
    }


@pytest.mark.parametrize("name", guiders(small_model()))
def test_guiders(model, source, name):
    """Every guider's own formula over the fused prediction of the positive, which alone is fused."""
    noise = inverted_noise(model, source)
    schedule = source.sigmas.flip(0)[:2]
    euler = comfy.samplers.sampler_object("euler")

    def one_step(model):
        (guider,) = guiders(model)[name].result
        return model.model.process_latent_in(
            guider.sample(torch.zeros_like(noise), noise, euler, schedule, disable_pbar=True, seed=0)
        )

    moved = one_step(blend_attention(model, source, EDIT, BlendSettings(ALWAYS, ALWAYS))) - one_step(model)

    def predicted(model):
        (guider,) = custom_sampler.BasicGuider.execute(model, conditioning(EDIT.target)).result
        return model.model.process_latent_in(
            guider.sample(torch.zeros_like(noise), noise, euler, schedule, disable_pbar=True, seed=0)
        )

    fused, plain = predicted(blend_attention(model, source, EDIT, BlendSettings(ALWAYS, ALWAYS))), predicted(model)
    weights = {"basic": 1.0, "cfg": 5.0, "dual cfg": 4.0, "dual cfg nested": 12.0}
    if name in weights:
        assert relative(moved, weights[name] * (fused - plain)) < 1e-4
    else:
        assert float(moved.abs().max()) > 1e-3


# Samplers and steps.


@pytest.mark.parametrize("sampler", deterministic_samplers())
def test_every_sampler_that_is_let_through(model, source, sampler):
    blended = blend_attention(model, source, EDIT, BLEND)
    results = [
        comfy.samplers.sample(
            blended,
            torch.zeros(2, 4, 16, 16),
            conditioning(EDIT.target),
            negative(),
            2.0,
            "cpu",
            comfy.samplers.sampler_object(sampler),
            source.sigmas.flip(0),
            latent_image=inverted_noise(model, source),
            disable_pbar=True,
            seed=seed,
        )
        for seed in (1, 2)
    ]
    assert torch.isfinite(results[0]).all()
    assert torch.equal(*results)


@pytest.mark.parametrize("steps", [6, 10, 24])
def test_another_number_of_steps(model, steps):
    """Levels between the inverted ones are interpolated; a start above the last one is where inversion was heading."""
    source = inverted(model, EDIT, steps=12, refinement=1)
    settings = BlendSettings(Window(0, 0.5), Window(0, 0.5))
    blended = blend_attention(model, source, EDIT, settings)
    same = sampled(blended, source, EDIT, cfg=1.0)
    other = sampled(blended, source, EDIT, sigmas=inversion_sigmas(model, OFFICIAL, steps).flip(0), cfg=1.0)
    assert relative(other, same) < 0.1


# One inversion, many edits.


@contextmanager
def unchanged(source, edit):
    """Asserts that what went along the wires is as it was before."""
    tensors = [
        source.sigmas,
        source.trajectory,
        source.word_maps,
        source.conditioning[0][0],
        edit.mapper,
        edit.from_source,
        edit.emphasis,
    ]
    copies = [tensor.clone() for tensor in tensors]
    options = dict(source.conditioning[0][1])
    yield
    assert all(torch.equal(*pair) for pair in zip(tensors, copies))
    assert source.conditioning[0][1] == options


def test_edits_of_one_inversion(model, source):
    refined = prompt_edit(target="a watercolor painting of a silver jeep on a road", emphasis="watercolor:5")
    settings = BlendSettings(Window(0, 0.5), ALWAYS, WORDS_IN_MASK, 0.9, HALF_MASK, latent_window=Window(0.2, 0.8))
    with unchanged(source, EDIT):
        with CallCounter(model) as counter:
            first = edited(model, source, EDIT, settings)
        assert counter.calls == source.steps  # the source's rows in the edit's calls, no inversion
        second = edited(model, source, refined, BlendSettings())
        again = edited(model, source, EDIT, settings)
    assert torch.equal(first, again)
    assert relative(second, first) > 1e-3
    assert float(settings.mask.sum()) == float(HALF_MASK.sum())


def test_blending_again_replaces_the_blend(model, source):
    twice = blend_attention(blend_attention(model, source, EDIT, BLEND), source, EDIT, BlendSettings(NEVER, NEVER))
    assert torch.equal(
        sampled(twice, source, EDIT),
        sampled(blend_attention(model, source, EDIT, BlendSettings(NEVER, NEVER)), source, EDIT),
    )


def test_reconstruction_attention_of_an_exact_inversion(model):
    """Where inversion is exact and nothing guides, prompt-to-prompt's source branch walks the same trajectory."""
    source = inverted(model, EDIT, steps=5, refinement=8)
    results = [
        edited(model, source, EDIT, BlendSettings(attention_from=kind), cfg=1.0)
        for kind in ("inversion", RECONSTRUCTION)
    ]
    assert relative(*results) < 1e-3


def test_reconstruction_reads_its_own_words(model):
    source = inverted(model, EDIT, steps=5, refinement=8)
    results = [
        edited(model, source, EDIT, BlendSettings(ALWAYS, NEVER, WORDS, 0.9, attention_from=kind), cfg=1.0)
        for kind in ("inversion", RECONSTRUCTION)
    ]
    assert relative(*results) < 0.02


@pytest.mark.parametrize("frames, height, width", [(1, 16, 16), (2, 9, 16), (3, 10, 18)])
def test_frames_and_sizes(model, frames, height, width):
    source = inverted(model, EDIT, clip_latent(frames, height, width))
    result = edited(model, source, EDIT, BLEND)
    assert result.shape == (frames, 4, height, width) and torch.isfinite(result).all()
    assert relative(result, edited(model, source, EDIT, BlendSettings(NEVER, NEVER))) > 1e-4


def test_prompts_of_two_chunks(model):
    """A target of 154 tokens beside a source of 77 and a negative of 77, which ComfyUI repeats."""
    long = prompt_edit(target="a red jeep on a road, " + "very " * 75 + "shiny")
    assert long.target.length == 154
    source = inverted(model, long)
    fused = edited(model, source, long, BlendSettings(ALWAYS, ALWAYS))
    unfused = edited(model, source, long, BlendSettings(NEVER, NEVER))
    assert torch.isfinite(fused).all() and relative(fused, unfused) > 1e-3


def test_prompts_of_different_lengths_are_weighed_alike(model, source):
    """A negative of 154 tokens makes ComfyUI repeat the 77 of the positive; the edit must not notice."""
    settings = BlendSettings(ALWAYS, ALWAYS)
    noise = inverted_noise(model, source)
    longer = [[torch.cat([negative()[0][0]] * 2, dim=1), {}]]  # the same attention, written in twice the tokens
    results = []
    for unconditional in (negative(), longer):
        guider = comfy.samplers.CFGGuider(blend_attention(model, source, EDIT, settings))
        guider.set_conds(conditioning(EDIT.target), unconditional)
        guider.set_cfg(5.0)
        results.append(
            guider.sample(
                torch.zeros_like(noise),
                noise,
                comfy.samplers.sampler_object("euler"),
                source.sigmas.flip(0),
                disable_pbar=True,
                seed=0,
            )
        )
    assert relative(*results) < 1e-5
