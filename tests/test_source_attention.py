"""Replay and cache give the same picture; the cache saves the source's rows, and gives way where it cannot work."""

import gc
import shutil
import weakref
from dataclasses import replace

import comfy.model_management
import pytest
import torch

from edit_cases import (
    SMALL_UNET,
    CallCounter,
    clip_latent,
    conditioning,
    edited,
    inverted,
    prompt_edit,
    random_controlnet,
    sampled,
    small_model,
)
from fatezero_pack.fatezero.edit.settings import (
    AUTO_CACHE,
    CACHE,
    FAST_RECONSTRUCTION,
    RECONSTRUCTION,
    REPLAY,
    WORDS,
    BlendSettings,
)
from fatezero_pack.fatezero.edit.unet import source_attention, source_cache
from fatezero_pack.fatezero.edit.unet.chunk_fusion import ChunkFusion
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.edit.unet.source_attention import plan_source_attention
from fatezero_pack.fatezero.network.attention_layers import SELF
from fatezero_pack.fatezero.network.inspection.model_identity import model_parts
from fatezero_pack.fatezero.network.key_frames import parse_key_frames
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.network.unet.layer_sizes import layer_sizes
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.attention_cache import CacheBytes
from fatezero_pack.fatezero.voice import Voice
from golden_unet import UNET_CONFIG, patcher, randomise, relative, sd15_model

EDIT = prompt_edit()
FRAMES = 5
SETTINGS = BlendSettings(self_window=Window(0, 0.7), cross_window=Window(0, 0.8))
KEPT = replace(SETTINGS, source_attention=CACHE)
PLENTY = CacheBytes(ram=1 << 40, disk=1 << 40)
ONLY_DISK = CacheBytes(disk=1 << 40)

pytestmark = pytest.mark.usefixtures("temp_folder")


@pytest.fixture
def budget(monkeypatch):
    """budget(CacheBytes(...)): what is free for a cache."""

    def free(taken):
        for module in (source_attention, source_cache):
            monkeypatch.setattr(module, "free_budget", lambda *arguments, **options: taken)

    free(PLENTY)
    return free


def rows(model, work) -> int:
    """UNet rows of frames that some work takes."""
    count = []
    handle = model.model.diffusion_model.register_forward_pre_hook(lambda module, inputs: count.append(len(inputs[0])))
    try:
        work()
    finally:
        handle.remove()
    return sum(count)


def check_both(model, settings, edit=EDIT, other_model=None, **options):
    """The edit by replay, by the edit that fills the cache and by the edit that reads it."""
    source = inverted(model, edit, clip_latent(FRAMES), steps=5, **options)
    expected = edited(model, source, edit, replace(settings, source_attention=REPLAY))
    kept = replace(settings, source_attention=CACHE)
    assert relative(edited(model, source, edit, kept), expected) < 1e-5
    held = source.cache.bytes.total
    assert held > 0
    assert relative(edited(other_model or model, source, edit, kept), expected) < 1e-4
    assert source.cache.bytes.total == held
    return source


@pytest.mark.parametrize("entries", ["current, middle", "middle", "-1, first", "current", "all"])
def test_cache_is_replay_for_every_choice_of_key_frames(entries):
    check_both(inflate(small_model(), Inflation(parse_key_frames(entries))), SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("at_once, again", [(2, 2), (2, 3), (5, 1)])
@pytest.mark.parametrize("entries", ["current, middle", "-1, first"])
def test_cache_is_replay_in_chunks_of_any_size(entries, at_once, again):
    model = inflate(small_model(), Inflation(parse_key_frames(entries)))
    check_both(sampled_in_chunks(model, at_once), SETTINGS, other_model=sampled_in_chunks(model, again))


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, finest_until=0.0),
        replace(SETTINGS, finest_until=0.5),
        replace(SETTINGS, self_window=Window(0, 0)),
        replace(SETTINGS, cross_window=Window(0.4, 0.6)),
        replace(SETTINGS, mask_from=WORDS, latent_window=Window(0.2, 1)),
        replace(SETTINGS, mask_from=WORDS, threshold=0.5),
    ],
)
def test_cache_is_replay_for_other_settings(settings):
    check_both(inflate(small_model(), Inflation(("current", "middle"), minimum_width=64)), settings)


