"""The source clip drawn again from its noise, and how exactly it comes back."""

import comfy.model_management
import comfy.samplers
import torch

from ..network.without_guidance import without_guidance
from .latent_cell import as_video, frames_first
from .schedule import rescaled
from .source_run import SourceRun


def reconstruct(
    model,
    source: SourceRun,
    negative=None,
    cfg: float = 1.0,
    callback=None,
    disable_pbar: bool = False,
    low_noise_model=None,
) -> torch.Tensor:
    """The source clip drawn again from its noise under its own prompt, by Euler's method.

    Args:
        model: ModelPatcher, that of the inversion.
        source: The inverted clip.
        negative: CONDITIONING for guidance; None for none.
        cfg: The guidance.
        callback: ComfyUI's callback(step, denoised, x, total).
        disable_pbar: Whether to hide the progress bar.
        low_noise_model: The second of two models, where the clip was inverted with two.

    Returns:
        The clip's latent as a VAE takes it, [n, c, h, w], or a video model's [1, c, F, h, w].
    """
    prompts = {"positive": source.conditioning, **({} if negative is None else {"negative": negative})}
    guiders = []
    for each in (model, low_noise_model):
        if each is not None:
            guiders.append(comfy.samplers.CFGGuider(without_guidance(each) if negative is None else each))
            guiders[-1].inner_set_conds(prompts)
            guiders[-1].set_cfg(cfg)
    sampler = comfy.samplers.ksampler("euler")
    return clean_samples(model, source, denoise_by(guiders, source, sampler, callback, disable_pbar))


def denoise(guider, source: SourceRun, sampler, callback=None, disable_pbar: bool = False) -> torch.Tensor:
    """What a guider and a sampler make of a source's noise at the inversion's own sigmas, [n, c, h, w]; still scaled as
    the cleanest of them wants it (`clean_samples`)."""
    return denoise_by([guider], source, sampler, callback, disable_pbar)


def denoise_by(guiders: list, source: SourceRun, sampler, callback=None, disable_pbar: bool = False) -> torch.Tensor:
    """As `denoise`, by a guider for each of the source's stages: of one model, or of two one after the other."""
    latent = inverted_noise(guiders[0].model_patcher, source)
    # A flow starts from sigma·noise + (1 - sigma)·latent: with both it is the inverted noise at any sigma.
    noise = as_video(source.trajectory[-1]) if source.cell.is_video else torch.zeros_like(latent)
    sigmas = source.sigmas.flip(0)
    for guider, steps in zip(guiders, source.stages, strict=True):
        if steps:
            levels, its_callback = sigmas[steps.start : steps.stop + 1], _of_all(callback, steps.start, source.steps)
            run = {"callback": its_callback, "disable_pbar": disable_pbar, "seed": 0}
            latent = guider.sample(noise, latent, sampler, levels, **run)
            noise = torch.zeros_like(noise)  # the next model goes on from what is left of it
    return latent.to(comfy.model_management.intermediate_device())


def _of_all(callback, first: int, total: int):
    """ComfyUI's callback for a part of the steps that begins at `first`, of so many in all."""
    if callback is None:
        return None
    return lambda step, denoised, x, _: callback(first + step, denoised, x, total)


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
