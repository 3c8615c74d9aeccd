"""What Edit Report advises where an edit had little effect: by the kind of edit and of model."""

import pytest
import torch

from edit_cases import SOURCE, clip_latent, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.settings import NO_MASK, BlendSettings
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import CoupledSettings
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.report.hindrances import causes
from fatezero_pack.fatezero.report.inversion_diagnosis import of_the_inversion

SHAPE = prompt_edit(SOURCE, "a silver horse on a road", "swap")
LOOK = prompt_edit(SOURCE, f"a watercolor of {SOURCE}")
GONE = prompt_edit("a silver jeep and a dog on a road", "a silver jeep on a road")


@pytest.mark.parametrize("cross_until, expected", [(0.4, "(0.4), for a new shape to 0."), (0.0, "No setting holds it")])
def test_a_video_model_holds_shapes_in_a_shorter_window(cross_until, expected):
    """At the default of 0.4 no setting held it back, though 0 turned the star into a circle."""
    (sentence,) = causes(SHAPE, None, CoupledSettings(cross_until=cross_until), 1.5, False)
    assert expected in sentence


@pytest.mark.parametrize("self_until, count", [(0.5, 0), (0.8, 1)])
def test_a_style_is_not_sent_to_a_mask_of_words(self_until, count):
    settings = BlendSettings(Window(0, self_until), Window(0, 0), mask_from=NO_MASK)
    told = [sentence for sentence in causes(LOOK, None, settings, 7.5, False) if "self-attention is used" in sentence]
    assert len(told) == count and not any("mask from" in sentence for sentence in told)


def test_a_removal_is_told_to_look_at_the_mask():
    (sentence,) = causes(GONE, None, BlendSettings(Window(0, 0), Window(0, 0)), 7.5, False)
    assert "look at it with Attention Mask, or draw it" in sentence and "emphasis" not in sentence


@pytest.mark.parametrize(
    "steps, advice", [(3, "raise 'steps' of DDIM Invert"), (20, "set a larger size in Video Load")]
)
def test_where_steps_do_not_help_a_size_is_advised(steps, advice):
    source = inverted(small_model(), SHAPE, clip_latent(1), steps=steps)
    source.trajectory[-1] = torch.nn.functional.interpolate(torch.randn(1, 4, 4, 4), size=(16, 16), mode="bilinear")
    (sentence,) = of_the_inversion(source)
    assert f"mush; {advice}" in sentence
