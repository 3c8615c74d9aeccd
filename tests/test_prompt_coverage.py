"""Prompts of the sampler that are missing in a step or in a part of the picture, and masks without any place."""

from dataclasses import replace

import comfy.samplers
import pytest
import torch

import nodes
from edit_cases import clip_latent, conditioning, edited, inverted, inverted_noise, negative, prompt_edit, small_model
from fatezero_pack.fatezero.edit.latent_blend import EMPTY_MASK
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import INPUT_MASK
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.voice import Voice
from fatezero_pack.nodes.invert import Invert

EDIT = prompt_edit()
MODEL = small_model()
LEFT = torch.cat([torch.ones(1, 8, 4), torch.zeros(1, 8, 4)], dim=-1)
SETTINGS = PRESETS["attribute"]


@pytest.fixture(scope="module")
def source():
    return inverted(MODEL, EDIT, steps=4)


def limited(conds, **options):
    return [[embedding, {**others, **options}] for embedding, others in conds]


def between(conds, start, end):
    return nodes.ConditioningSetTimestepRange().set_range(conds, start, end)[0]


def sample(source, positive, negatives, cfg=5.0, settings=SETTINGS, window=None):
    told = []
    guider = comfy.samplers.CFGGuider(blend_attention(MODEL, source, EDIT, settings, Voice(show=told.append)))
    guider.set_conds(positive, negatives)
    guider.set_cfg(cfg)
    if window is not None:
        guider.window = window
    noise = inverted_noise(MODEL, source)
    euler, sigmas = comfy.samplers.sampler_object("euler"), source.sigmas.flip(0)
    return guider.sample(torch.zeros_like(noise), noise, euler, sigmas, disable_pbar=True), told


TARGET = conditioning(EDIT.target)
GAPS = {
    "positive ends": (between(TARGET, 0.0, 0.5), negative(), "'positive' is missing in some steps"),
    "positive begins late": (between(TARGET, 0.5, 1.0), negative(), "'positive' is missing in some steps"),
    "negative ends": (TARGET, between(negative(), 0.0, 0.5), "'negative' is missing in some steps"),
    "a gap between two": (
        TARGET,
        between(negative(), 0.0, 0.3) + between(negative(), 0.7, 1.0),
        "'negative' is missing in some steps",
    ),
    "negative on the left": (TARGET, limited(negative(), mask=LEFT), "'negative' is missing in a part of the picture"),
}
WHOLE = {
    "two that follow each other": (between(TARGET, 0.0, 0.5) + between(TARGET, 0.5, 1.0), negative()),
    "all steps": (between(TARGET, 0.0, 1.0), between(negative(), 0.0, 1.0)),
    "whole and left": (TARGET, negative() + limited(negative(), mask=LEFT)),
    "left, and right in each frame": (
        TARGET,
        limited(negative(), mask=LEFT) + limited(negative(), mask=(1 - LEFT).repeat(2, 1, 1)),
    ),
    "left and right": (TARGET, limited(negative(), mask=LEFT) + limited(negative(), mask=1 - LEFT)),
}


@pytest.mark.parametrize("name", GAPS)
def test_a_gap_is_refused(source, name):
    positive, negatives, complaint = GAPS[name]
    with pytest.raises(ValueError, match=f"the sampler's {complaint}.* add .* with Conditioning"):
        sample(source, positive, negatives)


@pytest.mark.parametrize("name", WHOLE)
def test_prompts_that_cover_all_are_not(source, name):
    assert torch.isfinite(sample(source, *WHOLE[name])[0]).all()


def test_a_negative_that_nobody_asks_may_be_missing(source):
    short = between(negative(), 0.0, 0.5)
    expected, _ = sample(source, TARGET, negative(), cfg=1.0)
    assert torch.equal(sample(source, TARGET, short, cfg=1.0)[0], expected)
    sample(source, TARGET, short, window=Window(0.0, 0.5))


def test_scheduled_hooks_of_the_clip_are_named():
    conds = limited(conditioning(EDIT.source), clip_start_percent=0.0)
    with pytest.raises(ValueError, match="Edit Prompts has hooks that change .* switch its 'schedule_clip' off"):
        Invert.execute(small_model(), conds * 2, {"samples": clip_latent()}, 4, "normal", reuse=False)


def test_an_empty_mask_is_told(source):
    drawn = replace(SETTINGS, mask_from=INPUT_MASK, latent_window=Window(0.0, 1.0), agree_until=0.0)
    for mask, expected in ((torch.zeros(1, 16, 16), True), (torch.ones(1, 16, 16), False)):
        _, told = sample(source, TARGET, negative(), settings=replace(drawn, mask=mask))
        assert (EMPTY_MASK in told[-1]) is expected


def test_a_source_prompt_from_elsewhere_is_told(source):
    assert "inverted with a prompt that is not from Edit Prompts" not in sample(source, TARGET, negative())[1][-1]
    foreign = replace(source, tokens=None)
    _, told = sample(foreign, TARGET, negative())
    assert "! the clip was inverted with a prompt that is not from Edit Prompts" in told[-1]
    assert edited(MODEL, source, EDIT, SETTINGS).shape == source.trajectory[0].shape


def test_few_steps_are_told_before_an_inversion():
    for steps, expected in ((3, True), (9, True), (10, False)):
        report = Invert.execute(
            small_model(),
            conditioning(EDIT.source),
            {"samples": clip_latent(1, 8, 8)},
            steps,
            schedule="normal",
            reuse=False,
        ).result[3]
        assert ("! 3 steps are too few for more than a new style" in report) is (steps == 3)
        assert ("too few for more than a new style" in report) is expected
