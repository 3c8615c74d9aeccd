"""Masks that go from where words are seen to the edges in the picture, on drawn things."""

from dataclasses import replace
from types import SimpleNamespace

import comfy.latent_formats
import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edit_cases import edited, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.edit_check import check_settings, new_shape, thing_beside
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import AROUND, INPUT_MASK, OUTLINE, WORDS, BlendSettings
from fatezero_pack.fatezero.edit.unet.outline_mask import (
    around_what_stays,
    frames_without_the_thing,
    on_outline,
    outline_mask,
    thing_room,
)
from fatezero_pack.fatezero.masks import outlines
from fatezero_pack.fatezero.masks.looks import FINER
from fatezero_pack.fatezero.masks.mask_pictures import touched_cells
from fatezero_pack.fatezero.masks.outlines import filled, geometric_mean, rounded
from fatezero_pack.fatezero.masks.source_mask import source_mask
from fatezero_pack.fatezero.masks.word_masks import AUTOMATIC, heat_mask
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.report.edit_place import edit_place
from fatezero_pack.fatezero.report.mask_share import used_mask_share

SIDE = 32
SD15 = comfy.latent_formats.SD15()


def disc(row: float, column: float, radius: float) -> torch.Tensor:
    """A disc on SIDE x SIDE cells, 0 and 1."""
    rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).float()


def picture(*things: torch.Tensor, frames: int = 1) -> torch.Tensor:
    """A latent [frames, 4, SIDE, SIDE] of things of one colour on a ground with some grain."""
    ground = 0.2 * torch.randn(frames, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    covered = torch.stack(things).amax(dim=0)
    return torch.lerp(ground, torch.tensor([2.0, -1.0, 1.0, 0.5]).view(4, 1, 1) + ground, covered)


def seen(thing: torch.Tensor, strength: float = 1.0, wider: int = 2) -> torch.Tensor:
    """The heat [1, SIDE, SIDE] of words that are seen where a thing is, and far around it, as attention shows it."""
    wide = F.max_pool2d(thing[None, None], 2 * wider + 1, 1, wider)
    blurred = F.avg_pool2d(wide, 9, 1, 4, count_include_pad=False)[0]
    return strength * blurred / blurred.max()


def overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one * other).sum() / torch.maximum(one, other).sum())


def outlined(heat: torch.Tensor, latent: torch.Tensor, *threshold: float) -> torch.Tensor:
    """The cells that the outlined things touch."""
    finer = outlines.outlined(heat, latent, *threshold)
    assert finer.shape[-2:] == (FINER * SIDE, FINER * SIDE)
    return touched_cells(finer, (SIDE, SIDE))


def test_a_mask_ends_at_the_thing_s_edge():
    thing = disc(14, 17, 6)
    own = overlap(heat_mask(seen(thing), AUTOMATIC)[0], thing)
    found = outlined(seen(thing), picture(thing))[0]
    assert own < 0.7 and overlap(found, thing) > 0.85
    assert (found >= thing).float().mean() > 0.99  # cells that the thing touches belong to it


@pytest.mark.parametrize("threshold", [AUTOMATIC, 0.5])
def test_a_thing_beside_stays_out_although_it_has_the_same_colour(threshold):
    thing, beside = disc(10, 9, 5), disc(20, 24, 5)
    heat = torch.maximum(seen(thing), seen(beside, 0.55))
    found = outlined(heat, picture(thing, beside), threshold)[0]
    assert overlap(found, thing) > 0.8 and (found * beside).sum() == 0


def test_all_things_that_the_words_name_are_found():
    """As of "swans"."""
    things = disc(10, 8, 5), disc(20, 24, 4)
    found = outlined(torch.maximum(*map(seen, things)), picture(*things))[0]
    assert overlap(found, sum(things)) > 0.8


def test_where_the_picture_has_no_edges_the_words_own_mask_stays():
    heat = seen(disc(16, 16, 6))
    even = 0.01 * torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    found = outlined(heat, even)[0]
    assert 0.25 <= overlap(found, heat_mask(heat, 0.5)[0])
    assert not outlined(torch.zeros(1, SIDE, SIDE), even).any()
    overflowed = torch.full((1, 4, SIDE, SIDE), torch.inf, dtype=torch.float16)
    assert torch.equal(outlined(heat, overflowed)[0], outlined(heat, torch.zeros(1, 4, SIDE, SIDE))[0])
    assert outlined(torch.ones(1, SIDE, SIDE), torch.zeros(1, 4, SIDE, SIDE), 0.5).all()


