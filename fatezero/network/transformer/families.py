"""The video transformers that we know, and the facts in which they differ."""

from dataclasses import dataclass
from typing import Any

import comfy.ldm.hunyuan_video.model
import comfy.ldm.lightricks.model
import comfy.ldm.wan.model
import comfy.model_base
import comfy.model_sampling

from ...refusal import Refusal
from ..attention_layers import CROSS, SELF

IMAGE = "image"  # attention to a picture that the model is given, beside that to the prompt
JOINT = "joint"  # the prompt's tokens and the clip's, in this order, attend to all of them at once


@dataclass(frozen=True)
class Family:
    """What a family of video transformers has in common.

    Attributes:
        name: As people call it.
        blocks: Where the model keeps its blocks, in their order, and what ComfyUI's replacements of them are called.
        frames_per_latent: How many frames a latent frame holds, but the first, which holds one.
        is_joint: Whether prompt and clip go through a block together, after the prompt has attended to itself.
        nests_rows: Whether the other rows run within the last attention of the source's row, and not after its block:
            for blocks that hold less there than what the source has shown.
    """

    name: str
    blocks: tuple[tuple[str, str], ...]
    frames_per_latent: int
    is_joint: bool = False
    nests_rows: bool = False


WAN = Family("Wan", (("blocks", "double_block"),), 4)
LTX = Family("LTX-Video", (("transformer_blocks", "double_block"),), 8, nests_rows=True)
HUNYUAN_BLOCKS = (("double_blocks", "double_block"), ("single_blocks", "single_block"))
HUNYUAN = Family("HunyuanVideo", HUNYUAN_BLOCKS, 4, is_joint=True)


def family_of(model) -> Family | None:
    """The family of a ModelPatcher's network, None for every other kind of model."""
    network = model.model.diffusion_model
    if isinstance(network, comfy.ldm.wan.model.WanModel):
        # HuMo's blocks hold the sound of all rows at once, which cannot be cut where we run them row by row.
        return None if isinstance(network, comfy.ldm.wan.model.HumoWanModel) else WAN
    # LTX-2 also makes sound; its blocks attend six times.
    if type(network) is comfy.ldm.lightricks.model.LTXVModel:
        return LTX
    # HunyuanVideo 1.5, HunyuanImage and image to video read more than one prompt.
    is_hunyuan = type(model.model) is comfy.model_base.HunyuanVideo and len(network.patch_size) == 3
    return HUNYUAN if is_hunyuan and network.byt5_in is None and network.vision_in is None else None


def require_family(model, name: str = "model") -> Family:
    """The family of a ModelPatcher's network; name: the input that it came in by.

    Raises:
        Refusal: For any other model, and for one that does not predict a flow.
    """
    family = family_of(model)
    if family is None:
        raise Refusal(
            f"'{name}' is a {type(model.model).__name__}, but this node edits with Wan 2.1, Wan 2.2, LTX-Video and "
            "HunyuanVideo; for SD 1.x, SD 2.x and SDXL use DDIM Invert + Store Attention and Attention Blend Sampler."
        )
    if not isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST):
        raise Refusal(f"'{name}' does not predict a flow; remove the node that changes its sampling.")
    return family


def blocks_of(network, family: Family) -> list[tuple[tuple[str, int], Any]]:
    """The blocks of a model's diffusion_model in their order, each after its place in ComfyUI's patches_replace."""
    return [
        ((kind, index), block) for held, kind in family.blocks for index, block in enumerate(getattr(network, held))
    ]


def attention_kinds(family: Family, block) -> tuple[str, ...]:
    """What the attention calls of a block are, in their order; those after them are left alone."""
    if family.is_joint:
        return (JOINT,)
    if family is WAN and isinstance(block.cross_attn, comfy.ldm.wan.model.WanI2VCrossAttention):
        return (SELF, IMAGE, CROSS)
    return (SELF, CROSS)


def reads_text_in_blocks(model) -> bool:
    """Whether the prompt is attended to in a ModelPatcher's blocks alone, where we cut it; VACE has others."""
    return not isinstance(model.model.diffusion_model, comfy.ldm.wan.model.VaceWanModel)


def takes_picture(model) -> bool:
    """Whether a ModelPatcher reads a picture or a clip beside the latent, as Wan's for image to video do."""
    channels = getattr(getattr(model.model.diffusion_model, "patch_embedding", None), "in_channels", 0)
    return family_of(model) is WAN and channels > model.model.latent_format.latent_channels


def patch_size(model) -> tuple[int, int, int]:
    """How many of a latent's frames, rows and columns are one token of a ModelPatcher's network."""
    return tuple(getattr(model.model.diffusion_model, "patch_size", (1, 1, 1)))


def hidden_width(model) -> int:
    """The channels of a token within a ModelPatcher's network."""
    network = model.model.diffusion_model
    return getattr(network, {WAN: "dim", LTX: "inner_dim", HUNYUAN: "hidden_size"}[require_family(model)])


def text_width(model) -> int | None:
    """The channels of a prompt's token that a ModelPatcher's network reads; None where it does not say."""
    network, family = model.model.diffusion_model, family_of(model)
    if family is HUNYUAN:
        return network.params.context_in_dim
    return getattr(network, "text_dim" if family is WAN else "caption_channels", None)


def head_count(model) -> int:
    """The heads of attention in a ModelPatcher's network."""
    network = model.model.diffusion_model
    return network.num_attention_heads if family_of(model) is LTX else network.num_heads
