"""Every attention layer of a ComfyUI UNetModel, with ComfyUI's own numbering; the one place that knows its build."""

from collections.abc import Iterable, Iterator

from comfy.ldm.modules.attention import CrossAttention, SpatialTransformer
from torch import nn

from ..attention_layers import CROSS, SELF, Layer

Place = tuple[str, int]  # "input", "middle" or "output", and the block's number there


def unet_blocks(diffusion_model) -> Iterator[tuple[Place, Iterable[nn.Module]]]:
    """Yields place and modules of every block, in the order in which they run."""
    yield from ((("input", number), block) for number, block in enumerate(diffusion_model.input_blocks))
    if diffusion_model.middle_block is not None:  # some distilled UNets have none
        yield ("middle", 0), diffusion_model.middle_block
    yield from ((("output", number), block) for number, block in enumerate(diffusion_model.output_blocks))


def block_attentions(place: Place, block: Iterable[nn.Module]) -> Iterator[tuple[Layer, CrossAttention]]:
    """Yields every attention layer of one block with its module, which holds to_q, to_k, heads ..."""
    for module in block:
        if isinstance(module, SpatialTransformer):
            for depth, transformer in enumerate(module.transformer_blocks):
                yield Layer(SELF, place, depth), transformer.attn1
                yield Layer(CROSS, place, depth), transformer.attn2


def attentions(diffusion_model) -> Iterator[tuple[Layer, CrossAttention]]:
    """Yields every attention layer of a UNet with its module."""
    for place, block in unet_blocks(diffusion_model):
        yield from block_attentions(place, block)


def transformers(diffusion_model) -> Iterator[nn.Module]:
    """Yields every transformer block, of whatever class another pack may have made it."""
    for _, block in unet_blocks(diffusion_model):
        for module in block:
            if isinstance(module, SpatialTransformer):
                yield from module.transformer_blocks


def transformer_depths(diffusion_model) -> Iterator[tuple[Place, int]]:
    """Yields place and depth of every spatial transformer."""
    for place, block in unet_blocks(diffusion_model):
        for module in block:
            if isinstance(module, SpatialTransformer):
                yield place, len(module.transformer_blocks)
