"""With which latent a run of an edit starts, and what its samples are at the end."""

import torch

from ...prompts.prompt_edit import PromptEdit
from ...source.reconstruction import clean_samples
from ...source.source_run import SourceRun
from ..settings import BlendSettings
from ..start import check_stage, check_start
from .fresh_noise import with_fresh_noise


def starting_point(guider, source: SourceRun, noise, latent_image, sigmas) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and latent with which an edit starts, both [n, c, h, w].

    A sampler that adds no noise gets its latent as given; one that would add noise (plain KSampler) starts from the
    inverted latent of its first sigma instead, since random noise has nothing of the clip in it.
    """
    model = guider.model_patcher.model
    first = float(sigmas[0])
    inverted = model.process_latent_out(source.trajectory[-1])
    untouched = latent_image.shape == inverted.shape and torch.allclose(latent_image.float().cpu(), inverted, atol=1e-4)
    if not noise.any() and not untouched:
        if first >= float(source.sigmas[-1]) * 0.999:
            check_start(latent_image, inverted)
        else:
            given = model.process_latent_in(latent_image)
            check_stage(given, source.latent_at(first), source.trajectory[0])
        return noise, latent_image
    start = source.latent_at(first)
    beyond = first - float(source.sigmas[-1])
    if beyond > 0:  # as inversion would have gone on: the noise grows, the clip in it does not
        (before, end), sigmas = source.trajectory[-2:], source.sigmas[-2:]
        start = start + beyond * (end - before) / (sigmas[1] - sigmas[0])
    return torch.zeros_like(noise), model.process_latent_out(start).to(latent_image)


def freshened(guider, source: SourceRun, edit: PromptEdit, settings: BlendSettings, latent_image, sigma: float):
    """The latent [n, c, h, w] that a run begins with at a sigma, with fresh noise where the settings ask for it; one
    that a stage before has left stays as it is."""
    model = guider.model_patcher.model
    begins = sigma >= 0.999 * float(source.sigmas[-1]) or torch.allclose(
        latent_image.float().cpu(), model.process_latent_out(source.latent_at(sigma)), atol=1e-2
    )
    if not settings.fresh_noise or not begins:
        return latent_image
    latent = with_fresh_noise(model.process_latent_in(latent_image), sigma, source, edit, settings)
    return model.process_latent_out(latent)


def finished(guider, source: SourceRun, samples, sigmas) -> torch.Tensor:
    """The samples as a clean latent: a schedule that ends at alpha_bar_0 leaves them scaled by sqrt(1 + sigma²)."""
    last = float(sigmas[-1])
    if last == 0 or abs(last - float(source.sigmas[0])) > 1e-4 * last:
        return samples
    return clean_samples(guider.model_patcher, source, samples)
