"""Latents outside the mask, put back to the source's under any deterministic sampler.

An Euler step is told where to land: on the source's latent of the next level. Any other sampler would carry such a
jump on through its later steps. So it is told, in each step alike, where the latents are put back for the last time,
which every sampler reaches on a straight line, and the model itself is shown the source's latent on the way. Samplers
that remember steps before the first blended one, or step by the negative's prediction (cfg_pp), come near it.
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

    mask: of the step before, to multiply a latent with, 0..1; None where that was not blended. target: the denoised
    latent that it led to outside the mask.
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
        self.target: torch.Tensor | None = None

    def shown(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """What the model is shown of the sampler's latent x, [n, c, ...], at a sigma."""
        if self.mask is None or self.by_euler:
            return x
        source_latent = self.latent_at(sigma, x)
        return source_latent + self.mask.to(x) * (x - source_latent)

    def put_back(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,
        sigma: float,
        schedule: list[float],
        find_mask: Callable[[], torch.Tensor | None],
    ) -> torch.Tensor:
        """The denoised latent that leads to the source's latent outside the mask.

        Args:
            x: The sampler's latent at sigma, [n, c, ...].
            denoised: The model's x_0, like x.
            sigma: The level.
            schedule: The run's sigmas, falling.
            find_mask: Gives the step's mask, 1 where the edit stays, 0..1, to multiply x with; None for no mask.

        Returns:
            Like x; as it was in steps that are not blended.
        """
        lower = [level for level in schedule if level < sigma * (1 - 1e-5)]
        if not lower:  # a sampler that looks ahead to the run's last level
            return self.led_on(denoised)
        self.mask = find_mask() if self.is_blended(sigma) else None
        if self.mask is None:
            return denoised
        mask, landing = self.mask.to(x), self.landing(lower)
        if official_blend(self.settings) and self.by_euler:  # the latent z before the step, taken for the one after it
            source_latent = self.latent_at(sigma, x) * ((1 + landing**2) / (1 + sigma**2)) ** 0.5
        else:
            source_latent = self.latent_at(landing, x)
        self.target = None if self.by_euler else blend_denoised(x, denoised, source_latent, 0 * mask, sigma, landing)
        return blend_denoised(x, denoised, source_latent, mask, sigma, landing)

    def led_on(self, denoised: torch.Tensor) -> torch.Tensor:
        """A denoised latent that leads where that of the step before did."""
        if self.mask is None or self.target is None:
            return denoised
        return self.target + self.mask.to(denoised) * (denoised - self.target)

    def landing(self, lower: list[float]) -> float:
        """The level at which the source's latents are put back: of an Euler step the next one, else the last of the run
        or of the window.

        Args:
            lower: The run's levels below the step's, falling.
        """
        if self.by_euler:
            return lower[0]
        return next((level for level in lower if not self.is_blended(level)), lower[-1])

    def is_blended(self, sigma: float) -> bool:
        """Whether a step that begins at a sigma is blended."""
        return sigma > 0 and blends_latents(self.settings, self.source.step_at(sigma), self.source.steps)


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
