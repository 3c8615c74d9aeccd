"""What a coupled edit holds beside the weights and computes, at the real sizes of video models, without a GPU.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.video_memory [--measure FRAMES]`.
Runs each model's own blocks on tensors without data, under the hooks of Coupled Edit Sampler, and counts the bytes that
are alive at once and the multiplications. Two blocks stand for all, since none keeps anything for the next. Attention
counts as a fused kernel does: its inputs and its output. `--measure` compares that with what the process really holds:
Wan 2.1 1.3B at its width, random weights, so many latent frames of 832x480, float32 on the CPU. Run that with
MALLOC_MMAP_THRESHOLD_=65536, so that what is freed goes back to the system at once.
"""

import argparse
import ctypes
import gc
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.ldm.lightricks.model
import comfy.ldm.wan.model
import comfy.ops
import torch
from torch.utils.flop_counter import FlopCounterMode

from fatezero_pack.fatezero.edit.transformer.row_fusion import RowFusion
from fatezero_pack.fatezero.network.transformer.families import LTX, WAN, Family
from fatezero_pack.fatezero.network.transformer.row_by_row import install
from fatezero_pack.tests.activation_bytes import HeldBytes

BLOCKS, DTYPE = 2, torch.float16
NAMES = ("clip", "edit", "negative")


@dataclass(frozen=True)
class Clip:
    """A model on a clip: the shape of its latent, [c, F, h, w], and the network's sizes."""

    name: str
    family: Family
    latent: tuple[int, int, int, int]
    sizes: dict

    @property
    def width(self) -> int:
        return self.sizes.get("dim") or self.sizes["num_attention_heads"] * self.sizes["attention_head_dim"]

    @property
    def tokens(self) -> int:
        _, frames, height, width = self.latent
        return frames * height * width // (4 if self.family is WAN else 1)

    @property
    def text(self) -> int:
        """The tokens of a prompt."""
        return 512 if self.family is WAN else 128

    @property
    def attention_bytes(self) -> int:
        """Of the queries and keys of one layer and row."""
        return 2 * self.tokens * self.width * DTYPE.itemsize


def wan(dim: int, heads: int, ffn: int, **changes) -> dict:
    return {"model_type": "t2v", "dim": dim, "num_heads": heads, "ffn_dim": ffn, "num_layers": BLOCKS, **changes}


W1, W5, W14 = wan(1536, 12, 8960), wan(3072, 24, 14336, in_dim=48, out_dim=48), wan(5120, 40, 13824)
LTX_2B = {"num_attention_heads": 32, "attention_head_dim": 64, "cross_attention_dim": 2048, "num_layers": BLOCKS}
CLIPS = (
    Clip("Wan 2.1 1.3B, 832x480, 81 frames", WAN, (16, 21, 60, 104), W1),
    Clip("Wan 2.2 5B, 1280x704, 121 frames", WAN, (48, 31, 44, 80), W5),
    Clip("Wan 2.1 and 2.2 14B, 832x480, 81 frames", WAN, (16, 21, 60, 104), W14),
    Clip("Wan 2.1 and 2.2 14B, 1280x720, 81 frames", WAN, (16, 21, 90, 160), W14),
    Clip("LTX-Video 2B, 768x512, 97 frames", LTX, (128, 13, 16, 24), LTX_2B),
)


def network(clip: Clip, device="meta", dtype=DTYPE):
    """The model's own network with two blocks; on "meta" without data."""
    made = {"dtype": dtype, "device": device, "operations": comfy.ops.disable_weight_init}
    if clip.family is WAN:
        return comfy.ldm.wan.model.WanModel(**clip.sizes, **made).eval()
    return comfy.ldm.lightricks.model.LTXVModel(**clip.sizes, **made).eval()


