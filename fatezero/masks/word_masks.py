"""Masks from cross-attention: where in each frame the words of a prompt are (FateZero Eq. 6)."""

import torch
import torch.nn.functional as F

AUTOMATIC = 0.0  # as a threshold: one for each frame, by itself (a real threshold of 0 would leave nothing out)
OFFICIAL_CELLS = 16  # height and width of the maps that the official code reads masks from, at 512x512


def cross_attention_map(query: torch.Tensor, key: torch.Tensor, heads: int) -> torch.Tensor:
    """Cross-attention probabilities averaged over the heads.

    query: [n, h·w, heads·d]; key: [n, T, heads·d]. Returns float32 [n, h·w, T], each row summing to 1.
    """
    batch, tokens, width = query.shape
    query = query.reshape(batch, tokens, heads, -1).transpose(1, 2).float()
    key = key.reshape(batch, key.shape[1], heads, -1).transpose(1, 2).float()
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    return scores.softmax(dim=-1).mean(dim=1)


def mask_downsampling(latent_height: int, latent_width: int) -> int:
    """How much coarser than the latent the layers are from which masks are read.

    4, the official code's 16x16 layers at 512x512, halved while their shorter side would be under 8.
    """
    downsampling = 4
    while downsampling > 1 and min(latent_height, latent_width) / downsampling < 8:
        downsampling //= 2
    return downsampling


def words_mask(word_maps: torch.Tensor, tokens, size: tuple[int, int], threshold: float) -> torch.Tensor:
    """One binary mask per frame from the attention that some words get.

    word_maps: [n, T, h, w]; tokens: indices of the words' tokens; size: (height, width) of the mask; threshold: tau,
    0..1, compared with the map divided by its maximum in the frame (strictly greater; 1 gives an empty mask), or
    AUTOMATIC. Returns float32 [n, height, width] of 0 and 1; empty where no token is given.
    Source: FateZero Eq. 6; as the official code: sum over tokens, 3x3 max-pool, nearest resize, normalise, threshold.
    """
    return heat_mask(words_heat(word_maps, tokens, size), threshold)


def words_heat(word_maps: torch.Tensor, tokens, size: tuple[int, int]) -> torch.Tensor:
    """The attention map that `words_mask` thresholds, 0..1 in each frame; float32 [n, height, width].

    Maps of fewer than 16 cells are first brought to 16 on their shorter side, so that the max-pool widens by no more of
    the frame than in the official code.
    """
    frames, height, width = word_maps.shape[0], *word_maps.shape[-2:]
    if len(tokens) == 0:
        return torch.zeros(frames, *size, device=word_maps.device)
    heat = word_maps[:, list(tokens)].float().sum(dim=1, keepdim=True)
    if (finer := OFFICIAL_CELLS / min(height, width)) > 1:
        heat = F.interpolate(heat, size=(round(height * finer), round(width * finer)), mode="bilinear")
    heat = F.interpolate(F.max_pool2d(heat, 3, stride=1, padding=1), size=size)[:, 0]
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def heat_mask(heat: torch.Tensor, threshold: float) -> torch.Tensor:
    """Where the heat [n, h, w] of 0..1 is above a threshold, or where AUTOMATIC is above the one of its frame."""
    return (heat > (automatic_thresholds(heat) if threshold == AUTOMATIC else threshold)).float()


def automatic_thresholds(heat: torch.Tensor) -> torch.Tensor:
    """The heat that parts each frame's places best into two groups; [n, 1, 1].

    Best: the greatest variance between the groups, w(1 - w)(m_1 - m_0)² with the share w and the means m. A frame of one
    value gets that value, and so an empty mask. Source: Otsu 1979.
    """
    values = heat.flatten(1).double().sort(dim=1).values
    count = values.shape[1]
    below = torch.arange(1, count + 1, device=heat.device)
    sums = values.cumsum(dim=1)
    share = below / count
    means = sums / below
    others = (sums[:, -1:] - sums) / (count - below).clamp_min(1)
    between = share * (1 - share) * (others - means) ** 2
    return values.gather(1, between.argmax(dim=1, keepdim=True))[..., None].to(heat)


def checked_mask(mask: torch.Tensor, images: torch.Tensor, name: str, node: str) -> torch.Tensor:
    """The mask as float [1 or n, H, W] of 0..1, if it suits the images [n, H, W, 3] of a node's input `name`."""
    mask = mask[None] if mask.ndim == 2 else mask
    frames, height, width = images.shape[:3]
    if mask.ndim != 3 or mask.shape[1:] != (height, width):
        found = "x".join(str(side) for side in reversed(mask.shape[1:]))
        raise ValueError(f"{node}: 'mask' is {found} but '{name}' is {width}x{height}; resize the mask to that size.")
    if len(mask) not in (1, frames):
        raise ValueError(
            f"{node}: 'mask' has {len(mask)} frames but '{name}' has {frames}; connect one mask, or one for each frame."
        )
    if not torch.isfinite(mask).all():
        raise ValueError(f"{node}: 'mask' has invalid numbers (NaN or infinite); look for the node that made them.")
    return mask.float().clamp(0, 1)


def resize_mask(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask [n, H, W] of values 0..1 at another size, averaged over the area; [n, height, width]."""
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    return F.interpolate(mask[:, None].float(), size=size, mode="area")[:, 0]


def grow_mask(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Grows (or, for negative pixels, shrinks) a mask [n, H, W] by a square of that radius."""
    radius = abs(pixels)
    if radius == 0:
        return mask
    padded = F.pad(mask[:, None], (radius,) * 4, mode="replicate")
    window = 2 * radius + 1
    pooled = F.max_pool2d(padded, window, 1) if pixels > 0 else -F.max_pool2d(-padded, window, 1)
    return pooled[:, 0]


def smooth_over_time(mask: torch.Tensor, frames: int) -> torch.Tensor:
    """Averages a mask [n, H, W] over `frames` neighbours on each side, ends repeated; frames 0 leaves it as it is."""
    if frames == 0:
        return mask
    index = torch.arange(mask.shape[0], device=mask.device)
    window = [mask[(index + offset).clamp(0, mask.shape[0] - 1)] for offset in range(-frames, frames + 1)]
    return torch.stack(window).mean(dim=0)


def overlay(images: torch.Tensor, mask: torch.Tensor, color=(1.0, 0.1, 0.1), strength: float = 0.5) -> torch.Tensor:
    """Images [n, H, W, 3] of 0..1 with the mask [n, H, W] tinted in; a new tensor."""
    result = images.clone()
    tint = torch.tensor(color, dtype=images.dtype, device=images.device)
    for frame, weight in zip(result, mask.expand(len(images), -1, -1)):  # one by one: a long clip has no room to spare
        frame.lerp_(tint.expand_as(frame), weight[..., None] * strength)
    return result
