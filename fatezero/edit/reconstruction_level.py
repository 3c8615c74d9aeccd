"""A reconstruction of the source between two steps."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Reconstruction:
    """The source drawn again from its noise, at one step: latent at sigma and the denoised latent, [n, c, h, w]."""

    latent: torch.Tensor
    denoised: torch.Tensor
    sigma: float

    def at(self, sigma: float) -> torch.Tensor:
        """The latent that an Euler step to another sigma gives; at its own, `denoised` may not be known yet."""
        if sigma == self.sigma:
            return self.latent
        return self.latent + (sigma - self.sigma) * (self.latent - self.denoised) / self.sigma

    def to(self, device) -> "Reconstruction":
        """The same on another device."""
        return replace(self, latent=self.latent.to(device), denoised=self.denoised.to(device))
