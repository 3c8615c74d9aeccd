"""A clip in chunks of frames is the clip at once: which frames go together, what they look at, what comes out."""
import comfy.model_management
import pytest
import torch
from edit_cases import (clip_latent, conditioning, edited, inverted, negative, prompt_edit, sampled, small_model)
from fatezero_pack.fatezero.blend_settings import RECONSTRUCTION, WORDS, BlendSettings
from fatezero_pack.fatezero.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.frame_chunks import plan_chunks, spread_frames
from fatezero_pack.fatezero.fusion import Window
from fatezero_pack.fatezero.inflation import Inflation, inflate
from fatezero_pack.fatezero.key_frames import CHOICES, key_frame_indices, parse_key_frames
from golden_unet import relative

FRAMES, LAYERS = 7, 5
EXACT = ["current, middle", "middle", "-1, first", "first", "first, current", "current", "+1, last", "-2, first", "last",
         "-1", "+2", "first, middle, last"]
SETTINGS = BlendSettings(self_window=Window(0, 0.8), cross_window=Window(0, 0.8))


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


def looked_at(plan, frames):
    """For each frame the frames that it finds as keys, following what is carried along."""
    found, along = {}, ()
    for chunk in plan.chunks:
        pool = chunk.frames + along
        for place, frame in enumerate(chunk.frames[:chunk.own]):
            assert frame not in found
            found[frame] = [pool[key] for key in chunk.keys[place]]
        if chunk.carry is not None:
            along = tuple(pool[place] for place in chunk.carry)
    assert sorted(found) == list(range(frames))
    return [found[frame] for frame in range(frames)]


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("frames", [1, 2, 7, 12])
@pytest.mark.parametrize("text", EXACT)
def test_every_frame_finds_its_key_frames(text, frames, at_once):
    entries = parse_key_frames(text)
    plan = plan_chunks(entries, frames, at_once, LAYERS)
    assert plan.approximation is None
    assert looked_at(plan, frames) == key_frame_indices(entries, frames).tolist()
    largest = max(at_once, 3) if text == "first, middle, last" else max(at_once, text.count("middle"), 1)
    assert all(len(chunk.frames) <= largest for chunk in plan.chunks)


def test_chunks_are_of_nearly_equal_length():
    lengths = [len(chunk.frames) for chunk in plan_chunks(("-1", "first"), 17, 8, LAYERS).chunks]
    assert lengths == [5, 6, 6]


@pytest.mark.parametrize("text, sentence", [
    ("all", "at 4 frames spread over the clip, not at all 12"),
    ("-1, +1", "chunks look 2 frames ahead, but 5 would be exact"),
    ("-1, middle", "without its own neighbours")])
def test_what_cannot_be_exact_says_so(text, sentence):
    plan = plan_chunks(parse_key_frames(text), 12, 4, LAYERS)
    assert sentence in plan.approximation
    looked_at(plan, 12)
    assert plan_chunks(parse_key_frames(text), 12, 12, LAYERS).approximation is None


def test_both_neighbours_are_exact_where_the_overlap_reaches_through_all_layers():
    assert plan_chunks(("-1", "+1"), 12, 11, LAYERS).approximation is None


def test_spread_frames():
    assert spread_frames(9, 3) == (0, 4, 8)
    assert spread_frames(9, 3, including=(5,)) == (0, 5, 8)
    assert spread_frames(9, 1, including=(2, 5)) == (2, 5)


def models(entries: str, at_once: int, **inflation):
    """The same inflated model for whole clips and for chunks."""
    inflated = inflate(small_model(), Inflation(parse_key_frames(entries), **inflation))
    return sampled_in_chunks(inflated, 100, "Inflate"), sampled_in_chunks(inflated, at_once, "Inflate")


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("entries", ["current, middle", "middle", "-1, first", "+1, last", "current"])
def test_inversion_and_edit_in_chunks(entries, at_once):
    whole, chunked = models(entries, at_once)
    edit = prompt_edit()
    source = inverted(whole, edit, clip_latent(FRAMES))
    in_chunks = inverted(chunked, edit, clip_latent(FRAMES))
    assert relative(in_chunks.trajectory, source.trajectory) < 1e-5
    assert relative(in_chunks.word_maps, source.word_maps) < 1e-5
    assert relative(edited(chunked, in_chunks, edit, SETTINGS), edited(whole, source, edit, SETTINGS)) < 1e-4


@pytest.mark.parametrize("settings", [
    BlendSettings(mask_from=WORDS, latent_window=Window(0.2, 1)),
    BlendSettings(mask_from=WORDS, latent_window=Window(0.2, 1), attention_from=RECONSTRUCTION)])
def test_masks_latents_and_reconstruction_in_chunks(settings):
    whole, chunked = models("current, middle", 3)
    edit = prompt_edit()
    source = inverted(whole, edit, clip_latent(FRAMES), steps=5)
    assert relative(edited(chunked, source, edit, settings), edited(whole, source, edit, settings)) < 1e-4


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_any_sampler_of_an_inflated_model_in_chunks(sampler):
    whole, chunked = models("current, middle", 2)
    source = inverted(whole, prompt_edit(), clip_latent(FRAMES))
    assert relative(sampled(chunked, source, prompt_edit(), sampler), sampled(whole, source, prompt_edit(), sampler)) < 1e-4
