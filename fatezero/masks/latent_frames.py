"""Masks on the cells of a video model's latent, whose frames hold several of the clip's."""

import torch
import torch.nn.functional as F

from ..refusal import Refusal


def mask_to_latent(mask: torch.Tensor, frames_per_latent: int, shape: torch.Size) -> torch.Tensor:
    """A clip's mask on its latent's cells; a cell changes where any pixel of its frames may.

    Args:
        mask: [1 or n, H, W] of 0..1; one mask serves all frames. n: as of `of_kept_frames`.
        frames_per_latent: How many frames a latent frame holds, but the first, which holds one.
        shape: The latent's, [1, c, F, h, w].

    Returns:
        [1, 1, F, h, w] of 0..1.

    Raises:
        Refusal: As of `of_kept_frames`.

    >>> mask = torch.zeros(5, 16, 16)
    >>> mask[3, 0, 0] = 1
    >>> mask_to_latent(mask, 4, torch.Size([1, 16, 2, 2, 2])).flatten().tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    frames, height, width = shape[2:]
    mask = of_kept_frames(mask, 1 + (frames - 1) * frames_per_latent, frames_per_latent)
    cells = F.adaptive_max_pool2d(mask.float()[:, None], (height, width))[:, 0]
    if len(mask) == 1:
        return cells.expand(frames, -1, -1)[None, None]
    later = cells[1:].unflatten(0, (frames - 1, frames_per_latent)).amax(dim=1)
    return torch.cat([cells[:1], later])[None, None]


def of_kept_frames(mask: torch.Tensor, kept: int, frames_per_latent: int) -> torch.Tensor:
    """A clip's mask for the frames that a video model's VAE has kept of it: the VAE leaves the last ones out.

    Args:
        mask: [1 or n, H, W].
        kept: How many frames there are now, 1 + a multiple of `frames_per_latent`.
        frames_per_latent: As of `mask_to_latent`.

    Returns:
        [1 or kept, H, W].

    Raises:
        Refusal: For a mask that is neither of the frames before nor of those kept.
    """
    lost = len(mask) - kept
    if len(mask) == 1 or 0 <= lost < frames_per_latent:
        return mask[:kept]
    raise Refusal(
        f"'mask' has {len(mask)} frames, but of the clip the model's VAE has kept {kept} (1 + a multiple of "
        f"{frames_per_latent}); use one mask, or load as many frames."
    )
