"""A clip in chunks of frames is the clip at once: which frames go together, what they look at, what comes out."""

import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
import pytest
import torch

from edit_cases import (
    clip_latent,
    conditioning,
    edited,
    free_memory,
    inverted,
    prompt_edit,
    random_controlnet,
    sampled,
    small_model,
)
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import RECONSTRUCTION, WORDS, BlendSettings
from fatezero_pack.fatezero.network.frame_chunks import plan_chunks, spread_frames
from fatezero_pack.fatezero.network.key_frames import key_frame_indices, parse_key_frames
from fatezero_pack.fatezero.network.unet import chunk_size
from fatezero_pack.fatezero.network.unet.chunked_sampling import APPROXIMATELY, ChunkedRun, sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, group_statistics, inflate, normalise_as
from fatezero_pack.fatezero.prompts.window import Window
from golden_unet import relative

FRAMES, LAYERS = 7, 5
EXACT = [
    "current, middle",
    "middle",
    "-1, first",
    "first",
    "first, current",
    "current",
    "+1, last",
    "-2, first",
    "last",
    "-1",
    "+2",
    "first, middle, last",
]
SETTINGS = BlendSettings(self_window=Window(0, 0.8), cross_window=Window(0, 0.8))


def looked_at(plan, frames):
    """For each frame the frames that it finds as keys, following what is carried along."""
    found, along = {}, ()
    for chunk in plan.chunks:
        pool = chunk.frames + along
        assert chunk.pool == pool
        for place, frame in enumerate(chunk.frames[: chunk.own_count]):
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
    once = sum(len(chunk.frames) for chunk in plan.chunks) == frames
    assert once, "no frame goes through the UNet twice in a step, key frames neither"


def test_chunks_are_of_nearly_equal_length():
    lengths = [len(chunk.frames) for chunk in plan_chunks(("-1", "first"), 17, 8, LAYERS).chunks]
    assert lengths == [5, 6, 6]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("all", "at 4 frames spread over the clip, not at all 12"),
        ("-1, +1", "chunks look 2 frames ahead, but 5 would be exact"),
        ("-1, middle", "without its own neighbours"),
    ],
)
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
    return sampled_in_chunks(inflated, 100), sampled_in_chunks(inflated, at_once)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        BlendSettings(mask_from=WORDS, latent_window=Window(0.2, 1)),
        BlendSettings(mask_from=WORDS, latent_window=Window(0.2, 1), attention_from=RECONSTRUCTION),
        PRESETS["shape"],
    ],
)
def test_masks_latents_and_reconstruction_in_chunks(settings):
    whole, chunked = models("current, middle", 3)
    edit = prompt_edit()
    source = inverted(whole, edit, clip_latent(FRAMES), steps=5)
    assert relative(edited(chunked, source, edit, settings), edited(whole, source, edit, settings)) < 1e-4


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_any_sampler_of_an_inflated_model_in_chunks(sampler):
    whole, chunked = models("current, middle", 2)
    source = inverted(whole, prompt_edit(), clip_latent(FRAMES))
    expected = sampled(whole, source, prompt_edit(), sampler)
    assert relative(sampled(chunked, source, prompt_edit(), sampler), expected) < 1e-4


# What belongs to each frame travels with it.


@pytest.mark.slow
def test_embeddings_and_controlnet_pictures_of_each_frame():
    whole, chunked = models("current, middle", 2)
    source = inverted(whole, prompt_edit(), clip_latent(FRAMES))
    positive = conditioning(prompt_edit().target)
    drift = torch.randn(FRAMES, 1, 64, generator=torch.Generator().manual_seed(3))
    pictures = torch.rand(FRAMES, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    inner = random_controlnet(0.5, seed=7).set_cond_hint(pictures.flip(0), 0.5)
    outer = random_controlnet(1.0).set_cond_hint(pictures, 1.0).set_previous_controlnet(inner)
    single = random_controlnet(1.0)
    for control in (outer, single):
        positive = [[positive[0][0][:1] + drift, {**positive[0][1], "control": control}]]
        expected = sampled(whole, source, prompt_edit(), positive=positive)
        assert relative(sampled(chunked, source, prompt_edit(), positive=positive), expected) < 1e-4
    assert outer.cond_hint_original is pictures and outer.previous_controlnet is inner


def test_other_packs_are_told_which_frames_are_in_the_model():
    """`ad_params`, as AnimateDiff tells IPAdapter, Advanced-ControlNet and others."""
    _, chunked = models("middle", 3)
    told = set()

    def look(query, key, value, extra):
        told.add((tuple(extra["ad_params"]["sub_idxs"]), extra["ad_params"]["full_length"]))
        return query, key, value

    chunked.set_model_attn2_patch(look)
    sampled(chunked, inverted(models("middle", 3)[0], prompt_edit(), clip_latent(FRAMES)), prompt_edit())
    assert sorted(frame for frames, _ in told for frame in frames) == list(range(FRAMES))
    assert {length for _, length in told} == {FRAMES}


def test_a_model_with_injected_modules_keeps_its_clip_whole():
    """AnimateDiff's temporal modules need all frames, whatever number was asked for (the run then refuses)."""
    model = small_model()
    model.set_injections("motion", [comfy.model_patcher.PatcherInjection(lambda patcher: None, lambda patcher: None)])
    shape = (400, 4, 64, 64)
    run = ChunkedRun(model)
    assert run.wanted_at_once(shape) == 400
    calls = []

    def full():
        calls.append(1)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.cuda.OutOfMemoryError, match="^CUDA out of memory"):
        run.within_memory(torch.zeros(4, 4, 8, 8), full)
    assert len(calls) == 1
    assert ChunkedRun(sampled_in_chunks(model, 5)).wanted_at_once(shape) == 400
    assert ChunkedRun(small_model()).wanted_at_once(shape) == 8


