"""How a latent's colours tell a thing from what is around it, or show a ground's pattern."""

import numpy as np
import torch
import torch.nn.functional as F

FINER = 2  # times the latent's cells, between which edges run
AROUND = 4  # finer cells around a mask, from which the ground's colours are taken
SMALLEST = 8  # finer cells: less of a thing tells nothing


def standing_out(latent: torch.Tensor, mask: torch.Tensor) -> np.ndarray | None:
    """The clip as pictures in which what a mask holds is light and what is around it dark (Fisher's discriminant).

    Args:
        latent: [n, c, h, w].
        mask: bool [n, FINER h, FINER w].

    Returns:
        float32 [n, FINER h, FINER w], about 0..1; None where there is too little inside, or around.
    """
    colors = finer_colors(latent)
    wide = F.max_pool2d(mask[:, None].float(), 2 * AROUND + 1, stride=1, padding=AROUND)[:, 0] > 0.5
    thing, ground = colors[mask], colors[wide & ~mask]
    if min(len(thing), len(ground)) < SMALLEST:
        return None
    spread = torch.cov(thing.T) + torch.cov(ground.T)
    spread += (1e-3 * spread.trace() + 1e-12) * torch.eye(len(spread))
    light = colors @ torch.linalg.solve(spread, thing.mean(dim=0) - ground.mean(dim=0))
    low, high = light[wide & ~mask].mean(), light[mask].mean()
    return ((light - low) / (high - low).clamp_min(1e-6)).clamp(-1, 2).numpy()


def commonest_pattern(latent: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """The clip by the pattern that most of what a mask holds has, of median 0; arguments and result as of
    `standing_out`. Strong colours of something small count by its area alone (spatial sign covariance, Locantore and
    others 1999)."""
    colors = finer_colors(latent)
    ground = colors[mask]
    if len(ground) < SMALLEST:
        ground = colors.flatten(0, 2)
    middle = ground.median(dim=0).values
    away = F.normalize(ground - middle, dim=1)
    axis = torch.linalg.eigh(away.T @ away).eigenvectors[:, -1]
    spread = 1.5 * ((ground - middle) @ axis).abs().median()  # a normal distribution's deviation
    return ((colors - middle) @ axis / spread.clamp_min(1e-9)).clamp(-4, 4).numpy()


def finer_colors(latent: torch.Tensor) -> torch.Tensor:
    """A latent [n, c, h, w] as [n, FINER h, FINER w, c], 0 where it overflowed."""
    latent = latent.float().cpu().nan_to_num(posinf=0, neginf=0)
    return F.interpolate(latent, scale_factor=FINER, mode="bicubic").movedim(1, -1)


def finer(mask: torch.Tensor) -> torch.Tensor:
    """A mask [n, h, w] of 0..1 as bool [n, FINER h, FINER w]."""
    return F.interpolate(mask.float().cpu()[:, None], scale_factor=FINER, mode="nearest")[:, 0] > 0.5