def given_to(clip: Clip, rows: int, fusion: RowFusion | None, model, device="meta", dtype=DTYPE) -> dict:
    """What a network is called with for so many rows, under the hooks of an edit where there is a fusion."""
    options = {"uuids": NAMES[:rows], "cond_or_uncond": list(range(rows))}
    if device == "meta":
        options["optimized_attention_override"] = as_fused_kernel
    if fusion is not None:
        install(options, model, clip.family, fusion.is_source, fusion.attend)
    made = {"dtype": dtype, "device": device}
    given = {"x": torch.zeros(rows, *clip.latent, **made), "timestep": torch.ones(rows, device=device)}
    text = torch.zeros(rows, clip.text, 4096, **made)
    others = {} if clip.family is WAN else {"attention_mask": None, "frame_rate": 25}
    return {**given, "context": text, "transformer_options": options, **others}


def as_fused_kernel(function, query, key, value, heads, *_, **__):
    """Attention as far as memory goes."""
    return torch.empty_like(query)


def peak(clip: Clip, rows: int, fusion: RowFusion | None = None) -> int:
    """The most bytes alive at once in a call with so many rows, its inputs and the weights left out."""
    model = network(clip)
    given = given_to(clip, rows, fusion, model)
    known = [*model.parameters(), *(value for value in given.values() if isinstance(value, torch.Tensor))]
    with torch.inference_mode(), HeldBytes(known) as held:
        model(**given)
    return held.peak


def work(clip: Clip, rows: int, fusion: RowFusion | None = None) -> int:
    """The multiplications and additions of a call with so many rows."""
    model, attended = network(clip), []
    given = given_to(clip, rows, fusion, model)
    options = given["transformer_options"]

    def counted(function, query, key, value, heads, *_, **__):
        attended.append(4 * query.shape[0] * query.shape[1] * key.shape[1] * query.shape[-1])
        return torch.empty_like(query)

    hook = options["optimized_attention_override"]
    options["optimized_attention_override"] = counted if fusion is None else replace(hook, previous=counted)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(**given)
    return counter.get_total_flops() + sum(attended)


def measured(clip: Clip, rows: int, fusion: RowFusion | None = None) -> int:
    """The bytes by which this process grows at most in such a call, on random weights; Linux alone tells."""
    model = network(clip, "cpu", torch.float32)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    given = given_to(clip, rows, fusion, model, "cpu", torch.float32)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _process("VmRSS")
    with torch.inference_mode():
        model(**given)
    return _process("VmHWM") - before


def _process(name: str) -> int:
    """A number of bytes that Linux keeps of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def coupled(**changes) -> RowFusion:
    """What fuses both kinds of attention, as a step of an edit does."""
    tokens = changes.pop("tokens", 512)
    cross = torch.eye(tokens), torch.ones(tokens)
    return RowFusion(cross, True, source=frozenset({"clip"}), positive=frozenset({"edit"}), **changes)


def measure(frames: int) -> None:
    """Prints counted beside measured bytes, for Wan 2.1 1.3B with so many latent frames."""
    clip = replace(CLIPS[0], latent=(16, frames, 60, 104))
    print(f"{clip.tokens} tokens, float32\n\n| | counted | measured |\n|---|---|---|")
    for name, rows, fusion in (
        ("plain, 2 rows", 2, None),
        ("edit, 2 rows", 2, coupled()),
        ("edit, 3 rows", 3, coupled()),
    ):
        bytes_ = 2 * peak(clip, rows, fusion), measured(clip, rows, fusion)
        print(f"| {name} | {' | '.join(f'{value / 2**20:.0f} MiB' for value in bytes_)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=int, metavar="FRAMES", help="latent frames; nothing else is made")
    frames = parser.parse_args().measure
    if frames:
        return measure(frames)
    columns = ("Q and K of a layer", "plain, 1 row", "plain, 2 rows", "edit, 2 rows", "edit, 3 rows", "work")
    print(f"| model, clip | tokens | {' | '.join(columns)} |")
    print("|" + "---|" * 8)
    for clip in CLIPS:
        found = [
            clip.attention_bytes,
            peak(clip, 1),
            peak(clip, 2),
            *(peak(clip, rows, coupled(tokens=clip.text)) for rows in (2, 3)),
        ]
        sizes = " | ".join(f"{value / 2**20:.0f} MiB" for value in found)
        share = work(clip, 2, coupled(tokens=clip.text)) / work(clip, 2)
        print(f"| {clip.name} | {clip.tokens} | {sizes} | {share:.3f} |", flush=True)


if __name__ == "__main__":
    main()
