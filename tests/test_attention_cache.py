"""The cache of the source's attention: exact, in the places it may use, and gone when it should be."""

import gc
import logging
import os
import shutil
import weakref
from types import SimpleNamespace

import comfy.model_management
import folder_paths
import psutil
import pytest
import torch
from comfy_execution import caching
from execution import CacheEntry
from safetensors import SafetensorError

from edit_cases import clip_latent, small_model
from fatezero_pack.fatezero.network.attention_layers import CROSS, SELF, Layer
from fatezero_pack.fatezero.network.unet.attention import install_hooks
from fatezero_pack.fatezero.network.unet.layer_sizes import layer_sizes
from fatezero_pack.fatezero.source import attention_parts
from fatezero_pack.fatezero.source.attention_cache import (
    DISK_HEADROOM,
    AttentionCache,
    CacheBytes,
    free_budget,
    plan_cache,
)
from golden_unet import relative

LAYERS = {
    Layer(SELF, ("input", 1), 0): (24, 8),
    Layer(CROSS, ("input", 1), 0): (24, 8),
    Layer(SELF, ("middle", 0), 0): (6, 16),
    Layer(SELF, ("middle", 0), 1): (6, 16),
    Layer(CROSS, ("output", 11), 0): (24, 8),
}
SIGMA = 7.123456789
RAM = CacheBytes(ram=1 << 30)
DISK = CacheBytes(disk=1 << 30)
FRAME_BYTES = 4 * sum(tokens * width for tokens, width in LAYERS.values())


def attention(frames, sigma: float = SIGMA, dtype=torch.float32, layers=LAYERS):
    """What a clip's source would have at a step: {layer: [frames, tokens, width]}, its own for every frame."""
    return {
        layer: torch.stack(
            [
                torch.randn(LAYERS[layer], generator=torch.Generator().manual_seed(hash((index, frame, sigma)) % 2**31))
                for frame in frames
            ]
        ).to(dtype)
        for index, layer in enumerate(LAYERS)
        if layer in layers
    }


@pytest.fixture
def cache(tmp_path):
    return AttentionCache(tmp_path)


def filled(cache, budget, chunks, dtype=torch.float32):
    cache.budget = budget
    assert all(cache.store(SIGMA, chunk, attention(chunk, dtype=dtype)) for chunk in chunks)
    return cache


def same(cache, frames, dtype=torch.float32, layers=LAYERS) -> bool:
    """Whether these frames come back bit for bit."""
    step, expected = cache.open(SIGMA, frames, layers), attention(frames, dtype=dtype, layers=layers)
    read = {layer: step.read(layer, frames, "cpu") for layer in layers}
    return all(read[layer].dtype == dtype and torch.equal(read[layer], expected[layer]) for layer in layers)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("budget", [RAM, DISK])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_bit_comes_back(cache, budget, dtype):
    filled(cache, budget, [range(3)], dtype)
    assert same(cache, [0, 1, 2], dtype)
    special = torch.tensor([float("nan"), float("inf"), -0.0, torch.finfo(dtype).smallest_normal / 4], dtype=dtype)
    layer = Layer(SELF, ("input", 1), 0)
    assert cache.store(1.0, [0], {layer: special.expand(1, 6, 4)})
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(
        cache.open(1.0, [0], [layer]).read(layer, [0], "cpu").view(bits),
        special.expand(1, 6, 4).contiguous().view(bits),
    )


@pytest.mark.parametrize("budget", [RAM, DISK, CacheBytes(ram=4 * FRAME_BYTES, disk=1 << 30)])
@pytest.mark.parametrize(
    "chunks", [[[0]], [range(6)], [[frame] for frame in range(6)], [range(4), range(4, 6)], [[4, 5], [0, 3], [2, 1]]]
)
def test_frames_are_gathered_over_chunks(cache, budget, chunks):
    filled(cache, budget, chunks)
    frames = sorted(frame for chunk in chunks for frame in chunk)
    assert same(cache, frames) and same(cache, frames[::-1]) and same(cache, [frames[-1], frames[0], frames[-1]])
    for frame in frames:
        assert same(cache, [frame])
    assert not cache.holds(SIGMA, [*frames, 6], LAYERS) and cache.open(SIGMA, [6], LAYERS) is None
    assert not cache.holds(SIGMA * (1 + 1e-15), frames, LAYERS)
    assert cache.bytes.total == FRAME_BYTES * len(frames)


