"""How large each attention layer of a UNet is, and so what the source's attention takes, before anything is run."""

from collections.abc import Collection, Iterator

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample

from ..attention_layers import CROSS, Layer
from .walk import block_attentions, unet_blocks


def layer_sizes(diffusion_model, height: int, width: int) -> Iterator[tuple[Layer, int, int]]:
    """Yields (Layer, tokens, width) for every attention layer of a ComfyUI UNetModel and a latent of height x width.

    width: heads · head width, the width of queries and keys and of the self-attention's normalised hidden states. No
    weight is read: under dynamic VRAM there may be none.
    """
    for layer, size, channels in layer_areas(diffusion_model, height, width):
        yield layer, size[0] * size[1], channels


def layer_areas(diffusion_model, height: int, width: int) -> Iterator[tuple[Layer, tuple[int, int], int]]:
    """As `layer_sizes`, with height and width of each layer instead of its tokens."""
    size, skips = (height, width), []
    for place, block in unet_blocks(diffusion_model):
        if place[0] == "input":
            size = _after_downsampling(block, size)
            skips.append(size)
        elif place[0] == "output":
            size = skips.pop()  # the size of its skip connection
        for layer, attention in block_attentions(place, block):
            yield layer, size, attention.heads * attention.dim_head


def _after_downsampling(block, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width behind an input block: strided convolutions round a half up, pooling cuts it off."""
    for module in block.modules():
        if isinstance(module, Downsample):
            return (size[0] + module.use_conv) // 2, (size[1] + module.use_conv) // 2
    return size


def cached_bytes_per_frame(
    diffusion_model, height: int, width: int, kinds: Collection[str], finest_layers: bool, dtype: torch.dtype
) -> int:
    """Bytes of one frame and one step in the cache: hidden states for self-attention, queries for cross-attention.

    Args:
        diffusion_model: A ComfyUI UNetModel.
        height: The latent's.
        width: The latent's.
        kinds: Of SELF and CROSS, those that are fused.
        finest_layers: Whether the layers of the latent's own resolution are fused, too.
        dtype: What the model computes in.
    """
    sizes = _fused_layer_sizes(diffusion_model, height, width, kinds, finest_layers)
    return dtype.itemsize * sum(tokens * channels for _, tokens, channels in sizes)


def read_bytes_per_frame(
    diffusion_model,
    height: int,
    width: int,
    kinds: Collection[str],
    finest_layers: bool,
    dtype: torch.dtype,
    key_frames: int = 1,
    minimum_width: int = 0,
    text_tokens: int = 77,
) -> int:
    """Bytes of one frame's queries and keys, all layers', held while a replayed step is fused.

    Args:
        diffusion_model: A ComfyUI UNetModel.
        height: The latent's.
        width: The latent's.
        kinds: Of SELF and CROSS, those that are fused.
        finest_layers: Whether the layers of the latent's own resolution are fused, too.
        dtype: What the model computes in.
        key_frames: How many each frame attends to in wide self-attention layers.
        minimum_width: From which width on they are that.
        text_tokens: Length of the source prompt's encoding.
    """
    count = 0
    for layer, tokens, channels in _fused_layer_sizes(diffusion_model, height, width, kinds, finest_layers):
        if layer.kind == CROSS:
            keys = text_tokens
        else:
            keys = tokens * (key_frames if channels >= minimum_width else 1)
        count += (tokens + keys) * channels
    return dtype.itemsize * count


def _fused_layer_sizes(
    diffusion_model, height: int, width: int, kinds: Collection[str], finest_layers: bool
) -> Iterator[tuple[Layer, int, int]]:
    for layer, tokens, channels in layer_sizes(diffusion_model, height, width):
        if layer.kind in kinds and (finest_layers or tokens < height * width):
            yield layer, tokens, channels
