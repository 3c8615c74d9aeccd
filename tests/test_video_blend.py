"""Attention Blend on small Wan and LTX-Video models: an inverted clip's edit by ComfyUI's own samplers."""

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import (
    CFGGuider,
    DisableNoise,
    KSamplerSelect,
    RandomNoise,
    SamplerCustomAdvanced,
)

from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, INPUT_MASK
from fatezero_pack.fatezero.edit.stages import UNKNOWN_STEPS
from fatezero_pack.fatezero.network.transformer.families import family_of
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.latent_cell import as_video
from fatezero_pack.fatezero.source.reconstruction import inverted_noise, reconstruct
from fatezero_pack.nodes import attention_blend as node
from fatezero_pack.nodes import blend_sampler
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative
from nodes import KSampler, KSamplerAdvanced

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
STEPS = 4
FUSED = {"preset": "attribute", "self_until": 1.0, "cross_until": 1.0, "mask_from": "off", "latent_blend": False}


@pytest.fixture
def run(video_model, video_latent, t5_prompt):
    """The inverted clip, at the levels of KSampler's scheduler "simple"; made once, as the node keeps it."""
    given = {"model": video_model, "source": t5_prompt(SOURCE), "latent": {"samples": video_latent}, "steps": STEPS}
    return Invert.execute(**given, schedule="simple").args[1]


@pytest.fixture
def blended(video_model, run, t5_tokens):
    """blended(target, model, **options): the MODEL of Attention Blend."""

    def make(target=TARGET, model=None, preset=FUSED, **options):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        return AttentionBlend.execute(model or video_model, run, edit, preset, **options).args[0]

    return make


@pytest.fixture
def by_node(video_model, run, t5_tokens, t5_prompt):
    """by_node(target, cfg, **options): the edited latent of Attention Blend Sampler."""

    def make(target=TARGET, cfg=1.0, preset=FUSED, **options):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        wires = video_model, run, edit, t5_prompt(target), t5_prompt("snow")
        return AttentionBlendSampler.execute(*wires, cfg, preset, **options).args[0]["samples"]

    return make


@pytest.fixture
def sampled(video_model, run, t5_prompt):
    """sampled(model, target, cfg, sampler, latent, denoise, steps): the latent of KSampler."""

    def make(model, target=TARGET, cfg=1.0, sampler="euler", latent=None, denoise=1.0, steps=STEPS):
        start = {"samples": inverted_noise(video_model, run) if latent is None else latent}
        prompts = t5_prompt(target), t5_prompt("snow")
        return KSampler().sample(model, 7, steps, cfg, sampler, "simple", *prompts, start, denoise)[0]["samples"]

    return make


def test_ksampler_makes_the_edit_of_the_node(video_model, run, video_latent, blended, by_node, sampled):
    assert relative(sampled(blended()), by_node()) < 1e-5
    assert relative(sampled(blended(), cfg=3.0), by_node(cfg=3.0)) < 1e-5
    assert relative(by_node(cfg=3.0), by_node()) > 1e-3
    assert relative(sampled(blended(), latent=video_latent), by_node()) < 1e-5, "its own noise is not used"
    free = blended(preset={**FUSED, "self_until": 0.0, "cross_until": 0.0})
    assert relative(sampled(free), by_node()) > 1e-3
    drawn = reconstruct(video_model, run, disable_pbar=True)
    same = blended(SOURCE, attention_from=FAST_RECONSTRUCTION)
    assert relative(sampled(same, SOURCE), drawn) < 1e-5, "the same prompt is the reconstruction"


@pytest.mark.parametrize("noise", [DisableNoise, RandomNoise])
def test_samplercustomadvanced_makes_it_too(video_model, run, t5_prompt, blended, by_node, noise):
    given = {} if noise is DisableNoise else {"noise_seed": 3}
    (guider,) = CFGGuider.execute(blended(), t5_prompt(TARGET), t5_prompt("snow"), 1.0).args
    (sampler,) = KSamplerSelect.execute("euler").args
    start = {"samples": inverted_noise(video_model, run)}
    wires = noise.execute(**given).args[0], guider, sampler, run.sigmas.flip(0), start
    assert relative(SamplerCustomAdvanced.execute(*wires).args[0]["samples"], by_node()) < 1e-5