@pytest.mark.parametrize("threshold", [AUTOMATIC, 0.5])
def test_a_thing_beside_stays_out_where_the_picture_has_no_edges(threshold):
    """As of a red star on red bricks, beside a red triangle: both were edited."""
    thing, beside = disc(10, 9, 5), disc(20, 24, 5)
    even = torch.zeros(1, 4, SIDE, SIDE)
    found = outlined(torch.maximum(seen(thing), seen(beside, 0.7)), even, threshold)[0]
    assert (found * thing).sum() > 0.9 * thing.sum() and (found * beside).sum() == 0
    both = outlined(torch.maximum(seen(thing), seen(beside)), even, threshold)[0]
    assert min((both * each).sum() / each.sum() for each in (thing, beside)) > 0.7


def test_frames_are_found_alone_as_in_the_clip_and_random_numbers_stay_the_caller_s():
    """A film's parts give the clip's masks; other packs draw from OpenCV's numbers, too."""
    things = [disc(14, 10 + 5 * frame, 5) for frame in range(3)]
    heat = torch.cat([seen(thing) for thing in things])
    latent = torch.cat([picture(thing) for thing in things])

    def drawn():
        return cv2.randu(np.zeros((1, 8), np.uint8), 0, 255).tolist()

    cv2.setRNGSeed(5)
    undisturbed = drawn(), drawn()
    cv2.setRNGSeed(5)
    before, clip, after = drawn(), outlined(heat, latent), drawn()
    assert (before, after) == undisturbed
    for frame in range(3):
        assert torch.equal(outlined(heat[frame : frame + 1], latent[frame : frame + 1])[0], clip[frame])


def test_it_can_be_cancelled_between_frames(monkeypatch):
    checks = []

    def cancel():
        checks.append(len(checks))
        if len(checks) == 2:
            raise InterruptedError

    monkeypatch.setattr(outlines, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(InterruptedError):
        outlined(seen(disc(16, 16, 6)).expand(4, -1, -1), picture(disc(16, 16, 6), frames=4))
    assert len(checks) == 2


def test_hulls_are_of_each_part_alone():
    cross = torch.zeros(1, 9, 20)
    cross[0, 4, 1:8] = cross[0, 1:8, 4] = 1
    cross[0, 2:5, 15:18] = 1  # a square is its own hull
    room = filled(cross)
    assert torch.equal(room[0, :, 10:], cross[0, :, 10:])
    assert room[0, 3, 3] == 1 and room[0, 1, 1] == 0 and room[0, :, 8:15].sum() == 0


def triangle(turn: float) -> torch.Tensor:
    """A triangle of 15 cells' height on SIDE x SIDE cells, 0 and 1, turned by radians."""
    angles = turn + np.arange(3) * 2 * np.pi / 3
    corners = 16 + 10 * np.stack([np.sin(angles), -np.cos(angles)], 1)
    return torch.from_numpy(
        cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), corners.round().astype(int), 1)
    ).float()


@pytest.mark.parametrize("turn", [0.0, 0.5])
def test_another_shape_has_the_room_of_its_box_and_a_round_or_square_thing_has_no_more(turn):
    """In the box of a triangle, an ellipse is half as large again."""
    part = triangle(turn)
    room = rounded(part[None])[0]
    assert (room * part).sum() == part.sum() and 1.3 < room.sum() / part.sum() < 1.9
    square = torch.zeros(SIDE, SIDE)
    square[8:20, 5:17] = square[30, 30] = 1
    for thing in (square, disc(16, 16, 7)):
        assert (rounded(thing[None])[0] - thing).abs().sum() <= 0.03 * thing.sum()


