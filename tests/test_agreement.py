"""Frames agree on what is new where the old thing was, along its way through the clip."""

import math

import pytest
import torch

from edit_cases import clip_latent, edited, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, BlendSettings
from fatezero_pack.fatezero.edit.unet.agreement import agreed, mean_over_frames, parts_with_ways, steadied
from fatezero_pack.fatezero.edit.unet.ground_layer import Ground, ground_behind
from fatezero_pack.fatezero.edit.unet.ways import REACH, ways_between_frames
from fatezero_pack.fatezero.masks.ground_motion import ground_motion, surrounding_motion
from fatezero_pack.fatezero.masks.motion import FOLLOWED, parts_of, thing_motion
from fatezero_pack.fatezero.prompts.window import Window

SIDE, FRAMES = 32, 8


def bar(x: float, y: float, angle: float, length: float = 5, width: float = 3) -> torch.Tensor:
    """A bar with soft edges on SIDE x SIDE cells, 0..1."""
    rows, columns = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")
    across, down = columns - x, rows - y
    along = math.cos(angle) * across + math.sin(angle) * down
    aside = -math.sin(angle) * across + math.cos(angle) * down
    return torch.sigmoid(3 * (length - along.abs())) * torch.sigmoid(3 * (width - aside.abs()))


def moving(turn: float = 0.08, start=(10.0, 12.0), step=(1.3, 0.4), **size) -> torch.Tensor:
    """A bar's way, [FRAMES, SIDE, SIDE] of 0..1."""
    (x, y), (dx, dy) = start, step
    return torch.stack([bar(x + dx * index, y + dy * index, turn * index, **size) for index in range(FRAMES)])


def latent_of(covered: torch.Tensor, grain: float = 0.05) -> torch.Tensor:
    """A clip's latent of one colour where it is covered, with some grain."""
    generator = torch.Generator().manual_seed(0)
    colors = torch.randn(2, 1, 4, 1, 1, generator=generator)
    noise = grain * torch.randn(len(covered), 4, *covered.shape[-2:], generator=generator)
    return torch.lerp(colors[0], colors[1], covered[:, None]) + noise


def parts(latent: torch.Tensor, mask: torch.Tensor, is_ground: bool = False):
    """The parts of a mask that a person gave."""
    settings = BlendSettings(mask_from=INPUT_MASK, mask=mask, mask_is_ground=is_ground)
    return parts_with_ways(latent, settings, torch.device("cpu"))


