"""Removing a thing: in its place self-attention sees the ground alone, and frames agree along the ground's way."""

from dataclasses import replace

import pytest
import torch

from edit_cases import clip_latent, edited, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.automatic import automatic_preset
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import CACHE, INPUT_MASK, WORDS, BlendSettings
from fatezero_pack.fatezero.edit.unet import chunk_fusion
from fatezero_pack.fatezero.edit.unet import outline_mask as outline_file
from fatezero_pack.fatezero.edit.unet.agreement import agreed, parts_with_ways
from fatezero_pack.fatezero.edit.unet.ground_keys import GroundKeys, away_from, ground_keys
from fatezero_pack.fatezero.edit.unet.ground_layer import Ground, uncovered
from fatezero_pack.fatezero.edit.unet.ways import REACH
from fatezero_pack.fatezero.network.frame_chunks import ActiveChunk, plan_chunks
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from golden_unet import relative

EDIT = prompt_edit("a jeep and a red cow on a road", "a red cow on a road")
FRAMES = 3
MASK = torch.zeros(FRAMES, 128, 128)
for frame in range(FRAMES):
    MASK[frame, 40:88, 24 + 16 * frame : 72 + 16 * frame] = 1
REMOVE = replace(PRESETS["remove"], mask_from=INPUT_MASK, mask=MASK)
INSIDE = MASK[:, ::8, ::8] > 0
KEY_FRAMES = Inflation(("current", "middle"))


@pytest.fixture(scope="module")
def source():
    return inverted(inflate(small_model(), KEY_FRAMES), EDIT, clip_latent(FRAMES), steps=4)


def test_only_the_mask_changes_and_what_it_sees_counts(source):
    model = inflate(small_model(), KEY_FRAMES)
    removed, usual = (edited(model, source, EDIT, replace(REMOVE, mask_uncovers=on)) for on in (True, False))
    outside = ~INSIDE[:, None].expand_as(removed)
    assert relative(removed[~outside], usual[~outside]) > 1e-2
    assert relative(model.model.process_latent_in(removed)[outside], source.trajectory[0][outside]) < 1e-3


@pytest.mark.parametrize("key_frames", [("current", "middle"), ("middle",), ("-1", "first")])
def test_chunks_and_a_cache_are_one_run(key_frames):
    model = inflate(small_model(), Inflation(key_frames))
    source = inverted(model, EDIT, clip_latent(FRAMES), steps=3)
    whole = edited(model, source, EDIT, REMOVE)
    assert relative(edited(sampled_in_chunks(model, 1), source, EDIT, REMOVE), whole) < 1e-4
    kept = replace(REMOVE, source_attention=CACHE)
    for _ in range(2):
        assert relative(edited(model, source, EDIT, kept), whole) < 1e-4


def test_a_model_that_is_not_inflated_and_prompts_without_things_that_stay():
    edit = prompt_edit("a jeep on a road", "on a road")
    source = inverted(small_model(), edit, clip_latent(FRAMES), steps=3)
    assert torch.isfinite(edited(small_model(), source, edit, REMOVE)).all()
    assert torch.isfinite(edited(small_model(), source, edit, PRESETS["remove"])).all()
    assert ground_keys(source, edit, PRESETS["style"], None) is None
    assert ground_keys(source, edit, replace(PRESETS["remove"], mask_from=WORDS), None) is None  # known too late


def test_saved_workflows_with_a_mask_of_words_keep_what_they_had(source):
    """The preset as it was: a mask of words, and none of what came later."""
    model, now = inflate(small_model(), KEY_FRAMES), replace(PRESETS["remove"], mask_from=WORDS)
    before = replace(now, mask_uncovers=False, agree_until=0.0, edge_margin=0)
    assert torch.equal(edited(model, source, EDIT, now), edited(model, source, EDIT, before))


def test_keys_of_things_are_those_of_the_nearest_ground():
    """Of the frame that a key is from, also in chunks and in smaller layers."""
    things = torch.zeros(3, 4, 4)
    things[0, :, :2], things[1, :, 2:] = 1, 1
    keys = GroundKeys(things, things, KEY_FRAMES)
    own = torch.arange(16.0).view(4, 4)
    left, right = own.clone(), own.clone()
    left[:, :2], right[:, 2:] = own[:, 2:3], own[:, 1:2]
    expected = [torch.cat([frame.flatten(), right.flatten()]) for frame in (left, right, own)]
    values = own.flatten().repeat(3, 2)[..., None]
    whole = ActiveChunk(plan_chunks(KEY_FRAMES.key_frames, 3, 3, 1).chunks, 0, 3, {})
    (seen,) = keys.of([values], (4, 4), whole, 320, {"block": ("middle", 0), "block_index": 0})
    assert torch.equal(seen[..., 0], torch.stack(expected))
    plan = plan_chunks(KEY_FRAMES.key_frames, 3, 1, 1)
    for index, chunk in enumerate(plan.chunks):
        part = ActiveChunk(plan.chunks, index, 3, {})
        (seen,) = keys.of([values[: len(chunk.frames)]], (4, 4), part, 320, {"block": ("middle", 0), "block_index": 0})
        assert torch.equal(seen[..., 0], torch.stack([expected[frame] for frame in chunk.frames]))
    small = keys.cells((2, 2), whole.chunk, False, torch.device("cpu"))
    assert small.tolist() == [[1, 1, 3, 3], [0, 0, 2, 2], [0, 1, 2, 3]]