def test_a_mean_of_heats_needs_all_of_them():
    heats = [torch.tensor([[[1.0, 0.5, 0.0]]]), torch.tensor([[[0.25, 0.5, 1.0]]])]
    assert torch.allclose(geometric_mean(heats), torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert not geometric_mean([torch.zeros(1, 2, 2)]).any()


def clip_with(words: list[float], shown: list[float], target: str = "a car and a swan on grass"):
    """A jeep beside a swan, which its word sees and the picture shows as strongly as said in each frame; and an edit.

    The word is seen faintly around the place as well, as attention is where a thing is not.
    """
    jeep, swan = disc(12, 10, 5), disc(22, 23, 5)
    edit = prompt_edit("a jeep and a swan on grass", target)
    maps = torch.full((2, len(words), edit.source.length, SIDE, SIDE), 1e-3)
    tokens = {word.text: list(word.indices) for word in edit.source.words}
    for frame, strength in enumerate(words):
        heat = torch.maximum(strength * seen(jeep, wider=0), 0.2 * seen(disc(12, 10, 8), wider=0))
        maps[:, frame, tokens["jeep"]] += heat
        maps[:, frame, tokens["swan"]] += seen(swan, wider=0)
    latent = torch.cat([picture(share * jeep, swan) for share in shown])
    return SimpleNamespace(trajectory=torch.stack([latent, latent]), word_maps=maps), edit, jeep, swan


SEEN, OUT_OF_SIGHT = [1.0, 0.0, 0.9, 0.0], [1.0, 0.0, 1.0, 0.0]


def test_a_frame_without_the_thing_has_no_room():
    source, edit, jeep, _ = clip_with(SEEN, OUT_OF_SIGHT)
    settings = BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC)
    for each in (settings, replace(settings, agree_until=0.8)):
        room = thing_room(source, edit, each)
        assert not room[1].any() and not room[3].any()
        assert overlap(room[0], jeep) > 0.6 and overlap(room[2], jeep) > 0.6
    by_hand = thing_room(source, edit, replace(settings, threshold=0.5))
    assert by_hand[1].any()  # a person says how faint is enough


def test_what_passes_in_front_of_a_new_thing_stays():
    """Where it hides a part of the old one, frames do not agree on the whole."""
    edit = prompt_edit("a jeep and a swan on grass", "a ball and a swan on grass")
    tokens = {word.text: list(word.indices) for word in edit.source.words}
    jeep, frames = disc(16, 16, 8), [disc(11, column, 3) for column in (3, 7, 16, 25, 29)]
    maps, latents = torch.full((2, len(frames), edit.source.length, SIDE, SIDE), 1e-3), []
    for index, swan in enumerate(frames):
        behind = jeep * (1 - swan)
        maps[:, index, tokens["jeep"]] += seen(behind, wider=0)
        maps[:, index, tokens["swan"]] += seen(swan, wider=0)
        white = torch.tensor([-2.0, 2.0, 1.5, -1.0]).view(4, 1, 1)
        latents.append(torch.lerp(picture(behind), white.expand(4, SIDE, SIDE), swan))
    latent = torch.cat(latents)
    source = SimpleNamespace(trajectory=torch.stack([latent, latent]), word_maps=maps)
    settings = BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC, agree_until=1.0)
    room = thing_room(source, edit, settings)
    hidden = jeep * frames[2]
    alone = thing_room(source, edit, replace(settings, agree_until=0.0))
    assert (room[2] * hidden).sum() == (alone[2] * hidden).sum() < 0.75 * hidden.sum()
    assert (room[2] * (jeep - hidden)).sum() > 0.9 * (jeep - hidden).sum()
    assert all(overlap(room[index], jeep) > 0.8 for index in (0, 4))


def test_frames_without_the_thing_are_told():
    source, edit, _, _ = clip_with(SEEN, OUT_OF_SIGHT)
    settings = BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC)
    (told,) = frames_without_the_thing(settings, on_outline(settings, source, edit))
    assert told.startswith("in 2 of 4 frames what is to change is not seen")
    for other in (replace(settings, threshold=0.3), replace(settings, mask_from=WORDS)):
        assert frames_without_the_thing(other, on_outline(other, source, edit)) == []


def test_what_the_picture_shows_is_there_however_faint_its_word():
    source, edit, jeep, _ = clip_with([1.0, 0.3, 0.9, 0.3], [1.0, 1.0, 1.0, 1.0])
    room = thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC))
    assert all((frame * jeep).sum() > 0.9 * jeep.sum() for frame in room)


def test_what_its_word_is_sure_of_is_there_whatever_the_picture_shows():
    source, edit, _, _ = clip_with([1.0, 0.8, 1.0, 0.8], [1.0, 0.0, 1.0, 0.0])
    assert thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC))[1].any()


def test_a_new_ground_is_drawn_where_a_thing_that_stays_is_out_of_sight():
    source, edit, jeep, swan = clip_with(SEEN, OUT_OF_SIGHT, "a jeep and a swan on snow")
    around = around_what_stays(source, edit, BlendSettings(mask_from=AROUND, threshold=AUTOMATIC))
    assert (around[1] * jeep).sum() > 0.9 * jeep.sum() and (around[1] * swan).sum() < 0.1 * swan.sum()
    assert (around[0] * jeep).sum() < 0.1 * jeep.sum()


