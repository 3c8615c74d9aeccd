"""Sampling with a source run: the edit, and the reconstruction that tells how exact the inversion was."""

import comfy.model_management
import comfy.samplers
import torch

from ..prompts.prompt_edit import PromptEdit
from ..source.reconstruction import denoise
from ..source.source_run import SourceRun
from ..voice import Voice
from .edit_run import blend_attention
from .settings import BlendSettings


def sample_edit(
    model,
    source: SourceRun,
    edit: PromptEdit,
    settings: BlendSettings,
    positive,
    negative,
    cfg: float,
    callback=None,
    disable_pbar: bool = False,
    voice: Voice | None = None,
) -> torch.Tensor:
    """The edited latent [n, c, h, w] as a VAE takes it: Attention Blend under euler with the inversion's sigmas.

    Args:
        model: ModelPatcher, the one that the source was inverted with.
        source: The inverted clip.
        edit: What changes in the prompt.
        settings: How the edit is fused.
        positive: The target prompt's CONDITIONING.
        negative: CONDITIONING that guidance leads away from.
        cfg: The scale of the guidance.
        callback: ComfyUI's (step, denoised, x, total).
        disable_pbar: Whether to hide the progress bar.
        voice: Tells the price of the run, and signs its refusals.
    """
    guider = comfy.samplers.CFGGuider(blend_attention(model, source, edit, settings, voice))
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return denoise(guider, source, comfy.samplers.ksampler("euler"), callback, disable_pbar)