def test_cache_is_replay_without_inflation_and_with_a_controlnet_on_the_source():
    controlled = conditioning(EDIT.source, control=random_controlnet(1.0), control_apply_to_uncond=True)
    check_both(small_model(), SETTINGS, conditioning=controlled)


def test_wider_windows_add_what_is_missing():
    model = small_model()
    source = check_both(model, SETTINGS)
    wide = replace(KEPT, self_window=Window(0, 1), cross_window=Window(0, 1))
    held = source.cache.bytes.total
    expected = edited(model, source, EDIT, replace(wide, source_attention=REPLAY))
    assert relative(edited(model, source, EDIT, wide), expected) < 1e-4
    assert source.cache.bytes.total > held
    assert relative(edited(model, source, EDIT, wide), expected) < 1e-4


def test_the_cache_saves_the_sources_rows():
    model = small_model()
    source = inverted(model, EDIT, clip_latent(FRAMES), steps=5)
    counts = [rows(model, lambda: edited(model, source, EDIT, KEPT)) for _ in range(2)]
    assert counts == [FRAMES * (2 * 5 + 4), FRAMES * 2 * 5]  # four of five steps are fused


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m"])
def test_cache_is_replay_under_other_samplers(sampler, budget):
    model = small_model()
    source = inverted(model, EDIT, clip_latent(2), steps=5)
    expected = sampled(blend_attention(model, source, EDIT, SETTINGS), source, EDIT, sampler)
    for _ in range(2):
        assert relative(sampled(blend_attention(model, source, EDIT, KEPT), source, EDIT, sampler), expected) < 1e-4


# Where the cache gives way.


def damaged(folder):
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda folder: shutil.rmtree(folder / next(folder.iterdir()).name), damaged])
def test_files_lost_between_two_edits(damage, budget, temp_folder):
    budget(ONLY_DISK)
    model = sampled_in_chunks(inflate(small_model(), Inflation(("current", "middle"))), 2)
    source = check_both(model, SETTINGS)
    expected = edited(model, source, EDIT, SETTINGS)
    damage(temp_folder)
    assert relative(edited(model, source, EDIT, KEPT), expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("entries", ["current, middle", "-1, first"])
def test_a_file_lost_in_the_middle_of_a_step(entries, budget, temp_folder):
    """The chunk that lost its file is replayed, and so is what the cached chunks before it did not carry along."""
    budget(ONLY_DISK)
    model = sampled_in_chunks(inflate(small_model(), Inflation(parse_key_frames(entries))), 2)
    source = check_both(model, SETTINGS)
    expected = edited(model, source, EDIT, SETTINGS)
    calls = []

    def lose(hidden, extra):
        if extra["block"] == ("output", 1):
            calls.append(1)
            if len(calls) == 2:
                damaged(temp_folder)
        return hidden

    losing = model.clone()
    losing.set_model_attn2_output_patch(lose)
    source.cache.made_with = model_parts(losing)  # this test's patch changes nothing
    assert relative(edited(losing, source, EDIT, KEPT), expected) < 1e-4
    assert len(calls) > 2


def test_disk_full(budget, temp_folder, monkeypatch):
    budget(ONLY_DISK)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 0))
    model = small_model()
    source = inverted(model, EDIT, clip_latent(2), steps=3)
    expected = edited(model, source, EDIT, SETTINGS)
    for _ in range(2):
        assert relative(edited(model, source, EDIT, KEPT), expected) < 1e-5
    assert source.cache.bytes.total == 0 and not list(temp_folder.rglob("*.safetensors"))