def test_some_frames_of_a_mask_are_as_in_the_whole():
    """As the blend nodes show it before they edit."""
    source, edit, _, _ = clip_with(SEEN, OUT_OF_SIGHT)
    settings = BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC)
    whole = outline_mask(source, edit, settings)
    for frames in ([1], [0, 3]):
        assert torch.equal(outline_mask(source, edit, settings, frames), whole[frames])
    clip = replace(inverted(small_model(), edit, torch.zeros(4, 4, SIDE, SIDE)), **vars(source))
    bare, tinted = (edit_place(clip, edit, replace(settings, threshold=tau), SD15, 1) for tau in (AUTOMATIC, 0.5))
    assert not torch.equal(bare, tinted)  # the middle frame, without the thing


def source_of(prompt: str, target: str, places: dict[str, torch.Tensor], *things: torch.Tensor):
    """What is read of a source run, and an edit whose words are seen at places."""
    edit = prompt_edit(prompt, target)
    maps = torch.full((2, 1, edit.source.length, SIDE, SIDE), 1e-3)
    for word in edit.source.words:
        for token in word.indices if word.text in places else ():
            maps[:, 0, token] += seen(places[word.text], wider=0)
    latent = picture(*things)
    return SimpleNamespace(trajectory=torch.stack([latent, latent]), word_maps=maps), edit


def test_every_changed_thing_has_its_own_room_and_what_stands_beside_has_none():
    first, second, kept = disc(8, 8, 4), disc(23, 9, 4), disc(16, 24, 4)
    places = {"jeep": first, "swan": 0.4 * second, "road": kept}
    source, edit = source_of("a jeep, a swan, a road", "a car, a duck, a road", places, first, second, kept)
    room = thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC))[0]
    assert overlap(room, first + second) > 0.75 and (room * kept).sum() == 0
    wider = thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC, edge_margin=1))[0]
    assert torch.equal(wider, F.max_pool2d(room[None], 3, 1, 1)[0])


def test_a_whole_phrase_tells_two_things_of_one_name_apart():
    red, black = disc(16, 8, 5), disc(16, 24, 5)
    places = {"jeep": torch.maximum(red, black), "red": red, "black": black}
    source, edit = source_of("a red jeep and a black jeep", "a blue jeep and a black jeep", places, red, black)
    room = thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC))[0]
    assert overlap(room, red) > 0.65 and (room * red).sum() >= 0.98 * red.sum() and (room * black).sum() == 0


def test_all_but_what_stays_is_around_the_things_of_both_prompts():
    """Things of one colour; that the ground's own word is seen as strongly takes nothing off them."""
    jeep, swan = disc(16, 8, 6), disc(16, 24, 6)
    things = torch.maximum(jeep, swan)
    places = {"jeep": jeep, "swan": swan, "grass": 1 - 0.5 * things}
    source, edit = source_of("a jeep and a swan on grass", "a jeep and a swan on snow", places, jeep, swan)
    around = around_what_stays(source, edit, BlendSettings(mask_from=AROUND, threshold=AUTOMATIC))[0]
    assert overlap(1 - around, things) > 0.8 and (around * things).sum() <= 0.02 * things.sum()


def test_a_new_background_is_an_edit_in_the_mask_that_is_shown():
    model, edit = small_model(), prompt_edit("a jeep on grass", "a jeep on snow")
    source, settings = inverted(model, edit), PRESETS["new background"]
    around = around_what_stays(source, edit, settings)
    by_mask = replace(settings, mask_from=INPUT_MASK, mask=around)
    assert 0 < float(around.mean()) < 1
    assert torch.equal(edited(model, source, edit, settings), edited(model, source, edit, by_mask))
    assert torch.equal(used_mask_share(source, edit, settings), around.mean(dim=(1, 2)))
    strip = edit_place(source, edit, settings, model.model.latent_format)
    plain = edit_place(source, edit, replace(by_mask, mask=torch.zeros_like(around)), model.model.latent_format)
    tinted = (strip - plain).abs().amax(dim=-1) > 0
    assert abs(float(tinted.float().mean()) - float(around.mean())) < 0.01


def test_without_a_thing_that_stays_there_is_no_ground_around_it():
    run, edit = inverted(small_model(), prompt_edit("on grass", "on snow")), prompt_edit("on grass", "on snow")
    with pytest.raises(Refusal, match="no thing stands in both prompts"):
        check_settings(run, edit, BlendSettings(mask_from=AROUND))


