"""Latents outside the mask, put back to the source's under any deterministic sampler.

An Euler step is told where to land: on the source's latent of the next level. Any other sampler would carry such a
jump on through its later steps. So it is told, in each step alike, where the latents are put back for the last time,
which every sampler reaches on a straight line, and the model itself is shown the source's latent on the way.
"""

from collections.abc import Callable

import torch

from ..source.source_run import SourceRun
from .settings import BlendSettings, blends_latents, official_blend


def steps_by_euler(sampler) -> bool:
    """Whether a sampler of ComfyUI takes Euler steps; "ddim" does, too."""
    return getattr(getattr(sampler, "sampler_function", None), "__name__", "") == "sample_euler"


class LatentBlend:
    """The latents of one run outside the mask; n is 1 and each frame a place more where a video is one latent.

    mask: of the step before, to multiply a latent with, 0..1; None where that was not blended.
    """

    def __init__(
        self,
        source: SourceRun,
        settings: BlendSettings,
        latent_at: Callable[[float, torch.Tensor], torch.Tensor],
        by_euler: bool,
    ):
        """Of a run.

        Args:
            source: Its source.
            settings: Its settings.
            latent_at: The source's latent at a sigma, like a latent of the edit.
            by_euler: Whether its sampler takes Euler steps.
        """
        self.source, self.settings, self.latent_at, self.by_euler = source, settings, latent_at, by_euler
        self.mask: torch.Tensor | None = None

    def shown(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """What the model is shown of the sampler's latent x, [n, c, ...], at a sigma."""
        if self.mask is None or self.by_euler:
            return x
        source_latent = self.latent_at(sigma, x)
        return source_latent + self.mask.to(x) * (x - source_latent)

    def landing(self, step: int, sigma: float, schedule: torch.Tensor) -> float | None:
        """The level at which the source's latents are put back.

        Args:
            step: 0 is the noisiest.
            sigma: Its level.
            schedule: The run's sigmas, falling.

        Returns:
            Of an Euler step the next level, else the last one of the run or of the window; None without blending.
        """
        if not blends_latents(self.settings, step, self.source.steps):
            return None
        lower = [float(level) for level in schedule if level < sigma * (1 - 1e-5)]
        if self.by_euler or not lower:
            return lower[0] if lower else None
        return next((level for level in lower if not self.goes_on(level)), lower[-1])

    def goes_on(self, sigma: float) -> bool:
        """Whether a step that begins at a sigma is blended, too."""
        return sigma > 0 and blends_latents(self.settings, self.source.step_at(sigma), self.source.steps)

    def put_back(
        self, x: torch.Tensor, denoised: torch.Tensor, mask: torch.Tensor, sigma: float, landing: float
    ) -> torch.Tensor:
        """The denoised latent that leads to the source's latent outside the mask.

        Args:
            x: The sampler's latent at sigma, [n, c, ...].
            denoised: The model's x_0, like x.
            mask: 1 where the edit stays, 0..1, to multiply x with.
            sigma: The level.
            landing: As of `landing`.

        Returns:
            Like x.
        """
        if official_blend(self.settings) and self.by_euler:  # the latent z before the step, taken for the one after it
            source_latent = self.latent_at(sigma, x) * ((1 + landing**2) / (1 + sigma**2)) ** 0.5
        else:
            source_latent = self.latent_at(landing, x)
        return blend_denoised(x, denoised, source_latent, mask.to(x), sigma, landing)


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