def test_stages_go_on_where_the_one_before_ended(
    video_model, run, video_latent, t5_prompt, blended, by_node, monkeypatch
):
    told = []
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))

    def stage(latent, first, last, noise="disable"):
        settings = noise, 7, STEPS, 1.0, "euler", "simple"
        wires = t5_prompt(TARGET), t5_prompt("snow"), {"samples": latent}
        left = "disable" if last == STEPS else "enable"
        return KSamplerAdvanced().sample(blended(), *settings, *wires, first, last, left)[0]["samples"]

    for noise in ("disable", "enable"):
        halfway = stage(inverted_noise(video_model, run), 0, 2, noise)
        assert relative(stage(halfway, 2, STEPS), by_node()) < 1e-5
    assert "starts from the inverted clip and not from the latent" not in told[-1]
    stage(halfway, 2, STEPS, "enable")
    assert "the sampler adds noise, so the edit starts from the inverted clip and not from the latent" in told[-1]
    for first in range(1, STEPS):
        assert relative(stage(inverted_noise(video_model, run), first, STEPS), by_node()) < 1, "begins from the clip"
        with refused("the sampler adds no noise, but its latent lacks the noise of the step that it starts at"):
            stage(video_latent, first, STEPS)
    with refused("the sampler adds no noise, but its latent lacks the noise of the step that it starts at"):
        stage(by_node(), 1, STEPS)


def test_a_source_drawn_again_goes_on_in_later_stages(video_model, run, t5_prompt, blended, by_node, monkeypatch):
    """A stage that does not know it says so."""
    told, options = [], {"attention_from": FAST_RECONSTRUCTION}
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))

    def stage(model, latent, first, last, noise="disable"):
        settings = noise, 7, STEPS, 1.0, "euler", "simple"
        wires = t5_prompt(TARGET), t5_prompt("snow"), {"samples": latent}
        left = "disable" if last == STEPS else "enable"
        return KSamplerAdvanced().sample(model, *settings, *wires, first, last, left)[0]["samples"]

    model, start, expected = blended(**options), inverted_noise(video_model, run), by_node(**options)
    for noise in ("disable", "enable"):
        early = stage(model, start, 0, 1, noise)
        middle = stage(model, early, 1, 3)
        assert relative(stage(model, middle, 3, STEPS), expected) < 1e-5
    assert relative(stage(model, middle, 3, STEPS), expected) < 1e-5, "the stages before from ComfyUI's cache"
    assert not any(UNKNOWN_STEPS in text for text in told)
    other = stage(blended(**options), middle, 3, STEPS)
    assert UNKNOWN_STEPS in told[-1] and relative(other, expected) > 1e-5
    assert relative(stage(model, start, 0, STEPS), expected) < 1e-5, "a new run begins with the noise"


def test_other_steps_than_the_inversions_are_told(blended, sampled, monkeypatch):
    told, said = [], f"the sampler takes {3 * STEPS} steps and the inversion took {STEPS}, at other noise levels"
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))
    sampled(blended())
    assert said not in told[-1] and "other noise levels" not in told[-1]
    sampled(blended(), steps=3 * STEPS)
    assert said in told[-1] and f"\n{3 * STEPS} steps, 2 rows each" in f"\n{told[-1]}"


def test_less_denoise_starts_from_the_clip_at_that_level(video_model, run, t5_prompt, blended, sampled):
    edited = sampled(blended(), denoise=0.5)
    sigmas = comfy.samplers.calculate_sigmas(video_model.get_model_object("model_sampling"), "simple", 2 * STEPS)
    start = as_video(run.latent_at(float(sigmas[STEPS])))
    guider = comfy.samplers.CFGGuider(blended())
    guider.set_conds(t5_prompt(TARGET), t5_prompt("snow"))
    noise = start, video_model.model.process_latent_out(start)
    by_hand = guider.sample(*noise, comfy.samplers.ksampler("euler"), sigmas[STEPS:], disable_pbar=True, seed=0)
    assert relative(edited, by_hand) < 1e-5 and 0.5 < float(sigmas[STEPS]) < 1


@pytest.mark.parametrize("sampler", ["heun", "res_multistep"])
def test_an_edit_goes_by_euler_steps_whichever_sampler_was_chosen(blended, sampled, sampler):
    assert torch.equal(sampled(blended(), sampler=sampler), sampled(blended()))


