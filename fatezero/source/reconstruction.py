"""The source clip drawn again from its noise, and how exactly it comes back."""

import comfy.model_management
import comfy.samplers
import torch

from ..network.without_guidance import without_guidance
from .latent_cell import as_video, frames_first
from .schedule import rescaled
from .source_run import SourceRun


def reconstruct(
    model, source: SourceRun, negative=None, cfg: float = 1.0, callback=None, disable_pbar: bool = False
) -> torch.Tensor:
    """The source clip drawn again from its noise under its own prompt, by Euler's method.

    Args:
        model: ModelPatcher, that of the inversion.
        source: The inverted clip.
        negative: CONDITIONING for guidance; None for none.
        cfg: The guidance.
        callback: ComfyUI's callback(step, denoised, x, total).
        disable_pbar: Whether to hide the progress bar.

    Returns:
        The clip's latent as a VAE takes it, [n, c, h, w], or a video model's [1, c, F, h, w].
    """
    guider = comfy.samplers.CFGGuider(without_guidance(model) if negative is None else model)
    guider.inner_set_conds({"positive": source.conditioning, **({} if negative is None else {"negative": negative})})
    guider.set_cfg(cfg)
    return clean_samples(
        model, source, denoise(guider, source, comfy.samplers.ksampler("euler"), callback, disable_pbar)
    )


def denoise(guider, source: SourceRun, sampler, callback=None, disable_pbar: bool = False) -> torch.Tensor:
    """What a guider and a sampler make of a source's noise at the inversion's own sigmas, [n, c, h, w]; still scaled as
    the cleanest of them wants it (`clean_samples`)."""
    noise = inverted_noise(guider.model_patcher, source)
    samples = guider.sample(
        # A flow starts from sigma·noise + (1 - sigma)·latent: with both it is the inverted noise at any sigma.
        as_video(source.trajectory[-1]) if source.cell.is_video else torch.zeros_like(noise),
        noise,
        sampler,
        source.sigmas.flip(0),
        callback=callback,
        disable_pbar=disable_pbar,
        seed=0,
    )
    return samples.to(comfy.model_management.intermediate_device())


def inverted_noise(model, source: SourceRun) -> torch.Tensor:
    """The end of the inversion as ComfyUI's samplers take a latent, [n, c, h, w], or a video model's [1, c, F, h, w];
    they must add no noise to it."""
    end = source.trajectory[-1]
    return model.model.process_latent_out(as_video(end) if source.cell.is_video else end)


def clean_samples(model, source: SourceRun, samples: torch.Tensor) -> torch.Tensor:
    """Samples at the source's cleanest sigma as a clean latent, [n, c, h, w]; of a flow they are that already."""
    if source.cell.is_video:
        return samples
    model = model.model
    return model.process_latent_out(rescaled(model.process_latent_in(samples), float(source.sigmas[0]), 0.0))


def reconstruction_psnr(model, source: SourceRun, samples: torch.Tensor) -> float:
    """PSNR of a reconstruction's latent in dB; the peak is the range of the source's latent."""
    clean, drawn = _compared(model, source, samples)
    return float(10 * torch.log10((clean.max() - clean.min()) ** 2 / (drawn - clean).square().mean()))


def reconstruction_error(model, source: SourceRun, samples: torch.Tensor) -> float:
    """||reconstruction - source|| / ||source|| of the latents; 0 is exact."""
    clean, drawn = _compared(model, source, samples)
    return float((drawn - clean).norm() / clean.norm())


def _compared(model, source: SourceRun, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The source's clean latent and a reconstruction's, as the model works on them."""
    drawn = model.model.process_latent_in(samples.cpu().float())
    if source.cell.is_video:
        return source.trajectory[0], frames_first(drawn)
    return rescaled(source.trajectory[0], float(source.sigmas[0]), 0.0), drawn
