"""Puts an edited clip back over the original, so that nothing outside the mask differs from it by a single bit."""

import torch
import torch.nn.functional as F


def feather_mask(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Softens the edge of a mask [n, H, W] of 0..1 into a ramp of `pixels` to each side.

    Two box blurs that reach that far together, so that what is 0 beyond their reach stays exactly 0.
    """
    for radius in (pixels // 2, pixels - pixels // 2):
        window = 2 * radius + 1
        mask = F.avg_pool2d(F.pad(mask[:, None], (radius,) * 4, mode="replicate"), window, 1)[:, 0]
    return mask.clamp(0, 1)


def composite(original: torch.Tensor, edited: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """original + mask * (edited - original), and the original itself, bit by bit, where the mask is 0.

    original, edited: [n, H, W, 3], finite; mask: [n or 1, H, W] of 0..1. Returns a new tensor in the original's dtype.
    """
    result = original.clone()
    for index, frame in enumerate(result):
        weight = mask[index if len(mask) > 1 else 0].to(frame)[..., None]
        mixed = torch.lerp(frame, edited[index].to(frame), weight)
        frame.copy_(torch.where(weight > 0, mixed, frame))
    return result
