"""Sampling with a source run: the edit, and the reconstruction that tells how exact the inversion was."""

import comfy.model_management
import comfy.samplers
import torch

from ..source.reconstruction import denoise
from ..source.source_run import SourceRun
from .edit_run import blend_attention


def sample_edit(
    model, source: SourceRun, edit, settings, positive, negative, cfg: float, callback=None, disable_pbar: bool = False
) -> torch.Tensor:
    """The edited latent [n, c, h, w] as a VAE takes it: Attention Blend under euler with the inversion's sigmas."""
    guider = comfy.samplers.CFGGuider(blend_attention(model, source, edit, settings))
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return denoise(guider, source, comfy.samplers.ksampler("euler"), callback, disable_pbar)
