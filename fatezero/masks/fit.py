"""A mask of the original footage, brought to the frames that were taken from it."""

import torch

from ..refusal import Refusal
from ..video.clip import ClipFit
from ..video.frames import place


def fit_mask(mask: torch.Tensor, fit: ClipFit) -> torch.Tensor:
    """A mask scaled, cut and padded as the frames were, and of the same frames.

    Args:
        mask: [1 or n, h, w] of 0..1, finite. n: as many as were taken, or as the footage has; of any size in its
            aspect, such as a frame's at full size.
        fit: How the frames came out of the footage.

    Returns:
        float32 [1 or frames, height, width] of the frames' size; 0 on their bars.

    Raises:
        Refusal: The mask has another number of frames, or ends before the last one that was taken.
    """
    mask = mask.float().clamp(0, 1)
    frames, last = len(fit.taken), max(fit.taken)
    if len(mask) not in (1, frames):
        if len(mask) <= last:
            raise Refusal(
                f"'mask' has {len(mask)} frames, but {frames} were taken of the clip, up to its frame {last}; connect "
                f"one mask, {frames}, or one for each frame of the clip."
            )
        mask = mask[list(fit.taken)]
    where = fit.where
    if mask.shape[-1:-3:-1] == where.target:
        return mask
    return place(mask.movedim(0, -1), where).movedim(-1, 0)
