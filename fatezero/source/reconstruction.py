"""The source clip drawn again from its noise, and how exactly it comes back."""

import comfy.model_management
import comfy.samplers
import torch

from .source_run import SourceRun


def reconstruct(
    model, source: SourceRun, negative=None, cfg: float = 1.0, callback=None, disable_pbar: bool = False
) -> torch.Tensor:
    """The source clip drawn again from its noise under its own prompt, [n, c, h, w]; without guidance, or with that of a
    negative CONDITIONING."""
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": source.conditioning, **({} if negative is None else {"negative": negative})})
    guider.set_cfg(cfg)
    return clean_samples(model, source, _denoise(guider, source, callback, disable_pbar))


def clean_samples(model, source: SourceRun, samples: torch.Tensor) -> torch.Tensor:
    """Samples at the source's cleanest sigma as a clean latent: there they are scaled by sqrt(1 + sigma²)."""
    model = model.model
    return model.process_latent_out(model.process_latent_in(samples) / (1 + float(source.sigmas[0]) ** 2) ** 0.5)


def reconstruction_psnr(model, source: SourceRun, samples: torch.Tensor) -> float:
    """PSNR of a reconstruction's latent in dB; the peak is the range of the source's latent."""
    clean = source.trajectory[0] / (1 + float(source.sigmas[0]) ** 2) ** 0.5
    error = (model.model.process_latent_in(samples.cpu().float()) - clean).square().mean()
    return float(10 * torch.log10((clean.max() - clean.min()) ** 2 / error))


def reconstruction_error(model, source: SourceRun, samples: torch.Tensor) -> float:
    """||reconstruction - source|| / ||source|| of the latents; 0 is exact."""
    clean = source.trajectory[0] / (1 + float(source.sigmas[0]) ** 2) ** 0.5
    return float((model.model.process_latent_in(samples.cpu().float()) - clean).norm() / clean.norm())


def _denoise(guider, source: SourceRun, callback, disable_pbar: bool) -> torch.Tensor:
    noise = guider.model_patcher.model.process_latent_out(source.trajectory[-1])
    samples = guider.sample(
        torch.zeros_like(noise),
        noise,
        comfy.samplers.ksampler("euler"),
        source.sigmas.flip(0),
        callback=callback,
        disable_pbar=disable_pbar,
        seed=0,
    )
    return samples.to(comfy.model_management.intermediate_device())
