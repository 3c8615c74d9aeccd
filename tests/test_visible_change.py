"""Whether an edit shows: true edits of the demo world do, what a VAE loses does not, and each frame is judged."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from edit_cases import prompt_edit
from fatezero_pack.demo import world
from fatezero_pack.fatezero.report.diagnosis import all_is_well, explain
from fatezero_pack.fatezero.report.edit_report import measure
from fatezero_pack.fatezero.report.measure_table import table
from fatezero_pack.fatezero.report.visible_change import visible_change

SQUARE = world.Thing("pink", "square", 0.5, 0.5, 0.2)
SCENE = world.Scene("snow", (SQUARE,), ground_seed=3)
LOOK = prompt_edit("a pink square on white snow", "a mosaic of a pink square on white snow")
SHAPE = prompt_edit("a pink square on white snow", "a pink circle on white snow")


def clip(*scenes: world.Scene) -> torch.Tensor:
    return torch.stack([torch.from_numpy(world.render(scene)).float() / 255 for scene in scenes])


def blurred(images: torch.Tensor) -> torch.Tensor:
    """As a VAE gives them back: without what is finer than three pixels."""
    return F.avg_pool2d(F.pad(images.movedim(-1, 1), (1, 1, 1, 1), mode="replicate"), 3, 1).movedim(1, -1)


def with_shape(shape: str, scene: world.Scene = SCENE) -> world.Scene:
    return replace(scene, things=(replace(scene.things[0], shape=shape),))


@pytest.mark.parametrize("ground", ["grass", "sand", "snow", "water", "night sky"])
def test_a_mosaic_shows_and_a_blur_does_not(ground):
    """The signed colours of tiles cancel in their cells, so that all mosaics had little effect."""
    scene = replace(SCENE, ground=ground)
    before, mosaic = clip(scene), clip(replace(scene, style="mosaic"))
    assert visible_change(before, mosaic).strength() >= 1 > visible_change(before, blurred(before)).strength()
    told = explain(measure(before, mosaic), LOOK)
    assert told == [] and all_is_well(measure(before, mosaic)).startswith("The edit shows: ")
    assert explain(measure(before, blurred(before)), LOOK)[0].startswith("The edit had little effect")


def test_a_mosaic_is_said_to_be_a_texture():
    measured = measure(clip(SCENE), clip(replace(SCENE, style="mosaic")))
    assert measured.strongest_change < 40 / 255
    assert all_is_well(measured) == "The edit shows: the picture has a texture that it did not have."


def test_a_new_outline_shows():
    """It covers less than a twentieth of the cells, and the thing keeps its colours."""
    measured = measure(clip(SCENE), clip(with_shape("heart")))
    assert measured.strongest_change < 40 / 255 and explain(measured, SHAPE) == []
    assert "change in small areas" in table(measured) and "new texture" in table(measured)


def test_texture_alone_is_no_new_shape():
    grainy = clip(SCENE) + 0.1 * torch.randn(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    measured = measure(clip(SCENE), grainy.clamp(0, 1))
    assert measured.visible.strength() >= 1
    assert explain(measured, SHAPE)[0].startswith("The edit had little effect")


def test_frames_without_the_edit_are_named():
    """Two frames of eight had the verdict that the edit shows."""
    before, after = clip(*[SCENE] * 8), clip(*[with_shape("star")] * 2, *[SCENE] * 6)
    (sentence,) = explain(measure(before, after), SHAPE)
    assert sentence.startswith("The edit does not show in frames 2, 3, 4, 5, 6, 7, only in the others")
    moving = world.video(SCENE, 8)
    assert explain(measure(clip(*moving), clip(*(with_shape("star", scene) for scene in moving))), SHAPE) == []


def test_what_is_outside_the_mask_does_not_show():
    before, after = clip(SCENE, SCENE), clip(with_shape("star"), with_shape("star"))
    mask = torch.ones(2, 128, 128)
    mask[0, 32:96, 32:96], mask[1] = 0, 0
    outside, empty = visible_change(before, after, mask).strength().tolist()
    assert outside == 0 and empty != empty, "a frame without a mask has no number"


@pytest.mark.parametrize("side", [1, 5])
def test_pictures_smaller_than_a_cell_are_measured(side):
    assert visible_change(torch.zeros(2, side, side, 3), torch.ones(2, side, side, 3)).colours.tolist() == [1, 1]
