"""An edit that is sampled in stages, by ComfyUI's own nodes, is the edit in one run."""

from dataclasses import replace

import pytest
import torch
from comfy_extras.nodes_custom_sampler import (
    CFGGuider,
    DisableNoise,
    KSamplerSelect,
    SamplerCustomAdvanced,
    SplitSigmas,
)

import nodes
from edit_cases import clip_latent, conditioning, inverted, inverted_noise, negative, prompt_edit, small_model
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, RECONSTRUCTION
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.voice import Voice
from golden_unet import relative

EDIT = prompt_edit()
STEPS = 3
SETTINGS = {
    **{name: PRESETS[name] for name in ("attribute", "shape", "style", "word swap (Video-P2P)")},
    "word swap, from a reconstruction": replace(PRESETS["word swap (Video-P2P)"], attention_from=RECONSTRUCTION),
    "shape, from a fast reconstruction": replace(PRESETS["shape"], attention_from=FAST_RECONSTRUCTION),
}


@pytest.fixture(scope="module")
def source():
    return inverted(small_model(), EDIT, clip_latent(), steps=STEPS, schedule="normal")


def custom(model, latent, sigmas, sampler="euler"):
    """SamplerCustomAdvanced with no noise; the latent that it gives out."""
    guider = CFGGuider.execute(model, conditioning(EDIT.target), negative(), 5.0).result[0]
    sampler = KSamplerSelect.execute(sampler).result[0]
    noise = DisableNoise.execute().result[0]
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, {"samples": latent}).result[0]["samples"]


def advanced(model, latent, start, end, cfg=5.0):
    """KSampler Advanced from a step to another, noise left over."""
    leftover = "enable" if end < STEPS else "disable"
    conds = conditioning(EDIT.target), negative()
    arguments = (model, "disable", 0, STEPS, cfg, "euler", "normal", *conds, {"samples": latent}, start, end, leftover)
    return nodes.KSamplerAdvanced().sample(*arguments)[0]["samples"]


@pytest.mark.parametrize("name", SETTINGS)
def test_stages_are_one_run(name, source):
    """Split at any step, by SplitSigmas and by KSampler Advanced, also into three."""
    model = blend_attention(small_model(), source, EDIT, SETTINGS[name])
    start, sigmas = inverted_noise(model, source), source.sigmas.flip(0)
    whole = custom(model, start, sigmas)
    for step in range(1, STEPS):
        high, low = SplitSigmas.execute(sigmas, step).result
        middle = custom(model, start, high)
        assert relative(custom(model, middle, low), whole) < 1e-5
    assert relative(custom(model, middle, low), whole) < 1e-5  # the first stage from ComfyUI's cache
    again = advanced(model, advanced(model, advanced(model, start, 0, 1), 1, 2), 2, STEPS)
    assert relative(again, advanced(model, start, 0, STEPS)) < 1e-5


def test_a_last_stage_without_guidance_is_cfg_until(source):
    """As the help page tells who edits with KSampler (Advanced)."""
    blended, start = (
        blend_attention(small_model(), source, EDIT, PRESETS["attribute"]),
        inverted_noise(small_model(), source),
    )
    staged = advanced(blended, advanced(blended, start, 0, 2), 2, STEPS, cfg=1.0)
    conds = conditioning(EDIT.target), negative()
    limited = sample_edit(small_model(), source, EDIT, PRESETS["attribute"], *conds, 5.0, guided=Window(0, 2 / STEPS))
    assert relative(staged, limited) < 1e-5 < relative(advanced(blended, start, 0, STEPS), limited)


