"""Masks as pictures: checked, resized, grown, smoothed over time and drawn over a clip."""

import torch
import torch.nn.functional as F


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


def smooth_mask(mask: torch.Tensor, frames: int) -> torch.Tensor:
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