@pytest.mark.parametrize("budget", [RAM, DISK])
def test_nothing_is_stored_twice(cache, budget):
    filled(cache, budget, [range(4), range(4), range(2, 6), [5, 5, 6]])
    assert cache.bytes.total == 7 * FRAME_BYTES == (budget.total - cache.budget.total)
    assert same(cache, range(7))


@pytest.mark.parametrize("budget", [RAM, DISK])
def test_a_later_edit_adds_the_layers_it_needs(cache, budget):
    cross = [layer for layer in LAYERS if layer.kind == CROSS]
    cache.budget = budget
    assert cache.store(SIGMA, range(4), attention(range(4), layers=cross))
    assert cache.holds(SIGMA, range(4), cross) and not cache.holds(SIGMA, range(4), LAYERS)
    assert cache.store(SIGMA, range(2, 6), attention(range(2, 6)))
    assert same(cache, range(6), layers=cross) and same(cache, range(2, 6)) and not cache.holds(SIGMA, [0], LAYERS)


def test_what_is_kept_is_a_compact_copy(cache):
    """No rest of a batch is kept alive, and neither what was given nor what was read is tied to the cache."""
    layer = next(iter(LAYERS))
    cache.budget = RAM
    batch = torch.randn(9, 24, 8)
    before = batch[3:5].clone()
    assert cache.store(SIGMA, [0, 1], {layer: batch[3:5]})
    batch.zero_()
    read = cache.open(SIGMA, [0, 1], [layer]).read(layer, [0, 1], "cpu")
    assert torch.equal(read, before)
    read.zero_()
    assert torch.equal(cache.open(SIGMA, [0, 1], [layer]).read(layer, [0, 1], "cpu"), before)
    assert cache[0].untyped_storage().nbytes() == 2 * 24 * 8 * 4


@pytest.mark.parametrize("budget", [RAM, DISK])
def test_queries_and_keys_follow_from_what_is_kept(cache, budget):
    """Stored from a real UNet's call chunk by chunk, read for another chunk with a key frame outside it."""
    network, frames, key_frames = small_model().model.diffusion_model, 5, [2, 2, 2, 2, 2]
    hidden, seen = {}, {}

    def keep(query, key, value, extra):
        hidden[Layer(SELF, extra["block"], extra["block_index"])] = query
        return query, key[key_frames], value[key_frames]

    def attend(layer, query, key, value, extra, previous):
        seen[layer] = query, key
        return query

    options = {"cond_or_uncond": [0], "patches": {"attn1_patch": [keep]}}
    install_hooks(options, network, attend)
    network(clip_latent(frames), torch.ones(frames), torch.randn(frames, 77, 64), transformer_options=options)
    kept = {layer: hidden[layer] if layer.kind == SELF else query for layer, (query, _) in seen.items()}
    cache.budget = budget
    for chunk in ([0, 1, 2], [3, 4]):
        assert cache.store(SIGMA, chunk, {layer: tensor[chunk] for layer, tensor in kept.items()})
    step = cache.open(SIGMA, [3, 4, 2], kept)
    blocks = [block for _, block in network.named_modules() if hasattr(block, "attn1")]
    layers = [layer for layer, _, _ in layer_sizes(network, 16, 16)]
    for block, own, cross in zip(blocks, layers[::2], layers[1::2], strict=True):
        query, key = seen[own]
        assert relative(block.attn1.to_q(step.read(own, [3, 4], "cpu")), query[3:]) < 1e-6
        assert relative(block.attn1.to_k(step.read(own, [2, 2], "cpu")), key[3:]) < 1e-6
        assert torch.equal(step.read(cross, [4], "cpu"), seen[cross][0][4:])


def test_ram_is_filled_before_the_disk(cache, tmp_path):
    sizes = [2 * FRAME_BYTES] * 4
    budget = CacheBytes(ram=5 * FRAME_BYTES, disk=5 * FRAME_BYTES)
    plan = plan_cache(sizes, budget)
    assert plan == CacheBytes(ram=4 * FRAME_BYTES, disk=4 * FRAME_BYTES)
    cache.budget = budget
    for first in range(0, 8, 2):
        assert not files(tmp_path) or first > 4
        assert cache.store(SIGMA, [first, first + 1], attention([first, first + 1]))
    assert cache.bytes == plan and cache.budget == CacheBytes(ram=FRAME_BYTES, disk=FRAME_BYTES)
    assert sum(tensor.nbytes for tensor in cache) == plan.ram and len(files(tmp_path)) == 2
    assert not cache.store(SIGMA, [8, 9], attention([8, 9])) and not cache.holds(SIGMA, [8, 9], LAYERS)
    assert cache.store(SIGMA, [8], attention([8])) and same(cache, range(9))