def room(covered: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.max_pool2d((covered > 0.3).float()[:, None], 3, 1, 1)[:, 0]


def test_a_shift_and_a_turn_are_found():
    covered = moving()
    motion = thing_motion(latent_of(covered), room(covered))
    assert motion.runs == [0] * FRAMES
    for index, pose in enumerate(motion.poses):
        middle = torch.tensor([10 + 1.3 * index, 12 + 0.4 * index, 1]).double()
        end = middle + 4 * torch.tensor([math.cos(0.08 * index), math.sin(0.08 * index), 0]).double()
        assert (pose @ middle)[:2].tolist() == pytest.approx([10, 12], abs=0.1)
        assert (pose @ end)[:2].tolist() == pytest.approx([14, 12], abs=0.15)


def test_a_round_thing_is_not_turned():
    """Any turn fits a disc, and what comes in its place would spin."""
    rows, columns = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")
    disc = [torch.sigmoid(3 * (5 - torch.hypot(columns - 10 - index, rows - 14))) for index in range(FRAMES)]
    motion = thing_motion(latent_of(torch.stack(disc)), room(torch.stack(disc)))
    turns = torch.atan2(motion.poses[:, 1, 0], motion.poses[:, 0, 0])
    assert turns.abs().max() < 0.05


def test_where_the_thing_is_hidden_a_new_run_begins():
    covered = moving(turn=0)
    latent = latent_of(covered)
    latent[4] = latent_of(torch.zeros_like(covered))[4]  # another thing before it
    motion = thing_motion(latent, room(covered))
    assert motion.runs[:4] == [0] * 4
    assert motion.runs[4] != 0 and motion.runs[5] != motion.runs[4]
    assert len(set(motion.runs[5:])) == 1


def test_a_mask_without_a_thing_or_all_over_the_picture_has_no_motion():
    latent = latent_of(moving())
    for mask in (torch.zeros(FRAMES, SIDE, SIDE), torch.ones(FRAMES, SIDE, SIDE)):
        assert thing_motion(latent, mask).runs == list(range(FRAMES))
        clip = torch.randn(FRAMES, 4, SIDE, SIDE)
        assert torch.allclose(agreed(clip, parts(latent, mask)), clip, atol=1e-4)


def test_each_thing_goes_its_own_way():
    one = moving(0, (6, 8), (1, 0), length=3, width=2)
    other = moving(0, (24, 24), (-1, 0), length=3, width=2)
    masks = room(one) + room(other)
    pieces = parts_of(masks)
    assert len(pieces) == 2 and torch.equal(sum(pieces), masks)
    for covered, x, y, step in ((one, 6, 8, 1), (other, 24, 24, -1)):
        part = next(part for part in pieces if (part * room(covered)).any())
        last = thing_motion(latent_of(one + other), part).poses[-1]
        at_last = torch.tensor([x + step * (FRAMES - 1), y, 1]).double()
        assert (last @ at_last)[:2].tolist() == pytest.approx([x, y], abs=0.25)


def test_of_many_specks_the_largest_are_followed():
    mask = torch.zeros(2, SIDE, SIDE)
    mask[:, ::3, ::3] = 1
    mask[:, 10:20, 10:20] = 1
    pieces = parts_of(mask)
    assert len(pieces) == FOLLOWED and pieces[0].sum() >= 200


def jumping() -> torch.Tensor:
    """A bar that goes by more than its size in every frame and is gone in the middle, [FRAMES, SIDE, SIDE]."""
    covered = torch.stack([bar(8 + 16 * (index % 2), 8 + 2 * index, 0, 4, 2) for index in range(FRAMES)])
    covered[3] = 0
    return covered


def test_a_thing_that_jumps_or_comes_back_is_one_part_and_keeps_its_room():
    """More pieces than FOLLOWED."""
    covered = jumping()
    mask = room(covered)
    pieces = parts_of(mask)
    assert len(pieces) == 1 and torch.equal(pieces[0], mask)
    assert (steadied(mask, latent_of(covered)) == mask).float().mean() > 0.99
    motion = thing_motion(latent_of(covered), mask)
    assert motion.runs[:3] == [0] * 3 and len(set(motion.runs[4:])) == 1 and motion.runs[4] != 0
    assert (motion.poses[2] @ torch.tensor([8, 12, 1]).double())[:2].tolist() == pytest.approx([8, 8], abs=0.15)


def test_of_two_things_that_jump_each_goes_on_with_the_nearest():
    """They are found from top to bottom, and change places in that."""
    high, low = torch.zeros(3, SIDE, SIDE), torch.zeros(3, SIDE, SIDE)
    for frame in range(3):
        high[frame, 4 + frame : 8 + frame, 9 * frame : 9 * frame + 4] = 1
        low[frame, 6 - frame : 10 - frame, 28 - 9 * frame : 32 - 9 * frame] = 1
    high[2], low[2] = high[2] * 0, low[2] * 0
    pieces = parts_of(high + low)
    assert any(torch.equal(piece, high) for piece in pieces) and any(torch.equal(piece, low) for piece in pieces)


def test_what_is_not_followed_keeps_its_room():
    mask = torch.zeros(3, SIDE, SIDE)
    mask[:, 2::8, 2::8] = mask[:, 2::8, 3::8] = mask[:, 3::8, 2::8] = 1
    assert len(parts_of(mask)) == FOLLOWED
    assert torch.equal(steadied(mask, latent_of(mask)), mask)


@pytest.mark.parametrize("grain", [0.05, 0.2])
def test_a_thing_that_grows_is_found_and_one_that_does_not_keeps_its_size(grain):
    sizes = [1 + 0.08 * index for index in range(FRAMES)]
    growing = torch.stack([bar(15, 15, 0, 5 * size, 3 * size) for size in sizes])
    found = thing_motion(latent_of(growing, grain), room(growing)).poses
    for size, pose in zip(sizes, found):
        end = torch.tensor([15 + 4 * size, 15, 1]).double()
        assert (pose @ end)[:2].tolist() == pytest.approx([19, 15], abs=0.3)
    steady = thing_motion(latent_of(moving(), grain), room(moving())).poses
    assert torch.linalg.det(steady).log().abs().max() < 1e-4


def test_frames_agree_on_the_mean_of_what_they_have_of_a_thing():
    covered = moving()
    mask = room(covered)
    grain = 0.5 * torch.randn(FRAMES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    drawn = covered[:, None].expand_as(grain)
    clip = drawn + grain
    result = agreed(clip, parts(latent_of(covered), mask))
    inside = (mask[:, None] > 0).expand_as(clip)
    assert torch.equal(result[~inside], clip[~inside])
    assert (result - drawn)[inside].std() < 0.45 * (clip - drawn)[inside].std()


def test_a_frame_agrees_with_those_within_reach_alone():
    still = moving(0, (16, 16), (0, 0))[:1].expand(2 * REACH + 2, -1, -1)
    ways = parts(latent_of(still), room(still))
    clip = torch.zeros(len(still), 4, SIDE, SIDE)
    clip[-1] = 1
    middle = agreed(clip, ways)[:, 0, 16, 16]
    assert middle[: REACH + 1].abs().max() < 1e-4
    assert middle[REACH + 1 : REACH + 2] == pytest.approx(1 / (2 * REACH + 1), abs=1e-3)
    assert middle[-1] == pytest.approx(1 / (REACH + 1), abs=1e-3)


def test_of_a_thing_that_leaves_the_picture_nothing_is_taken_from_beyond_its_edge():
    covered = moving(0, (3, 16), (-1, 0))
    ways = parts(latent_of(covered), room(covered))
    columns = torch.arange(SIDE).float().expand(FRAMES, 4, SIDE, SIDE)  # shows where in a frame it was taken
    result = mean_over_frames(columns, ways[0])[0, 0, 16]
    assert result[7].item() == pytest.approx(5, abs=0.3)  # in its place are 7, 6, 5, 4 and 3
    assert result[1].item() == pytest.approx(0.5, abs=0.2)  # 1 and 0, then it is out of sight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(dtype):
    covered = moving()
    ways = parts(latent_of(covered), room(covered))
    clip = torch.randn(FRAMES, 4, SIDE, SIDE)
    result = agreed(clip.to(dtype), ways)
    assert result.dtype == dtype
    assert torch.allclose(result.float(), agreed(clip, ways), atol=0.05)


def test_a_latent_that_overflowed_does_not_end_the_edit():
    covered = moving()
    latent = latent_of(covered)
    latent[2] = torch.nan
    assert torch.isfinite(thing_motion(latent, room(covered)).poses).all()


def edit_with(mask, agree_until: float):
    """An edit of a small random model in a mask, whose latents outside stay the clip's."""
    model, edit = small_model(), prompt_edit()
    clip = clip_latent(frames=3)
    clip[:, :, 5:9, 6:11] += torch.tensor([20.0, -20.0, 10.0, 5.0]).view(4, 1, 1)  # a thing
    source = inverted(model, edit, clip)
    settings = BlendSettings(
        mask_from=INPUT_MASK, mask=mask, latent_window=Window(0, 1), agree_until=agree_until, whole_cells=True
    )
    return edited(model, source, edit, settings)


def test_in_an_edit_frames_agree_inside_the_mask_and_nothing_else_changes():
    mask = torch.zeros(3, 16, 16)
    mask[:, 4:10, 5:12] = 1
    alone, together = edit_with(mask, 0.0), edit_with(mask, 1.0)
    inside = mask.bool()[:, None].expand_as(alone)
    assert torch.allclose(alone[~inside], together[~inside], atol=1e-4)
    assert not torch.allclose(alone[inside], together[inside], atol=1e-2)


def test_a_mask_for_all_frames_alike_is_one_of_each():
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:10, 5:12] = 1
    assert torch.equal(edit_with(mask, 1.0), edit_with(mask.expand(3, -1, -1), 1.0))


def pattern(shift: float, grain: float = 0.02) -> torch.Tensor:
    """A frame of a ground with a pattern, moved to the right by some cells, [4, SIDE, SIDE]."""
    rows, columns = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")
    waves = torch.sin((columns - shift) / 2) + torch.sin((columns - shift) / 3.1 + rows / 2)
    noise = torch.randn(4, SIDE, SIDE, generator=torch.Generator().manual_seed(int(100 * shift)))
    return waves * torch.tensor([1.0, -0.5, 0.3, 0.1]).view(4, 1, 1) + grain * noise


def test_a_ground_s_motion_is_found_behind_a_thing_that_goes_another_way():
    thing = room(moving(0, (24, 16), (-1.5, 0)))
    latent = torch.stack([pattern(0.4 * index) for index in range(FRAMES)])
    latent = torch.where(thing[:, None] > 0, torch.full_like(latent, 3), latent)
    motion = ground_motion(latent, 1 - thing)
    assert motion.runs == [0] * FRAMES
    middle = torch.tensor([12 + 0.4 * (FRAMES - 1), 12, 1]).double()
    assert (motion.poses[-1] @ middle)[:2].tolist() == pytest.approx([12, 12], abs=0.15)


def test_a_ground_without_a_pattern_stands_still():
    latent = torch.randn(FRAMES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for mask in (torch.ones(FRAMES, SIDE, SIDE), torch.zeros(FRAMES, SIDE, SIDE)):
        motion = ground_motion(latent, mask)
        assert motion.runs == [0] * FRAMES
        assert torch.allclose(motion.poses, torch.eye(3).double().expand(FRAMES, 3, 3), atol=1e-6)


def test_a_ground_agrees_as_one_part():
    mask = torch.zeros(2, SIDE, SIDE)
    mask[:, :10], mask[:, 20:] = 1, 1
    assert len(parts(latent_of(mask), mask, is_ground=True)) == 1
    assert len(parts(latent_of(mask), mask)) == 2


def test_the_ground_around_a_thing_is_followed_though_another_thing_of_stronger_colours_goes_by():
    thing, other = moving(0, (6, 14), (2, 0), length=3, width=3), moving(0, (26, 19), (-2, 0), length=3, width=3)
    latent = torch.stack([pattern(0.3 * index) for index in range(FRAMES)])
    colors = torch.tensor([10.0, 8.0, -9.0, 7.0]).view(4, 1, 1)
    latent = torch.lerp(torch.lerp(latent, -colors, thing[:, None]), colors, other[:, None])
    motion, _ = surrounding_motion(latent, room(thing), torch.zeros_like(thing))
    for index, pose in enumerate(motion.poses):
        middle = torch.tensor([6 + 2 * index, 14, 1]).double()
        assert (pose @ middle)[:2].tolist() == pytest.approx([6 + 1.7 * index, 14], abs=0.15)


def smaller_thing_before_a_pattern() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A clip in which a small thing goes on in the room of a large one, before a ground that goes the other way; how
    much it covers of each cell; and the large one."""
    old = moving(0, (8, 16), (1.5, 0), length=6, width=6)
    new = moving(0, (8, 16), (1.5, 0), length=3, width=2)
    ground = torch.stack([pattern(-0.2 * index, grain=0) for index in range(FRAMES)])
    return torch.lerp(ground, torch.full_like(ground, 3), new[:, None]), new, old


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_a_new_thing_leaves_free_of_its_room_goes_with_the_ground(dtype):
    drawn, new, old = smaller_thing_before_a_pattern()
    latent = torch.stack([pattern(-0.2 * index) for index in range(FRAMES)])
    latent = torch.lerp(latent, torch.full_like(latent, -4), old[:, None])
    grain = 0.2 * torch.randn(drawn.shape, generator=torch.Generator().manual_seed(1))
    (part,) = parts(latent, room(old))
    clip = drawn + grain
    off = agreed(clip.to(dtype), [part]).float() - drawn
    alone = agreed(clip, [part._replace(ground=None)]) - drawn
    thing = (new > 0.9)[:, None].expand_as(drawn)
    around = torch.nn.functional.max_pool2d(new, 5, 1, 2)  # what is next to the thing goes with it
    free = ((part.mask > 0) & (around < 0.02))[:, None].expand_as(drawn)
    assert alone[free].std() > 2 * grain.std()  # the pattern, blurred along the thing's way
    assert off[free].std() < 0.5 * alone[free].std()
    assert off[thing].std() < 0.6 * grain.std()


def test_a_ground_that_looks_otherwise_in_the_frames_around_is_not_taken_from_them():
    """As after a cut, or where the motion was found wrong: then the room agrees along the thing's way, as a whole."""
    drawn, _, old = smaller_thing_before_a_pattern()
    noise = torch.randn(drawn.shape, generator=torch.Generator().manual_seed(0))
    (part,) = parts(torch.lerp(noise, torch.full_like(noise, -4), old[:, None]), room(old))
    assert part.ground.fits.sum() == part.ground.fits[REACH].sum() == FRAMES
    assert torch.allclose(agreed(drawn, [part]), agreed(drawn, [part._replace(ground=None)]), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_prediction_of_one_value_stays_as_it_is(value):
    covered = moving()
    clip = torch.full((FRAMES, 4, SIDE, SIDE), value)
    assert torch.allclose(agreed(clip, parts(latent_of(covered), room(covered))), clip)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_broken_outside_the_mask_stays_there(broken):
    covered = moving(0, (10, 12), (0, 0))
    ways = parts(latent_of(covered), room(covered))
    clip = torch.randn(FRAMES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    clip[2, :, 30, 30] = broken
    result = agreed(clip, ways)
    assert (~torch.isfinite(result)).sum() == 4 and torch.isfinite(result[:, :, :28, :28]).all()


def test_of_another_thing_s_room_no_ground_is_taken():
    still = torch.zeros(3, SIDE, SIDE)
    here, there = still.clone(), still.clone()
    here[:, 10:20, 5:15] = 1
    there[:, 10:20, 15:25] = 1
    clip = torch.randn(3, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    ways, seen = ways_between_frames(ground_motion(clip, 1 - here), SIDE, SIDE)
    ground, known = ground_behind(clip, 0 * still[:, None], still, Ground(ways, seen, there))
    assert torch.equal(known[:, 0], there == 0)
    assert torch.equal(ground[~known.expand_as(clip)], clip[~known.expand_as(clip)])


def test_presets_that_draw_something_new_have_it_and_the_papers_do_not():
    having = {name for name, preset in PRESETS.items() if preset.agree_until}
    assert having == {"replace", "shape", "new background", "remove"}


def test_what_moves_by_itself_is_not_blurred():
    """A limb that is there in every other frame stays so, while the body agrees."""
    body = moving(0, (12, 16), (0, 0), length=6, width=5)
    limb = bar(20.5, 16, 0, length=2, width=2)
    covered = body.clone()
    covered[::2] = torch.maximum(covered[::2], limb)
    mask = torch.ones(FRAMES, SIDE, SIDE)
    mask[:, :6], mask[:, 26:], mask[:, :, :3], mask[:, :, 26:] = 0, 0, 0, 0
    grain = 0.3 * torch.randn(FRAMES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    result = agreed(covered[:, None] + grain, parts(latent_of(covered), mask))
    with_limb, without = result[::2, :, 15:18, 20:22].mean(), result[1::2, :, 15:18, 20:22].mean()
    assert with_limb > 0.8 and without < 0.2
    assert (result - covered[:, None])[:, :, 13:19, 8:16].std() < 0.15


def test_a_room_is_what_most_frames_have_along_the_thing_s_way():
    covered = moving()
    wide = room(covered)
    trembling = wide.clone()
    trembling[3, :, 22:] = 0  # cut in one frame
    trembling[5, 4:20, 10:23] = 1  # too large in another
    steady = steadied(trembling, latent_of(covered))
    same = (steady == wide).float().mean(dim=(1, 2))
    assert (same > 0.98).all()
    assert (trembling == wide).float().mean(dim=(1, 2)).min() < 0.96
    assert torch.equal(steadied(wide[:1], latent_of(covered[:1])), wide[:1])


def test_a_limb_that_few_frames_show_stays_in_their_room():
    """Else it would stay in the picture beside what comes in its place."""
    body = moving(0, (12, 16), (0, 0), length=6, width=5)
    limb = bar(20.5, 16, 0, length=2, width=2)
    covered = body.clone()
    covered[3] = torch.maximum(covered[3], limb)
    steady = steadied(room(covered), latent_of(covered))
    assert (steady[3] >= (covered[3] > 0.6).float()).all()
    assert not steady[0][14:18, 21:23].any()