def test_masks_keep_the_source_outside(run, video_latent, blended, by_node, sampled):
    frames = run.clip_frames
    mask = torch.zeros(frames, 64, 80)
    mask[..., 40:] = 1
    preset = {**FUSED, "mask_from": INPUT_MASK, "latent_blend": True, "latent_from": 0.0, "latent_until": 1.0}
    edited = sampled(blended(preset=preset, mask=mask))
    assert relative(edited, by_node(preset=preset, mask=mask)) < 1e-5
    assert (
        relative(edited[..., :5], video_latent[..., :5]) < 1e-5
        and relative(edited[..., 5:], video_latent[..., 5:]) > 1e-2
    )
    whole = sampled(blended(preset={**FUSED, "self_until": 0.0, "cross_until": 0.0}))
    everywhere = {**preset, "cross_until": 0.0, "mask_self_attention": True}
    assert relative(sampled(blended(preset=everywhere, mask=mask * 0 + 1)), whole) < 1e-6, "mask 1 is the free edit"
    assert relative(sampled(blended(preset=preset, mask=mask * 0)), video_latent) < 1e-5, "mask 0 is the clip"


def test_nothing_stays_on_the_model_after_success_error_and_a_second_edit(video_model, blended, by_node, sampled):
    hooks, expected = str(video_model.model_options), by_node()
    model = blended()
    held = str(model.model_options)
    assert torch.equal(sampled(model), sampled(model)) and str(model.model_options) == held
    assert str(video_model.model_options) == hooks

    def fail(*_, **__):
        raise RuntimeError("in the middle")

    broken = model.clone()
    broken.model_options["model_function_wrapper"] = fail
    with pytest.raises(RuntimeError):
        sampled(broken)
    again = blended(model=blended("a red square in snow"))  # blending again replaces the earlier blend
    assert relative(sampled(again), expected) < 1e-5 and str(video_model.model_options) == hooks


def test_the_price_is_told_when_it_samples(blended, sampled, monkeypatch):
    told = []
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))
    sampled(blended(), cfg=5.0)
    assert "4 of 4 steps, 3 rows each (clip, edit, negative)" in told[-1] and "'cfg' 5 is high" in told[-1]
    assert "without the negative" not in told[-1]


def test_steps_without_guidance_are_told(by_node, monkeypatch):
    told = []
    monkeypatch.setattr(blend_sampler, "show_text", lambda _, text: told.append(text))
    for cfg, until, said in ((2.0, 0.5, True), (2.0, 1.0, False), (1.0, 0.5, False)):
        by_node(cfg=cfg, cfg_until=until)
        assert ("without the negative: 2 steps, by 'cfg until'" in told[-1]) is said


def refused(message):
    return pytest.raises(Refusal, match=f"^Attention Blend: .*{message}")


def test_what_does_not_fit_is_refused(video_model, run, video_latent, t5_prompt, t5_tokens, blended, sampled):
    model = blended()
    with refused("the sampler euler_ancestral adds random noise at every step"):
        sampled(model, sampler="euler_ancestral")
    one = "but the clip of a video model was inverted, which is one latent of "
    with refused(f"the sampler's latent has the shape .*{one}{video_latent.shape[1]} channels"):
        sampled(model, latent=video_latent[:, :4])
    pictures = t5_prompt(TARGET), t5_prompt("snow"), {"samples": torch.ones(3, 4, 8, 8)}
    with refused(f"the sampler's latent has the shape .3, 4, .*8, 8., {one}"):
        KSampler().sample(model, 7, STEPS, 1.0, "euler", "simple", *pictures, 1.0)
    frames = 1 + family_of(video_model).frames_per_latent
    with refused(f"the sampler's latent has {frames} frames, the inverted clip {run.clip_frames}"):
        sampled(model, latent=video_latent[:, :, :2])
    pixels = run.cell.pixels
    with refused(f"the sampler's latent is {8 * pixels}x{8 * pixels} but {10 * pixels}x{8 * pixels} was inverted"):
        sampled(model, latent=video_latent[..., :8])
    with refused("the sampler's positive says \"a red circle on green grass\" but 'edit' goes to"):
        sampled(model, SOURCE)
    advanced = "disable", 7, STEPS, 1.0, "euler", "simple", t5_prompt(TARGET), t5_prompt("snow")
    with refused("the sampler adds no noise, but its latent is not the inverted one"):
        KSamplerAdvanced().sample(model, *advanced, {"samples": video_latent}, 0, STEPS, "disable")
    masked = {"samples": video_latent, "noise_mask": torch.ones(1, 1, 64, 80)}
    with refused("the latent carries a noise mask"):
        KSamplerAdvanced().sample(model, *advanced, masked, 0, STEPS, "disable")
    two = t5_prompt(TARGET) + t5_prompt(TARGET)
    with refused("'positive' holds 2 conditionings"):
        KSampler().sample(model, 7, STEPS, 1.0, "euler", "simple", two, two, {"samples": video_latent}, 1.0)
    patched = model.clone()
    patched.model_options["transformer_options"]["rel_l1_thresh"] = 0.2
    with refused("'model' has TeaCache"):
        sampled(patched)
