"""What caching the source's attention costs at SD 1.5's size: bytes, disk and RAM speed, and projecting Q and K again.

Run with ComfyUI's Python and COMFYUI_PATH set:
`python -m benchmarks.studies.cached_attention [--size 512] [--frames 8]`.
Bytes and speeds are for float16, speeds for a chunk of that many frames; projecting is timed in float32, one frame,
with random weights, as a ratio to a UNet row in the same process. For the CPU and Unix.
"""

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch

from fatezero_pack.fatezero.network.attention_layers import CROSS, SELF
from fatezero_pack.fatezero.network.unet.layer_sizes import cached_bytes_per_frame, layer_sizes, read_bytes_per_frame
from fatezero_pack.fatezero.refusal import bytes_in_words
from fatezero_pack.fatezero.source.attention_cache import AttentionCache, CacheBytes
from golden_unet import random_model

SD15 = {"model_channels": 320, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "context_dim": 768}


def seconds(function, repeats: int, before=lambda: None) -> float:
    times = []
    for _ in range(repeats):
        before()
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times)


def print_bytes(network, side: int) -> None:
    for finest_layers in (True, False):
        cached = {
            kind: cached_bytes_per_frame(network, side, side, {kind}, finest_layers, torch.float16)
            for kind in (SELF, CROSS)
        }
        print(f"\none frame, one step, {'all layers' if finest_layers else 'without the finest layers'}:")
        for kind, key_frames in ((SELF, 1), (SELF, 2), (CROSS, 1)):
            queries_keys = read_bytes_per_frame(network, side, side, {kind}, finest_layers, torch.float16, key_frames)
            keys = f", {key_frames} key frame{'s' * (key_frames > 1)}" * (kind == SELF)
            print(
                f"  {'self' if kind == SELF else 'cross'}-attention{keys}: cached {bytes_in_words(cached[kind])}, "
                f"Q + K {bytes_in_words(queries_keys)} ({queries_keys / cached[kind]:.2f} times)"
            )


def print_speeds(network, side: int, frames: int, repeats: int, folder) -> None:
    tensors = {
        layer: torch.randn(frames, tokens, width, dtype=torch.float32).half()
        for layer, tokens, width in layer_sizes(network, side, side)
    }
    size = sum(tensor.nbytes for tensor in tensors.values())
    cache = AttentionCache(folder)

    def read():
        step = cache.open(1.0, range(frames), tensors)
        for layer in tensors:
            step.read(layer, range(frames), "cpu")

    def store():
        assert cache.store(1.0, range(frames), tensors)

    def flush(drop: bool):
        for file in Path(folder).rglob("*.safetensors"):
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            if drop and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def store_and_flush():
        store()
        flush(False)

    def fresh(budget):
        cache.clear()
        cache.budget = budget

    in_ram, on_disk = CacheBytes(ram=size), CacheBytes(disk=size)
    times = {
        "store in RAM": seconds(store, repeats, lambda: fresh(in_ram)),
        "read from RAM": seconds(read, repeats),
        "write to disk, left to the page cache": seconds(store, repeats, lambda: fresh(on_disk)),
        "write to disk, flushed": seconds(store_and_flush, repeats, lambda: fresh(on_disk)),
        "read from disk, in the page cache": seconds(read, repeats),
        "read from disk, not in the page cache": seconds(read, repeats, lambda: flush(True)),
    }
    cache.clear()
    print(f"\na step of {frames} frames ({bytes_in_words(size)}):")
    for name, taken in times.items():
        print(
            f"  {name}: {taken:.3f} s, {size / taken / 1e9:.2f} GB/s, "
            f"{taken / times['read from RAM']:.1f} times reading from RAM"
        )


def print_projections(network, side: int, repeats: int) -> None:
    attentions = [block.attn1 for name, block in network.named_modules() if hasattr(block, "attn1")]
    sizes = [(tokens, width) for layer, tokens, width in layer_sizes(network, side, side) if layer.kind == SELF]
    hidden = [torch.randn(1, tokens, width) for tokens, width in sizes]
    latent, context = torch.randn(1, 4, side, side), torch.randn(1, 77, 768)

    def row():
        network(latent, torch.ones(1), context, transformer_options={"cond_or_uncond": [0]})

    def project(key_frames: int):
        for attention, states in zip(attentions, hidden):
            attention.to_q(states)
            attention.to_k(states.repeat(1, key_frames, 1))

    row()
    whole = seconds(row, repeats)
    threads = torch.get_num_threads()
    print(f"\nprojecting one frame's Q and K again, of a UNet row ({whole:.2f} s, float32, {threads} thread(s)):")
    for key_frames in (1, 2):
        print(f"  {key_frames} key frame(s): {seconds(partial(project, key_frames), repeats) / whole:.1%}")


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("--size", 512), ("--frames", 8), ("--repeats", 5)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    side = options.size // 8
    network = random_model(**SD15).model.diffusion_model
    print(f"SD 1.5 size, {options.size}x{options.size}, float16, median of {options.repeats}")
    with torch.inference_mode():
        print_bytes(network, side)
        with tempfile.TemporaryDirectory() as folder:
            print_speeds(network, side, options.frames, options.repeats, folder)
        print_projections(network, side, options.repeats)


if __name__ == "__main__":
    main()
