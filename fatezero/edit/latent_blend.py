"""Latents outside the mask, put back to the source's by telling an Euler step where to land."""

from collections.abc import Callable

import torch

from ..source.source_run import SourceRun
from .settings import BlendSettings, blends_latents, official_blend

EMPTY_MASK = (
    "! the mask was empty in every step, so that the clip stays as it is; draw a mask, or name in 'mask words' what is "
    "plain to see in the clip"
)


def put_back(
    source: SourceRun,
    settings: BlendSettings,
    latent_at: Callable[[float, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    denoised: torch.Tensor,
    sigma: float,
    schedule: list[float],
    find_mask: Callable[[], torch.Tensor | None],
) -> torch.Tensor:
    """The denoised latent that leads to the source's latent outside the mask.

    Args:
        source: The run's.
        settings: The run's.
        latent_at: The source's latent at a sigma, like a latent of the edit.
        x: The sampler's latent at sigma, [n, c, ...].
        denoised: The model's x_0, like x.
        sigma: The level.
        schedule: The run's sigmas, falling.
        find_mask: Gives the step's mask, 1 where the edit stays, 0..1, to multiply x with; None for no mask.

    Returns:
        Like x; as it was in steps that are not blended.
    """
    following = next((level for level in schedule if level < sigma * (1 - 1e-5)), None)
    if following is None or not blends_latents(settings, source.step_at(sigma), source.steps):
        return denoised
    mask = find_mask()
    if mask is None:
        return denoised
    if official_blend(settings):  # the latent z before the step, taken for the one after it
        source_latent = latent_at(sigma, x) * ((1 + following**2) / (1 + sigma**2)) ** 0.5
    else:
        source_latent = latent_at(following, x)
    return blend_denoised(x, denoised, source_latent, mask.to(x), sigma, following)


def blend_denoised(
    x: torch.Tensor,
    denoised: torch.Tensor,
    source_latent: torch.Tensor,
    mask: torch.Tensor,
    sigma: float,
    next_sigma: float,
) -> torch.Tensor:
    """The denoised latent with which an edit lands on the source's latent outside the mask.

    With an Euler step x' = r x + (1 - r) x_0, r = sigma'/sigma, it solves
    x' = source + mask (r x + (1 - r) x_0 - source) for x_0.

    Args:
        x: The edit's latent at sigma, [n, c, ...].
        denoised: The model's x_0, like x.
        source_latent: The source's latent at next_sigma, like x.
        mask: 1 where the edit stays, 0..1, to multiply x with.
        sigma: The level of x.
        next_sigma: The level at which the edit is to land.

    Returns:
        Like x.

    >>> x, source = torch.tensor([4.0, 4.0]), torch.tensor([1.0, 1.0])
    >>> blended = blend_denoised(x, torch.zeros(2), source, torch.tensor([0.0, 1.0]), sigma=2.0, next_sigma=1.0)
    >>> 0.5 * x + 0.5 * blended  # the Euler step: the source outside the mask, the edit inside
    tensor([1., 2.])
    """
    ratio = next_sigma / sigma
    following = ratio * x + (1 - ratio) * denoised
    blended = source_latent + mask * (following - source_latent)
    return (blended - ratio * x) / (1 - ratio)
