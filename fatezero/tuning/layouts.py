"""What the weights of a tuned video model are called in files, and where they belong in ComfyUI's UNet.

Both layouts are diffusers' names of Stable Diffusion's UNet with names of their own for what was added.
"""

from __future__ import annotations

from dataclasses import dataclass

import comfy.utils

from ..network.unet.temporal_parts import ATTENTION, CONVOLUTION

TRAINED_QUERIES = ("attn1.to_q.weight", "attn2.to_q.weight")


@dataclass(frozen=True)
class Layout:
    """Names of the added modules: temporal attention, its norm, and temporal convolution or None."""

    name: str
    attention: str
    norm: str
    convolution: str | None


TUNE_A_VIDEO = Layout("Tune-A-Video", "attn_temp", "norm_temp", None)  # and Video-P2P
FATEZERO = Layout("FateZero", "attn_temporal", "norm_temporal", "conv_temporal")
LAYOUTS = {layout.name: layout for layout in (TUNE_A_VIDEO, FATEZERO)}

# Attributes of TemporalAttention and what they are called behind a layout's attention.
_ATTENTION = {
    "to_q.weight": "to_q.weight",
    "to_k.weight": "to_k.weight",
    "to_v.weight": "to_v.weight",
    "to_out.weight": "to_out.0.weight",
    "to_out.bias": "to_out.0.bias",
}
_CONVOLUTION = {"down.weight": "down.weight", "up.weight": "up.weight", "full.weight": "weight", "full.bias": "bias"}
_SPATIAL_CONVOLUTIONS = (
    "conv_in.weight",
    "conv_out.weight",
    "conv1.weight",
    "conv2.weight",
    "samplers.0.conv.weight",  # downsamplers and upsamplers
)


def unet_names(network, unet_config: dict) -> dict[str, str]:
    """{diffusers' name: ComfyUI's name} of every weight that a ComfyUI UNetModel has."""
    has = set(network.state_dict())
    return {theirs: ours for theirs, ours in comfy.utils.unet_to_diffusers(unet_config).items() if ours in has}


def temporal_names(unet: dict[str, str], layout: Layout) -> dict[str, str]:
    """{name in a file of this layout: name of the temporal part's weight} of all that such a file may hold.

    Args:
        unet: From `unet_names`.
        layout: Of the file.
    """
    names = {}
    for theirs, ours in unet.items():
        if theirs.endswith(".attn1.to_q.weight"):
            block = theirs.removesuffix(".attn1.to_q.weight")
            part = f"{ours.removesuffix('.attn1.to_q.weight')}.{ATTENTION}"
            for kind in ("weight", "bias"):
                names[f"{block}.{layout.norm}.{kind}"] = f"{part}.norm.{kind}"
            for attribute, called in _ATTENTION.items():
                names[f"{block}.{layout.attention}.{called}"] = f"{part}.{attribute}"
        elif layout.convolution is not None and theirs.endswith(_SPATIAL_CONVOLUTIONS):
            module, part = theirs.removesuffix(".weight"), f"{ours.removesuffix('.weight')}.{CONVOLUTION}"
            for attribute, called in _CONVOLUTION.items():
                names[f"{module}.{layout.convolution}.{called}"] = f"{part}.{attribute}"
    return names


def layout_of(names) -> Layout | None:
    """The layout that some names in a file are of, None where they have no temporal attention."""
    for layout in LAYOUTS.values():
        if any(f".{layout.attention}." in name for name in names):
            return layout
    return None
