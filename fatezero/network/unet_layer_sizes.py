"""How large each attention layer of a UNet is, and so what the source's attention takes, before anything is run."""

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample

from .attention_layers import CROSS, SELF, Layer


def layer_sizes(diffusion_model, height: int, width: int):
    """Yields (Layer, tokens, width) for every attention layer of a ComfyUI UNetModel and a latent of height x width.

    width: heads · head width, the width of queries and keys and of the self-attention's normalised hidden states. No
    weight is read: under dynamic VRAM there may be none.
    """
    size, sizes = (height, width), []
    for number, block in enumerate(diffusion_model.input_blocks):
        size = _after_downsampling(block, size)
        sizes.append(size)
        yield from _block_layers(("input", number), block, size)
    if diffusion_model.middle_block is not None:  # Koala has none
        yield from _block_layers(("middle", 0), diffusion_model.middle_block, size)
    for number, block in enumerate(diffusion_model.output_blocks):
        yield from _block_layers(("output", number), block, sizes.pop())  # the size of its skip connection


def _after_downsampling(block, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width behind an input block: strided convolutions round a half up, pooling cuts it off."""
    for module in block.modules():
        if isinstance(module, Downsample):
            return tuple((side + module.use_conv) // 2 for side in size)
    return size


def _block_layers(place: tuple[str, int], block, size: tuple[int, int]):
    for module in block:
        if isinstance(module, SpatialTransformer):
            for depth, transformer in enumerate(module.transformer_blocks):
                for kind, attention in ((SELF, transformer.attn1), (CROSS, transformer.attn2)):
                    yield Layer(kind, place, depth), size[0] * size[1], attention.heads * attention.dim_head


def cached_bytes_per_frame(
    diffusion_model, height: int, width: int, kinds, finest_layers: bool, dtype: torch.dtype
) -> int:
    """Bytes of one frame and one step in the cache: hidden states for self-attention, queries for cross-attention.

    height, width: the latent's; kinds: of SELF and CROSS, those that are fused; finest_layers: whether the layers of
    the latent's own resolution are, too.
    """
    sizes = _fused_layer_sizes(diffusion_model, height, width, kinds, finest_layers)
    return dtype.itemsize * sum(tokens * channels for _, tokens, channels in sizes)


def read_bytes_per_frame(
    diffusion_model,
    height: int,
    width: int,
    kinds,
    finest_layers: bool,
    dtype: torch.dtype,
    key_frames: int = 1,
    minimum_width: int = 0,
    text_tokens: int = 77,
) -> int:
    """Bytes of one frame's queries and keys, all layers', held while a replayed step is fused.

    key_frames: how many each frame attends to in the self-attention layers at least minimum_width wide; text_tokens:
    length of the source prompt's encoding; the rest as in `cached_bytes_per_frame`.
    """
    count = 0
    for layer, tokens, channels in _fused_layer_sizes(diffusion_model, height, width, kinds, finest_layers):
        if layer.kind == CROSS:
            keys = text_tokens
        else:
            keys = tokens * (key_frames if channels >= minimum_width else 1)
        count += (tokens + keys) * channels
    return dtype.itemsize * count


def _fused_layer_sizes(diffusion_model, height: int, width: int, kinds, finest_layers: bool):
    for layer, tokens, channels in layer_sizes(diffusion_model, height, width):
        if layer.kind in kinds and (finest_layers or tokens < height * width):
            yield layer, tokens, channels
