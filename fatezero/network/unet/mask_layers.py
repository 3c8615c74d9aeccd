"""The layers of a UNet whose cross-attention says where words are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..attention_layers import CROSS, Layer
from ..word_maps import OFFICIAL_CELLS, cross_attention_map
from .attention import layer_size
from .layer_sizes import layer_areas


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
