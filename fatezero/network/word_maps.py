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
    """The layers from which masks are read, and height and width that all of their maps are brought to.

    They are the same in every step, also where another node shrinks them in some (Kohya Deep Shrink).
    """

    layers: frozenset[Layer]
    size: tuple[int, int]

    def word_maps(self, query: torch.Tensor, key: torch.Tensor, extra: dict) -> torch.Tensor:
        """One layer's cross-attention averaged over heads, as float32 maps [n, T, h, w]."""
        height, width = layer_size(extra, query.shape[1])
        maps = cross_attention_map(query, key, extra["n_heads"])
        maps = maps.transpose(1, 2).reshape(query.shape[0], -1, height, width)
        if (height, width) == self.size:
            return maps
        return F.interpolate(maps, size=self.size, mode="area" if height > self.size[0] else "bilinear")


def mask_layers(
    diffusion_model, latent_height: int, latent_width: int, kept: Sequence[int] | None = None
) -> MaskLayers:
    """The layers of a ComfyUI UNetModel from which masks are read.

    A network's coarsest layers see what is in the picture and hardly where: the official code passes over Stable
    Diffusion's 8x8 layers. Where the layers that it would read are the coarsest, and coarser than those, all finer ones
    are read in their place.

    Args:
        diffusion_model: The network.
        latent_height, latent_width: Of the latent.
        kept: Height and width of the source's maps, whose layers are read for the target as well. Files of earlier
            versions may hold the coarsest.

    Returns:
        The layers, and the size of the finest of them.
    """
    areas = {
        layer: area
        for layer, area, _ in layer_areas(diffusion_model, latent_height, latent_width)
        if layer.kind == CROSS
    }
    sizes, wanted = set(areas.values()), mask_downsampling(latent_height, latent_width)
    official = min(sizes, key=lambda size: abs(latent_height / size[0] - wanted))
    too_coarse = official == min(sizes) and min(official) < OFFICIAL_CELLS
    read = sizes - {official} if too_coarse and len(sizes) > 1 else {official}
    if kept is not None and (size := (kept[0], kept[1])) in sizes and size != max(read):
        read = {size}
    return MaskLayers(frozenset(layer for layer, size in areas.items() if size in read), max(read))
