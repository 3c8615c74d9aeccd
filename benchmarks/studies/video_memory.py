"""What a coupled edit holds beside the weights, at the real sizes of video models, without their weights or a GPU.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.video_memory`.
Runs each model's own blocks on tensors without data, under the hooks of Coupled Edit Sampler, and counts the bytes that
are alive at once. Two blocks stand for all, since none keeps anything for the next. Attention counts as a fused kernel
does: its inputs and its output.
"""

import argparse
from dataclasses import dataclass

import comfy.ldm.lightricks.model
import comfy.ldm.wan.model
import comfy.ops
import torch

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


def network(clip: Clip):
    """The model's own network, without data and with two blocks."""
    made = {"dtype": DTYPE, "device": "meta", "operations": comfy.ops.disable_weight_init}
    if clip.family is WAN:
        return comfy.ldm.wan.model.WanModel(**clip.sizes, **made).eval()
    return comfy.ldm.lightricks.model.LTXVModel(**clip.sizes, **made).eval()


def as_fused_kernel(function, query, key, value, heads, *_, **__):
    """Attention as far as memory goes."""
    return torch.empty_like(query)


def peak(clip: Clip, rows: int, fusion: RowFusion | None = None) -> int:
    """The most bytes alive at once in a call with so many rows, its inputs and the weights left out."""
    model = network(clip)
    options = {"optimized_attention_override": as_fused_kernel, "uuids": NAMES[:rows]}
    options["cond_or_uncond"] = list(range(rows))
    if fusion is not None:
        install(options, model, clip.family, fusion.is_source, fusion.attend)
    x = torch.empty(rows, *clip.latent, dtype=DTYPE, device="meta")
    given = {"x": x, "timestep": torch.empty(rows, device="meta"), "transformer_options": options}
    if clip.family is WAN:
        given["context"] = torch.empty(rows, 512, 4096, dtype=DTYPE, device="meta")
    else:
        text = torch.empty(rows, 128, 4096, dtype=DTYPE, device="meta")
        given |= {"context": text, "attention_mask": None, "frame_rate": 25}
    known = [*model.parameters(), *(value for value in given.values() if isinstance(value, torch.Tensor))]
    with torch.inference_mode(), HeldBytes(known) as held:
        model(**given)
    return held.peak


def coupled(**changes) -> RowFusion:
    """What fuses both kinds of attention, as a step of an edit does."""
    tokens = changes.pop("tokens", 512)
    cross = torch.eye(tokens), torch.ones(tokens)
    return RowFusion(cross, True, source=frozenset({"clip"}), positive=frozenset({"edit"}), **changes)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| model, clip | tokens | Q and K of a layer | plain, 1 row | plain, 2 rows | edit, 2 rows | edit, 3 rows |")
    print("|" + "---|" * 7)
    for clip in CLIPS:
        text = 512 if clip.family is WAN else 128
        found = [
            clip.attention_bytes,
            peak(clip, 1),
            peak(clip, 2),
            *(peak(clip, rows, coupled(tokens=text)) for rows in (2, 3)),
        ]
        print(
            f"| {clip.name} | {clip.tokens} | {' | '.join(f'{value / 2**20:.0f} MiB' for value in found)} |", flush=True
        )


if __name__ == "__main__":
    main()