def test_only_another_thing_gets_more_room_than_the_hull():
    thing = triangle(0.0)
    rooms = []
    for target in ("a blue jeep", "a red car"):
        source, edit = source_of("a red jeep", target, {"red": thing, "jeep": thing}, thing)
        rooms.append(thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC))[0])
    assert 1.2 * rooms[0].sum() < rooms[1].sum() and (rooms[0] <= rooms[1]).all()


def test_what_the_thing_beside_is_called_takes_it_off_where_the_changed_word_is_seen_on_both():
    jeep, swan = disc(16, 8, 5), disc(16, 24, 5)
    places = {"red": torch.maximum(jeep, swan), "jeep": torch.maximum(jeep, 0.9 * swan), "swan": swan}
    source, edit = source_of("a red jeep and a red swan", "a blue jeep and a red swan", places, jeep, swan)
    room = thing_room(source, edit, BlendSettings(mask_from=OUTLINE, threshold=AUTOMATIC))[0]
    assert overlap(room, jeep) > 0.65 and (room * swan).sum() == 0


def test_an_edit_to_the_edges_is_one_in_the_mask_that_is_shown():
    """And its settings stay as they were given."""
    model, edit = small_model(), prompt_edit()
    source = inverted(model, edit)
    settings = PRESETS["shape"]
    assert settings.mask_from == OUTLINE
    given = on_outline(settings, source, edit)
    assert given.mask_from == INPUT_MASK and settings.mask is None and on_outline(given, source, edit) is given
    assert given.mask.any() and not given.mask.all()
    assert torch.equal(*(edited(model, source, edit, each) for each in (settings, given)))
    share = used_mask_share(source, edit, settings)
    assert torch.allclose(share, given.mask.mean(dim=(1, 2)))
    strips = [edit_place(source, edit, each, model.model.latent_format, frames=1) for each in (settings, given)]
    assert strips[0].shape == strips[1].shape


def test_another_thing_beside_is_told_where_words_alone_make_the_mask():
    pair = prompt_edit("a red jeep and a red swan on a road", "a blue jeep and a red swan on a road")
    alone = prompt_edit("a red jeep on a road", "a blue jeep on a road")
    gone = prompt_edit("a red jeep and a red swan", "a red swan")
    assert "red swan" in thing_beside(pair, PRESETS["attribute"])[0]
    assert "replace" in thing_beside(pair, BlendSettings(mask_from=WORDS))[0]
    for edit, preset in ((pair, "replace"), (pair, "style"), (alone, "attribute"), (gone, "remove")):
        assert thing_beside(edit, PRESETS[preset]) == []


def test_for_a_new_shape_replace_is_named():
    swan = prompt_edit("a red jeep on a road", "a red swan on a road")
    gone = prompt_edit("a red jeep and a red swan", "a red swan")
    assert "replace" in new_shape("shape", swan, PRESETS["shape"])[0]
    for preset, edit, settings in (
        ("attribute", swan, PRESETS["attribute"]),
        ("replace", swan, PRESETS["replace"]),
        ("shape", gone, PRESETS["shape"]),
        ("shape", swan, replace(PRESETS["shape"], mask_from=INPUT_MASK)),
    ):
        assert new_shape(preset, edit, settings) == []


def test_attention_mask_goes_to_the_edges_of_each_word_by_itself():
    jeep, swan = disc(8, 8, 6), disc(23, 23, 6)
    places = {"jeep": jeep, "swan": 0.3 * swan}
    source, edit = source_of("a jeep and a swan on a road", "a car and a swan on a road", places, jeep, swan)
    source = replace(inverted(small_model(), edit, torch.zeros(1, 4, SIDE, SIDE)), **vars(source))
    rough, sharp = (source_mask(source, edit, "jeep, swan", AUTOMATIC, None, edges) for edges in (False, True))
    shown = F.interpolate((jeep + swan)[None, None], scale_factor=8)[0]
    assert sharp.shape == rough.shape == (1, 8 * SIDE, 8 * SIDE)
    assert overlap(sharp, shown) > 0.7 and overlap(sharp, shown) > overlap(rough, shown) + 0.2
    changed = source_mask(source, edit, "", AUTOMATIC, None, True)
    assert overlap(changed, F.interpolate(jeep[None, None], scale_factor=8)[0]) > 0.7