def test_cancelled_while_the_cache_fills(budget, temp_folder):
    budget(ONLY_DISK)
    model = small_model()
    source = inverted(model, EDIT, clip_latent(2), steps=5)
    expected = edited(model, source, EDIT, SETTINGS)
    calls = []

    def cancel(executor, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise comfy.model_management.InterruptProcessingException
        return executor(*arguments)

    stopping = model.clone()
    stopping.add_wrapper_with_key("calc_cond_batch", "test", cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        edited(stopping, source, EDIT, KEPT)
    held = source.cache.bytes.total
    assert held > 0
    assert relative(edited(model, source, EDIT, KEPT), expected) < 1e-5
    assert source.cache.bytes.total > held


def test_another_nodes_patch_between_two_edits_empties_the_cache():
    model = small_model()
    source = check_both(model, SETTINGS)
    patched = model.clone()
    patched.set_model_output_block_patch(lambda hidden, skip, options: (hidden * 1.1, skip))
    expected = edited(patched, source, EDIT, SETTINGS)
    assert relative(edited(patched, source, EDIT, KEPT), expected) < 1e-5
    assert relative(edited(patched, source, EDIT, KEPT), expected) < 1e-4


@pytest.mark.parametrize(
    "name, spoil, words",
    [
        ("reconstruction", lambda model: model, "'attention from' is reconstruction"),
        ("attn2_patch", lambda model: model.set_model_attn2_patch(lambda q, k, v, extra: (q, k, v)), "another node"),
        ("attn1_patch", lambda model: model.set_model_attn1_patch(lambda q, k, v, extra: (q, k, v)), "another node"),
    ],
)
def test_what_cannot_be_cached(name, spoil, words):
    model = small_model()
    source = inverted(model, EDIT, steps=3)
    spoil(model)
    settings = replace(KEPT, attention_from=RECONSTRUCTION if name == "reconstruction" else "inversion")
    message = f"'keep attention' is cache, but {words}.*replay"
    with CallCounter(model) as counter, pytest.raises(ValueError, match=message):
        edited(model, source, EDIT, settings)
    assert counter.calls == 0
    edited(model, source, EDIT, replace(settings, source_attention=AUTO_CACHE))
    assert source.cache.bytes.total == 0


def test_too_large_a_cache_is_refused_before_the_first_step(budget):
    budget(CacheBytes(ram=10**6, disk=10**5))
    model = small_model()
    source = inverted(model, EDIT, steps=3)
    with CallCounter(model) as counter, pytest.raises(ValueError, match="needs .* MB and can have 1.0 MB RAM.*replay"):
        edited(model, source, EDIT, KEPT)
    assert counter.calls == 0


def refuse_to_copy(chunk, layer, values, extra):
    assert chunk.recorded is None, "copied, where nothing can be kept"


def test_auto_keeps_only_what_is_no_burden(budget, monkeypatch):
    model = small_model()
    source = inverted(model, EDIT, steps=3)
    automatic = replace(SETTINGS, source_attention=AUTO_CACHE)
    needed = source_attention.plan_source_attention(model, source, EDIT, automatic)
    assert str(needed).startswith(
        "Time: up to 50% more than plain sampling, for the clip's attention, this time.\nKept for the next edit: "
    )
    budget(CacheBytes(ram=2 * 10**6, disk=1 << 40))
    assert "Time: up to 50% more than plain sampling, for the clip's attention." == str(
        plan_source_attention(model, source, EDIT, automatic)
    )
    with monkeypatch.context() as patch:
        patch.setattr(ChunkFusion, "record", refuse_to_copy)
        voice = Voice()
        sampled(blend_attention(model, source, EDIT, automatic, voice), source, EDIT)
    assert source.cache.bytes.total == 0 and "Kept" not in voice.text
    budget(PLENTY)
    edited(model, source, EDIT, automatic)
    assert source.cache.bytes.ram > 0 and source.cache.bytes.disk == 0
    assert "Time: as plain sampling; the clip's attention is kept from an earlier edit." == str(
        plan_source_attention(model, source, EDIT, automatic)
    )


@pytest.mark.parametrize(
    "attention_from, percent", [("inversion", 33), (RECONSTRUCTION, 100), (FAST_RECONSTRUCTION, 50)]
)
def test_the_plan_knows_the_rows(attention_from, percent):
    """Two rows beside each guided row and its negative are twice the time; a window of two steps of three a third."""
    model = small_model()
    source = inverted(model, EDIT, steps=3)
    settings = BlendSettings(Window(0, 0.7), Window(0, 0.5), latent_window=Window(0, 1), attention_from=attention_from)
    text = f"Time: up to {percent}% more than plain sampling, for the clip's attention."
    assert str(plan_source_attention(model, source, EDIT, settings)) == text


def test_the_plan_knows_the_bytes():
    model = small_model()
    source = inverted(model, EDIT, steps=3)
    text = str(plan_source_attention(model, source, EDIT, KEPT))
    edited(model, source, EDIT, KEPT)
    assert f"Kept for the next edit: {source.cache.bytes.total / 1e6:.1f} MB RAM" in text


def test_the_plan_knows_which_layers_see_key_frames_and_how_long_prompts_are():
    """Keys of all frames only where layers are as wide as 'minimum width', and those of each of the prompt's tokens."""

    def keys(minimum_width: int, edit) -> int:
        inflated = inflate(model, Inflation(("all",), minimum_width))
        source = inverted(inflated, edit, clip_latent(4), steps=1)
        plan = plan_source_attention(inflated, source, edit, SETTINGS)
        return plan.demand.read_bytes - 4 * 2 * sum(tokens * width for _, tokens, width in fused)  # without queries

    model = small_model()
    fused = [layer for layer in layer_sizes(model.model.diffusion_model, 16, 16) if layer[0].kind == SELF]
    of_text = 4 * 77 * sum(width for *_, width in fused)
    expected = {least: sum(4 * t * w * (4 if w >= least else 1) for _, t, w in fused) for least in (0, 64, 1000)}
    assert {least: keys(least, EDIT) - of_text for least in expected} == expected
    words = "a silver jeep on a road " * 20
    long_edit = prompt_edit(words, words.replace("silver", "red"))
    assert keys(0, long_edit) - keys(0, EDIT) == of_text * (long_edit.source.length // 77 - 1) > 0


def test_clips_of_one_session_do_not_add_up(budget, temp_folder):
    budget(ONLY_DISK)
    model = small_model()
    watched = []
    for seed in range(3):
        source = inverted(model, EDIT, clip_latent(2, seed=seed), steps=3)
        edited(model, source, EDIT, KEPT)
        assert len(list(temp_folder.glob("fatezero_cache_*"))) == 1
        watched.append(weakref.ref(source))
        del source
        gc.collect()
        assert not list(temp_folder.glob("fatezero_cache_*"))
    assert not any(reference() for reference in watched)


def test_comfyui_sees_the_size_of_a_source_run():
    """ComfyUI's RAM cache adds up the CPU tensors in lists; see `ram_release` in comfy_execution/caching.py."""

    def seen(outputs):
        return sum(
            seen(output) if isinstance(output, (list, tuple)) else output.nbytes
            for output in outputs
            if isinstance(output, (list, tuple, torch.Tensor))
        )

    model = small_model()
    source = inverted(model, EDIT, steps=3)
    before = seen([[source]])
    assert before == source.trajectory.nbytes + source.word_maps.nbytes
    edited(model, source, EDIT, KEPT)
    assert seen([[source]]) == before + source.cache.bytes.ram


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_chunks_and_cache_in_half_precision(dtype):
    """They differ from the whole clip's replay by less than half precision itself does from float32."""

    def model(dtype):
        network = patcher(sd15_model({**UNET_CONFIG, **SMALL_UNET}, dtype=dtype))
        randomise(network.model.diffusion_model)
        network.model.diffusion_model.to(dtype)
        return inflate(network, Inflation(("current", "middle")))

    whole, latent = model(dtype), clip_latent(FRAMES)
    chunked = sampled_in_chunks(whole, 2)
    source, exact_source = (inverted(network, EDIT, latent, steps=5) for network in (whole, model(torch.float32)))
    cost = relative(source.trajectory, exact_source.trajectory)
    assert 0 < cost < 0.05
    assert relative(inverted(chunked, EDIT, latent, steps=5).trajectory, source.trajectory) <= cost
    expected = edited(whole, source, EDIT, SETTINGS)
    cost = relative(expected, edited(model(torch.float32), exact_source, EDIT, SETTINGS))
    assert 0 < cost < 0.1
    for _ in range(2):
        assert relative(edited(chunked, source, EDIT, KEPT), expected) <= cost
    assert {tensor.dtype for tensor in source.cache} == {dtype}