def test_without_a_budget_nothing_is_stored(cache, tmp_path):
    assert not cache.store(SIGMA, [0], attention([0]))
    cache.budget = CacheBytes(vram=1 << 30)  # the tensors are on the CPU
    assert not cache.store(SIGMA, [0], attention([0]))
    assert cache.bytes == CacheBytes() and not list(tmp_path.iterdir())


def test_vram_comes_first_and_is_not_shown_as_ram(cache):
    """A tensor on another device than the CPU stays there (the meta device stands in for a GPU)."""
    cache.budget = CacheBytes(vram=2 * FRAME_BYTES)
    tensors = {layer: tensor.to("meta") for layer, tensor in attention([0, 1]).items()}
    assert cache.store(SIGMA, [0, 1], tensors) and cache.holds(SIGMA, [0, 1], LAYERS)
    assert cache.bytes == CacheBytes(vram=2 * FRAME_BYTES) and len(cache) == 0
    assert cache.open(SIGMA, [1, 0], LAYERS).read(next(iter(LAYERS)), [1, 0], "meta").shape == (2, 24, 8)
    assert not cache.store(SIGMA, [2], {layer: tensor[:1] for layer, tensor in tensors.items()})


def test_out_of_vram_the_next_place_is_taken(cache, monkeypatch, caplog):
    def failing(tensor, device):
        if device == tensor.device:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return torch.zeros(tensor.shape)

    monkeypatch.setattr(attention_parts, "_copy", failing)
    cache.budget = CacheBytes(vram=1 << 30, ram=1 << 30)
    for frame in range(3):
        assert cache.store(SIGMA, [frame], {layer: tensor.to("meta") for layer, tensor in attention([frame]).items()})
    assert cache.bytes == CacheBytes(ram=3 * FRAME_BYTES) and cache.budget.vram == 0
    assert len([record for record in caplog.records if "VRAM" in record.getMessage()]) == 1


def test_clear_leaves_nothing(cache, tmp_path):
    filled(cache, CacheBytes(ram=2 * FRAME_BYTES, disk=1 << 30), [[0], [1], [2], [3]])
    tensor = weakref.ref(cache[0])
    assert len(files(tmp_path)) == 2
    cache.clear()
    gc.collect()
    assert tensor() is None and not list(tmp_path.iterdir()) and len(cache) == 0
    assert cache.bytes == CacheBytes() and not cache.holds(SIGMA, [0], LAYERS)
    filled(cache, DISK, [[0]])
    assert same(cache, [0])


def test_everything_goes_with_the_owner(tmp_path, monkeypatch):
    """Several clips in one session do not add up: neither in memory nor in ComfyUI's temp folder."""
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path / "temp"))
    for _ in range(3):
        owner = SimpleNamespace(cache=filled(AttentionCache(), CacheBytes(ram=FRAME_BYTES, disk=1 << 30), [[0], [1]]))
        assert len(files(tmp_path)) == 1 and len(list((tmp_path / "temp").iterdir())) == 1
        gone = weakref.ref(owner.cache), weakref.ref(owner.cache[0])
        step = owner.cache.open(SIGMA, [0, 1], LAYERS)
        del owner
        gc.collect()
        assert gone[0]() is None and not list((tmp_path / "temp").iterdir())
        assert step.read(next(iter(LAYERS)), [1], "cpu").shape == (1, 24, 8)  # a step that runs is not disturbed
        del step
        gc.collect()
        assert gone[1]() is None


def test_comfyui_sees_and_evicts_it(cache, tmp_path, monkeypatch):
    chunks = [range(first, first + 50) for first in range(0, 250, 50)]
    filled(cache, CacheBytes(ram=200 * FRAME_BYTES, disk=1 << 30), chunks)
    ram_cache = caching.RAMPressureCache(caching.CacheKeySetInputSignature)
    small, cached = [torch.zeros(1000)], [[cache]]  # the second as a source run in a node's output
    for key, outputs in (("small", small), ("cached", cached)):
        ram_cache.cache[key] = CacheEntry(ui={}, outputs=[outputs])
        ram_cache.used_generation[key] = ram_cache.generation
        ram_cache.timestamps[key] = 0.0
    available = iter([0, 0] + [1 << 50] * 9)  # too little when asked, too little before the first entry goes
    monkeypatch.setattr(caching.psutil, "virtual_memory", lambda: SimpleNamespace(available=next(available)))
    gone = weakref.ref(cache[0])
    freed = ram_cache.ram_release(1 << 40, free_active=True, min_entry_size=100 * FRAME_BYTES)
    assert freed == pytest.approx(200 * FRAME_BYTES, abs=1) and list(ram_cache.cache) == ["small"]
    cache.clear()
    del cached, outputs
    gc.collect()
    assert gone() is None and not files(tmp_path)


