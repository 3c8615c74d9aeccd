"""Sampling with a source run: the edit, and the reconstruction that tells how exact the inversion was."""

import comfy.model_management
import comfy.samplers
import torch

from ..prompts.prompt_edit import PromptEdit
from ..prompts.window import ALWAYS, Window
from ..source.reconstruction import denoise_by
from ..source.source_run import SourceRun
from ..voice import Voice
from .settings import BlendSettings
from .transformer.video_blend import blend_video_models
from .unet.edit_run import blend_attention


class WindowedGuider(comfy.samplers.CFGGuider):
    """Guidance in a window of the steps; outside it the negative's rows do not run (Kynkäänniemi et al. 2024)."""

    def __init__(self, model, source: SourceRun, window: Window):
        """model: ModelPatcher; source: tells which step a sigma belongs to; window: where there is guidance."""
        super().__init__(model)
        self.source, self.window = source, window

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        """As of CFGGuider."""
        step = self.source.step_at(float(timestep.flatten()[0]))
        scale = self.cfg if self.window.contains(step, self.source.steps) else 1.0
        conds = self.conds.get("negative"), self.conds["positive"]
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, *conds, scale, model_options=model_options or {}, seed=seed
        )


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
    sampler: str = "euler",
    guided: Window = ALWAYS,
    low_noise_model=None,
) -> torch.Tensor:
    """The edited latent as a VAE takes it, [n, c, h, w] or a video model's [1, c, F, h, w]: Attention Blend with the
    inversion's sigmas.

    Args:
        model: ModelPatcher, the one that the source was inverted with.
        source: The inverted clip.
        edit: What changes in the prompt.
        settings: How the edit is fused; for a video model as of `on_latent_frames`.
        positive: The target prompt's CONDITIONING.
        negative: CONDITIONING that guidance leads away from.
        cfg: The scale of the guidance.
        callback: ComfyUI's (step, denoised, x, total).
        disable_pbar: Whether to hide the progress bar.
        voice: Tells the price of the run, and signs its refusals.
        sampler: The name of one of ComfyUI's.
        guided: The steps with guidance.
        low_noise_model: The second of two models that the source was inverted with, or None.
    """
    if source.cell.is_video:
        blended = blend_video_models(model, low_noise_model, source, edit, settings, voice)
    else:
        blended = [blend_attention(model, source, edit, settings, voice)]
    guiders = [WindowedGuider(each, source, guided) for each in blended]
    for guider in guiders:
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
    return denoise_by(guiders, source, comfy.samplers.ksampler(sampler), callback, disable_pbar)
