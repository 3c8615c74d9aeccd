"""Where a prompt's tokens are looked at: cross-attention as maps over the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .attention_layers import CROSS, Layer
from .unet.attention import layer_size
from .unet.layer_sizes import layer_areas

OFFICIAL_CELLS = 16  # height and width of the maps that the official code reads masks from, at 512x512


def cross_attention_map(
    query: torch.Tensor, key: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-attention probabilities averaged over the heads.

    query: [n, h·w, heads·d]; key: [n, T, heads·d]; mask: as ComfyUI's attention takes it, bool [n, T], or a number to
    add to the scores, 2 to 4 dimensions that end in [.., T]. Returns float32 [n, h·w, T], each row summing to 1.
    """
    batch, tokens, width = query.shape
    query = query.reshape(batch, tokens, heads, -1).transpose(1, 2).float()
    key = key.reshape(batch, key.shape[1], heads, -1).transpose(1, 2).float()
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask.reshape(len(mask), 1, 1, -1), -torch.inf)
    elif mask is not None:
        scores = scores + (mask[:, None] if mask.ndim == 3 else mask)
    return scores.softmax(dim=-1).mean(dim=1)


def mask_downsampling(latent_height: int, latent_width: int) -> int:
    """How much coarser than the latent the layers are from which masks are read.

    4, the official code's 16x16 layers at 512x512, halved while their shorter side would be under 8.
    """
    downsampling = 4
    while downsampling > 1 and min(latent_height, latent_width) / downsampling < 8:
        downsampling //= 2
    return downsampling


@dataclass(frozen=True)
class MaskLayers:
    """The layers from which masks are read, and height and width of their maps.

    They are the same in every step, also where another node shrinks them in some (Kohya Deep Shrink).
    """

    layers: frozenset[Layer]
    size: tuple[int, int]

    def word_maps(self, query: torch.Tensor, key: torch.Tensor, extra: dict) -> torch.Tensor:
        """One layer's cross-attention averaged over heads, as float32 maps [n, T, h, w]."""
        height, width = layer_size(extra, query.shape[1])
        maps = cross_attention_map(query, key, extra["n_heads"])
        maps = maps.transpose(1, 2).reshape(query.shape[0], -1, height, width)
        return maps if (height, width) == self.size else F.interpolate(maps, size=self.size, mode="area")


def mask_layers(
    diffusion_model, latent_height: int, latent_width: int, kept: Sequence[int] | None = None
) -> MaskLayers:
    """The layers of a ComfyUI UNetModel from which masks are read.

    A network's coarsest layers see what is in the picture and hardly where: the official code passes over Stable
    Diffusion's 8x8 layers. So they are passed over here too where they are coarser than the layers that it reads.

    Args:
        diffusion_model: The network.
        latent_height, latent_width: Of the latent.
        kept: Height and width of the source's maps, whose layers are read for the target as well. Files of earlier
            versions may hold the coarsest.

    Returns:
        Layers of one size.
    """
    wanted = mask_downsampling(latent_height, latent_width)
    areas = {
        layer: area
        for layer, area, _ in layer_areas(diffusion_model, latent_height, latent_width)
        if layer.kind == CROSS
    }
    if kept is not None and tuple(kept) in areas.values():
        return _layers_of(areas, kept)
    coarsest = min(areas.values())
    finer = [area for area in areas.values() if area != coarsest]
    readable = finer if finer and min(coarsest) < OFFICIAL_CELLS else areas.values()
    size = min(readable, key=lambda area: abs(latent_height / area[0] - wanted))
    return _layers_of(areas, size)


def _layers_of(areas: dict[Layer, tuple[int, int]], size: Sequence[int]) -> MaskLayers:
    height, width = size
    return MaskLayers(frozenset(layer for layer, area in areas.items() if area == (height, width)), (height, width))