def test_another_models_steps_are_told(source):
    """Only where the edit would need to know them."""
    start, sigmas = inverted_noise(small_model(), source), source.sigmas.flip(0)
    high, low = SplitSigmas.execute(sigmas, 1).result

    def second_stage(name, latent=None, at=low):
        texts = []
        first, second = (
            blend_attention(small_model(), source, EDIT, SETTINGS[name], voice)
            for voice in (Voice(), Voice("Attention Blend", texts.append))
        )
        latent = custom(first, start, high) if latent is None else latent
        custom(second, latent, at)
        return texts[-1]

    missing, by_words = "steps that this model did not make", "word swap (Video-P2P)"
    assert missing in second_stage(by_words) and missing in second_stage("shape, from a fast reconstruction")
    assert missing not in second_stage("style")
    begun = small_model().model.process_latent_out(source.latent_at(float(low[0])))
    assert missing not in second_stage(by_words, begun)  # begins here, from the clip
    assert missing not in second_stage(by_words, start, sigmas)


def test_steps_at_other_levels_than_the_inversions_are_told(source):
    """Of a sampler that goes its own way: other steps, another scheduler, or a sampler that moves its last levels."""
    texts = []
    model = blend_attention(small_model(), source, EDIT, SETTINGS["style"], Voice("Attention Blend", texts.append))
    start, conds = inverted_noise(model, source), (conditioning(EDIT.target), negative())

    def told(steps=STEPS, scheduler="normal", sampler="euler", first=0, last=STEPS):
        arguments = model, "disable", 0, steps, 5.0, sampler, scheduler, *conds, {"samples": start}, first, last
        nodes.KSamplerAdvanced().sample(*arguments, "enable")
        return [line for line in texts[-1].splitlines() if "at other noise levels" in line]

    assert not told() and not told(first=1) and not told(last=2) and not told(sampler="dpmpp_2m")
    custom(model, start, source.sigmas.flip(0))
    assert "at other noise levels" not in texts[-1]
    said = f"the sampler takes 6 steps and the inversion took {STEPS}, at other noise levels, so that the clip is read"
    assert [line.startswith(said) for line in told(2 * STEPS, last=2 * STEPS)] == [True]
    assert told(scheduler="karras") and told(sampler="dpm_2")
    assert "the sampler takes 1 step and" in told(2 * STEPS, first=1, last=2)[0]


def test_a_finished_run_leaves_nothing(source):
    """What is kept is the end of a stage, not of an edit."""
    model = blend_attention(small_model(), source, EDIT, SETTINGS["attribute"])
    start, sigmas = inverted_noise(model, source), source.sigmas.flip(0)
    first = custom(model, start, sigmas)
    assert torch.equal(custom(model, start, sigmas), first)


def test_a_clip_without_noise_is_no_stage(source):
    """Also what is near to it, such as a finished edit."""
    model = blend_attention(small_model(), source, EDIT, SETTINGS["style"])
    start, clip = inverted_noise(model, source), clip_latent()
    lacks = "lacks the noise of the step that it starts at"
    for step in range(1, STEPS):
        with pytest.raises(Refusal, match=f"the sampler adds no noise, but its latent {lacks}"):
            advanced(model, clip, step, STEPS)
        advanced(model, start, step, STEPS)  # which begins from the clip at that level
    with pytest.raises(Refusal, match=lacks):
        advanced(model, 1.01 * clip, 1, STEPS)


def test_a_latent_that_is_not_used_is_told(source):
    """A sampler that adds noise starts from the inverted clip, whatever stood before it."""
    texts = []
    model = blend_attention(small_model(), source, EDIT, SETTINGS["style"], Voice("Attention Blend", texts.append))
    start, conds = inverted_noise(model, source), (conditioning(EDIT.target), negative())

    def noisy(latent):
        arguments = model, "enable", 0, STEPS, 5.0, "euler", "normal", *conds, {"samples": latent}, 1, STEPS, "disable"
        edit = nodes.KSamplerAdvanced().sample(*arguments)[0]["samples"]
        return edit, "the edit starts from the inverted clip and not from the latent that it is given" in texts[-1]

    edit, told = noisy(clip_latent())
    assert not told
    for latent, expected in ((start, False), (0 * start, False), (advanced(model, start, 0, 1), True)):
        again, told = noisy(latent)
        assert told == expected and relative(again, edit) < 1e-5
