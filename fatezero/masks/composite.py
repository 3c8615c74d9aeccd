"""Puts an edited clip back over the original, so that nothing outside the mask differs from it by a single bit."""

import torch
from comfy.model_management import throw_exception_if_processing_interrupted


def composite(original: torch.Tensor, edited: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """original + mask * (edited - original), and the original itself, bit by bit, where the mask is 0.

    Args:
        original: The clip before the edit, [n, H, W, 3], finite.
        edited: The clip after it, of the same shape.
        mask: [n or 1, H, W] of 0..1.

    Returns:
        A new tensor in the original's dtype.
    """
    result = original.clone()
    for index, frame in enumerate(result):
        throw_exception_if_processing_interrupted()
        weight = mask[index if len(mask) > 1 else 0].to(frame)[..., None]
        mixed = torch.lerp(frame, edited[index].to(frame), weight)
        frame.copy_(torch.where(weight > 0, mixed, frame))
    return result