def test_an_evicted_cache_is_freed(tmp_path, monkeypatch):
    """The same with nobody but ComfyUI's cache holding it (`ram_release` came after 0.18)."""
    ram_cache = caching.RAMPressureCache(caching.CacheKeySetInputSignature)
    ram_cache.cache["source"] = CacheEntry(
        ui={}, outputs=[[[filled(AttentionCache(tmp_path), CacheBytes(ram=FRAME_BYTES, disk=1 << 30), [[0], [1]])]]]
    )
    ram_cache.used_generation["source"], ram_cache.timestamps["source"] = ram_cache.generation, 0.0
    assert len(files(tmp_path)) == 1
    monkeypatch.setattr(caching.psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    ram_cache.ram_release(1, free_active=True)
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_not_tried(cache, tmp_path, monkeypatch, caplog):
    free = SimpleNamespace(free=DISK_HEADROOM + 3 * FRAME_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    filled(cache, DISK, [range(3)])
    free.free -= 3 * FRAME_BYTES
    for frame in (3, 4, 5):
        assert not cache.store(SIGMA, [frame], attention([frame])) and not cache.holds(SIGMA, [frame], LAYERS)
    assert same(cache, range(3)) and len(files(tmp_path)) == 1
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def half_a_file(error):
    """A save that writes some of the file and then fails."""

    def save(tensors, file, metadata):
        file.write_bytes(b"x" * 100)
        raise error

    return save


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_a_failing_save_leaves_nothing(cache, tmp_path, monkeypatch, caplog, error):
    filled(cache, DISK, [[0]])
    with monkeypatch.context() as patched:
        patched.setattr(attention_parts, "save_file", half_a_file(error))
        assert not cache.store(SIGMA, [1, 2], attention([1, 2])) and not cache.store(SIGMA, [3], attention([3]))
    assert len(files(tmp_path)) == 1 and cache.bytes.disk == FRAME_BYTES and same(cache, [0])
    assert not any(cache.holds(SIGMA, [frame], LAYERS) for frame in (1, 2, 3))
    assert len([record for record in caplog.records if "cannot use any more disk" in record.getMessage()]) == 1
    filled(cache, DISK, [[1, 2]])  # the next edit tries again
    assert same(cache, range(3))


def test_a_folder_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "temp").write_text("a file where the temp folder should be")
    cache = AttentionCache(tmp_path / "temp")
    cache.budget = CacheBytes(ram=FRAME_BYTES, disk=1 << 30)
    assert cache.store(SIGMA, [0], attention([0]))
    assert not cache.store(SIGMA, [1], attention([1])) and not cache.store(SIGMA, [2], attention([2]))
    assert same(cache, [0]) and not cache.holds(SIGMA, [1], LAYERS)
    assert len([record for record in caplog.records if "cannot use any more disk" in record.getMessage()]) == 1


@pytest.mark.parametrize("budget", [RAM, DISK])
def test_a_cancel_leaves_nothing_half(cache, tmp_path, monkeypatch, budget):
    filled(cache, budget, [[0]])
    before, left = len(cache), cache.budget
    cancel = comfy.model_management.InterruptProcessingException()
    if budget is DISK:
        monkeypatch.setattr(attention_parts, "save_file", half_a_file(cancel))
    else:
        copies, copy = iter([True, True, False]), attention_parts._copy

        def cancelled_copy(tensor, device):
            if next(copies):
                return copy(tensor, device)
            raise cancel

        monkeypatch.setattr(attention_parts, "_copy", cancelled_copy)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        cache.store(SIGMA, [1, 2], attention([1, 2]))
    assert not any(cache.holds(SIGMA, [1], [layer]) for layer in LAYERS)
    assert (len(cache), cache.budget, cache.bytes.total) == (before, left, FRAME_BYTES)
    assert len(files(tmp_path)) == (budget is DISK) and same(cache, [0])


def removed(file):
    file.unlink()


def truncated(file):
    file.write_bytes(file.read_bytes()[:-10])


def overwritten(file):
    file.write_bytes(b"\xff" * file.stat().st_size)


def another(file):
    from safetensors.torch import save_file

    size = file.stat().st_size
    save_file({"other": torch.zeros(3)}, file)
    file.write_bytes(file.read_bytes() + b"\0" * (size - file.stat().st_size))


def a_changed_bit(file):
    changed, times = bytearray(file.read_bytes()), file.stat()
    changed[-1] ^= 1
    file.write_bytes(changed)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("damage", [removed, truncated, overwritten, another, a_changed_bit])
def test_a_damaged_file_is_not_held(cache, tmp_path, caplog, damage):
    filled(cache, DISK, [[0, 1], [2, 3]])
    step = cache.open(SIGMA, range(4), LAYERS)
    broken = cache._places[SIGMA, next(iter(LAYERS))][2][0].file
    damage(broken)
    assert cache.open(SIGMA, range(4), LAYERS) is None
    assert not cache.holds(SIGMA, [3], LAYERS) and cache.open(SIGMA, [2], LAYERS) is None and same(cache, [0, 1])
    assert not broken.exists() and cache.bytes.disk == 2 * FRAME_BYTES
    assert len([record for record in caplog.records if "lost a file" in record.getMessage()]) == 1
    expected = attention(range(4))  # what was opened before can be read to the end
    assert all(torch.equal(step.read(layer, range(4), "cpu"), expected[layer]) for layer in LAYERS)
    filled(cache, DISK, [range(4)])
    assert same(cache, range(4)) and len(files(tmp_path)) == 2


def test_the_temp_folder_emptied_under_us(cache, tmp_path):
    filled(cache, DISK, [[0], [1]])
    shutil.rmtree(next(tmp_path.iterdir()))
    assert not cache.holds(SIGMA, [0, 1], LAYERS) and cache.bytes == CacheBytes()
    filled(cache, DISK, [[0, 1]])
    assert same(cache, [0, 1])
    cache.clear()
    assert not list(tmp_path.iterdir())


def test_plan():
    budget = CacheBytes(vram=190, ram=800, disk=500)
    assert plan_cache([], budget) == CacheBytes()
    assert plan_cache([100], budget) == CacheBytes(vram=100)
    assert plan_cache([100] * 14, budget) == CacheBytes(vram=100, ram=800, disk=500)
    assert plan_cache([100, 500, 90, 400, 20, 280], budget) == CacheBytes(vram=190, ram=800, disk=400)
    with pytest.raises(ValueError, match=r"^a cache .* choose replay, fewer frames or narrower windows\.$"):
        plan_cache([100] * 15, budget)
    with pytest.raises(ValueError, match="needs 14.7 GB and can have 1.9 GB VRAM, 8.0 GB RAM;"):
        plan_cache([147 * 10**8], CacheBytes(19 * 10**8, 80 * 10**8, 0))
    with pytest.raises(ValueError, match="can have nothing;"):
        plan_cache([1], CacheBytes())


def test_in_words(cache):
    assert str(CacheBytes(19 * 10**8, 80 * 10**8, 48 * 10**8)) == "1.9 GB VRAM, 8.0 GB RAM, 4.8 GB disk"
    assert str(CacheBytes(ram=1_500_000)) == "1.5 MB RAM"
    assert str(CacheBytes(ram=10**9, disk=9 * 10**8)) == "1.0 GB RAM, 900.0 MB disk"
    assert str(cache.bytes) == "nothing"
    assert "tensor" not in repr(filled(cache, RAM, [[0]]))


def test_free_budget(tmp_path, monkeypatch):
    gib = 1 << 30
    memory = SimpleNamespace(total=32 * gib, available=20 * gib)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10 * gib))
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 5 * gib)
    monkeypatch.setattr(comfy.model_management, "minimum_inference_memory", lambda: 1.0 * gib)
    ram = int(0.5 * (20 - 3.2) * gib)
    cpu = free_budget(torch.device("cpu"), folder=tmp_path / "not" / "there yet")
    assert cpu == CacheBytes(0, pytest.approx(ram, abs=2), 10 * gib - DISK_HEADROOM)
    assert free_budget(torch.device("mps"), folder=tmp_path).vram == 0
    gpu = free_budget(torch.device("cuda"), gib, tmp_path)
    assert gpu.vram == int(1.5 * gib) and all(isinstance(size, int) for size in (gpu.vram, gpu.ram, gpu.disk))
    memory.available = 3 * gib
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=gib))
    assert free_budget(torch.device("cuda"), 99 * gib, tmp_path) == CacheBytes()