# Memory.


def chunk_lengths(model, work):
    """How many frames went through the UNet in each of its calls."""
    lengths = []
    handle = model.model.diffusion_model.register_forward_pre_hook(
        lambda module, arguments: lengths.append(len(arguments[0]))
    )
    try:
        work()
    finally:
        handle.remove()
    return lengths


def test_comfyui_makes_room_for_a_chunk_and_not_for_the_clip(monkeypatch):
    _, chunked = models("middle", 3)
    shapes = []
    estimate = comfy.sampler_helpers.estimate_memory

    def record(model, noise_shape, conds):
        shapes.append(list(noise_shape))
        return estimate(model, noise_shape, conds)

    monkeypatch.setattr(comfy.sampler_helpers, "estimate_memory", record)
    source = inverted(chunked, prompt_edit(), clip_latent(FRAMES))
    sampled(chunked, source, prompt_edit())
    assert shapes == [[3, 4, 16, 16]] * 2


def test_the_automatic_chunk_fits_into_free_memory(monkeypatch):
    model = inflate(small_model(), Inflation(("current", "middle")))
    monkeypatch.setattr(chunk_size, "AUTOMATIC_CELLS", 6 * 16 * 16)
    monkeypatch.setattr(
        comfy.model_management,
        "get_free_memory",
        free_memory(2 * 1.5 * model.model.memory_required([1, 4, 16, 16]) + 1),
    )
    assert set(chunk_lengths(model, lambda: inverted(model, prompt_edit(), clip_latent(FRAMES)))) <= {1, 2}


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_out_of_memory_goes_on_with_half_the_frames(error):
    whole, chunked = models("current, middle", 4)
    source = inverted(whole, prompt_edit(), clip_latent(FRAMES))
    settings = BlendSettings(mask_from=WORDS, latent_window=Window(0, 1))
    expected = edited(whole, source, prompt_edit(), settings)
    tried = []

    def full(hidden, extra):
        if extra["block"] == ("output", 1) and len(hidden) // len(extra["uuids"]) > 2:
            tried.append(len(hidden) // len(extra["uuids"]))
            raise error
        return hidden

    chunked.set_model_attn1_output_patch(full)
    again = inverted(chunked, prompt_edit(), clip_latent(FRAMES))
    assert relative(again.trajectory, source.trajectory) < 1e-5 and relative(again.word_maps, source.word_maps) < 1e-5
    assert relative(edited(chunked, source, prompt_edit(), settings), expected) < 1e-4
    assert len(tried) == 2  # once in the inversion and once in the edit: the smaller chunk is remembered


def test_out_of_memory_with_one_frame_says_what_to_do():
    _, chunked = models("current, middle", 4)

    def full(hidden, extra):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    chunked.set_model_attn1_output_patch(full)
    with pytest.raises(
        comfy.model_management.OOM_EXCEPTION, match="^memory ran out with one frame of 128x128 at a time; use a"
    ):
        inverted(chunked, prompt_edit(), clip_latent(FRAMES))


def test_other_errors_are_not_tried_again():
    _, chunked = models("middle", 4)
    calls = []

    def fail(hidden, extra):
        calls.append(1)
        raise RuntimeError("sizes do not match")

    chunked.set_model_attn1_output_patch(fail)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        inverted(chunked, prompt_edit(), clip_latent(FRAMES))
    assert len(calls) == 1


# What is not exact.


def inversion_error(entries: str, at_once: int, frames: int = 12, **inflation) -> float:
    whole, chunked = models(entries, at_once, **inflation)
    latent = clip_latent(frames)
    return relative(
        inverted(chunked, prompt_edit(), latent).trajectory, inverted(whole, prompt_edit(), latent).trajectory
    )


@pytest.mark.parametrize(
    "entries, inflation",
    [("all", {}), ("-1, +1", {}), ("-1, middle", {}), ("current, middle", {"normalise_across_frames": True})],
)
def test_what_is_not_exact_is_near(entries, inflation):
    error = inversion_error(entries, 4, **inflation)
    assert 1e-6 < error < 0.05
    text = ChunkedRun(models(entries, 4, **inflation)[1]).describe((12, 4, 16, 16))
    assert f"{APPROXIMATELY}: " in text
    assert ChunkedRun(models(entries, 12, **inflation)[1]).describe((12, 4, 16, 16)) == "all frames at once"


def test_norms_with_the_clips_own_statistics_are_the_joint_norm():
    """`normalise_as` with statistics of the same frames is the joint group norm itself."""
    norm = torch.nn.GroupNorm(4, 8)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    clip = torch.randn(2, 3, 8, 5, 6) * 2 + 1
    expected = torch.nn.functional.group_norm(clip.transpose(1, 2), 4, norm.weight, norm.bias).transpose(1, 2)
    result = normalise_as(clip.flatten(0, 1), group_statistics(clip, norm), norm, norm.forward)
    assert torch.allclose(result, expected.flatten(0, 1), atol=1e-5)