def test_key_frames_that_others_stand_for_are_seen_without_things():
    """Of all frames as key frames some stand for all, where a clip goes in chunks."""
    things = torch.zeros(3, 1, 2)
    for frame, side in enumerate((0, 1, 0)):
        things[frame, 0, side] = 1
    plan = plan_chunks(("all",), 3, 1, 1)
    assert plan.approximation
    for index, chunk in enumerate(plan.chunks):
        active, f = ActiveChunk(plan.chunks, index, 3, {}), chunk.keys.shape[1]
        values = torch.tensor([0.0, 1.0]).repeat(len(chunk.frames), f)[..., None]
        extra = {"block": ("middle", 0), "block_index": 0}
        (seen,) = GroundKeys(things, things, Inflation(("all",))).of([values], (1, 2), active, 320, extra)
        ground = torch.tensor([1.0, 0.0, 1.0])[torch.tensor(chunk.pool)[chunk.keys]]
        assert torch.equal(seen[..., 0], ground.repeat_interleave(2, dim=1))


def test_what_stays_is_not_in_the_mask(source, monkeypatch):
    """Also where the words take both for one thing."""
    settings = replace(PRESETS["remove"], edge_margin=0)
    usual = outline_file.outline_mask(source, EDIT, settings)
    stays = usual.clone()
    stays[:, ::2] = 0
    monkeypatch.setattr(outline_file, "what_stays", lambda *_: stays)
    alone = outline_file.outline_mask(source, EDIT, settings)
    assert stays.any() and torch.equal(alone, usual - stays)


def test_another_nodes_keys_stay():
    keys = GroundKeys(torch.ones(2, 4, 4), torch.ones(2, 4, 4), None)
    whole = ActiveChunk(plan_chunks(("current",), 2, 2, 1).chunks, 0, 2, {})
    values = torch.randn(2, 20, 3)
    extra = {"block": ("middle", 0), "block_index": 0}
    assert torch.equal(keys.of([values], (4, 4), whole, 320, extra)[0], values)


def test_a_thing_that_touches_the_place_may_go_on_there():
    things = torch.zeros(2, 4, 6)
    things[:, :2, :2] = things[:, 1:3, 4:] = 1
    room = torch.zeros(2, 4, 6)
    room[0, 1:, 1:3] = 1
    away = away_from(things, room)
    assert away[0].nonzero().tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]
    assert torch.equal(away[1], things[1])


def test_ground_that_another_frame_shows_is_taken():
    """A still ground: where one of the frames shows it, that counts, and not what was drawn."""
    ground = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).expand(FRAMES, -1, -1, -1)
    room = torch.zeros(FRAMES, 8, 8)
    for frame in range(FRAMES):
        room[frame, 2:5, 1 + 2 * frame : 4 + 2 * frame] = 1
    drawn = torch.where(room[:, None] > 0, 5.0, ground)
    ways = torch.eye(2, 3).repeat(2 * REACH + 1, FRAMES, 1, 1)
    fits = torch.zeros(2 * REACH + 1, FRAMES)
    for frame in range(FRAMES):
        for other in range(FRAMES):
            fits[REACH + other - frame, frame] = 1
    found = uncovered(drawn, room, Ground(ways, fits, torch.zeros_like(room)))
    shown = (room > 0) & ((room > 0).sum(dim=0) < FRAMES)
    off, before = ((clip - ground).movedim(1, -1)[shown].abs().mean() for clip in (found, drawn))
    assert shown.any() and off < 0.2 * before
    passes = torch.zeros_like(room)
    passes[:, 2:4] = 1  # something that stays is there: what is behind it nobody knows
    found = uncovered(drawn, room, Ground(ways, fits, passes))
    assert torch.equal(found[:, :, 2:4], drawn[:, :, 2:4]) and not torch.equal(found[:, :, 4], drawn[:, :, 4])


def test_the_parts_of_a_mask_that_uncovers_go():
    settings = BlendSettings(mask_from=INPUT_MASK, mask=MASK, mask_uncovers=True)
    parts = parts_with_ways(clip_latent(FRAMES), settings, torch.device("cpu"))
    assert parts and all(part.goes for part in parts)
    assert agreed(clip_latent(FRAMES), parts).isfinite().all()


def test_automatic_takes_it_away():
    assert automatic_preset(EDIT, has_mask=False) == "remove"


def with_more_keys(query, key, value, extra):
    return query, torch.cat([key, key[:, :3]], dim=1), torch.cat([value, value[:, :3]], dim=1)


def test_what_it_sees_stays_the_edits_beside_a_node_that_adds_keys(monkeypatch):
    """The source's keys are written over the layer's before the ground's are read."""
    model = small_model()
    model.set_model_attn1_patch(with_more_keys)
    source = inverted(model, EDIT, clip_latent(FRAMES), steps=3)
    written_over = edited(model, source, EDIT, REMOVE)
    together = chunk_fusion.attended_together
    monkeypatch.setattr(chunk_fusion, "attended_together", lambda *parts, in_place: together(*parts, in_place=False))
    assert relative(written_over, edited(model, source, EDIT, REMOVE)) < 1e-5
