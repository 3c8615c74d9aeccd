"""An inverted clip edited by a video model: the edit's attention fused with the source's, rows in sequence.

The source's row is fed what the inversion left, or is drawn again beside the edit; as in coupled sampling, one layer's
queries and keys are held. Euler's method, at the sigmas of the inversion.
"""

from dataclasses import replace

import comfy.samplers
import torch

from ...masks.latent_frames import mask_to_latent
from ...network.transformer.families import require_family
from ...network.transformer.word_maps import token_grid
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import ALWAYS, Window
from ...source.latent_cell import as_video
from ...source.reconstruction import denoise
from ...source.source_run import SourceRun
from ..chunk_fusion import edit_mask
from ..fusion import cross_weights
from ..settings import INPUT_MASK, INVERSION, WORDS_IN_MASK, BlendSettings, blends_latents, reads_words
from .coupled_sampling import CoupledGuider, CoupledSettings


def sample_video_edit(
    model,
    source: SourceRun,
    edit: PromptEdit,
    settings: BlendSettings,
    positive,
    negative,
    cfg: float,
    callback=None,
    disable_pbar: bool = False,
    guided: Window = ALWAYS,
) -> torch.Tensor:
    """The edited latent [1, c, F, h, w] as a VAE takes it; arguments as of `sampling.sample_edit`."""
    guider = VideoEditGuider(model, source, edit, settings, guided)
    guider.set_prompts(source.conditioning, positive, negative, cfg)
    return denoise(guider, source, VideoEditSampler(guider), callback, disable_pbar)


class VideoEditGuider(CoupledGuider):
    """Denoises an edit and, in the same call of the model, the source that was inverted."""

    def __init__(self, model, source: SourceRun, edit: PromptEdit, blend: BlendSettings, guided: Window = ALWAYS):
        super().__init__(model, require_family(model), edit, CoupledSettings(), source.steps)
        self.source, self.blend, self.guided, self.scale = source, blend, guided, 1.0
        self.grid = token_grid(model, as_video(source.trajectory[0]).shape)

    def set_prompts(self, source, positive, negative, cfg: float) -> None:
        """As of CoupledGuider."""
        super().set_prompts(source, positive, negative, cfg)
        self.scale = cfg

    def begin_step(self, step: int, source_latent: torch.Tensor) -> None:
        """As of CoupledGuider; `step` is of the inversion's schedule, 0 the noisiest."""
        self.source_latent = source_latent
        self.set_cfg(self.scale if self.guided.contains(step, self.steps) else 1.0)
        self.fusion.fuse_self = self.blend.self_window.contains(step, self.steps)
        self.fusion.cross = cross_weights(self.edit, self.blend.cross_window, step, self.steps)
        self.fusion.own = None
        if self.fusion.fuse_self and self.blend.mask_self_attention:
            mask = self.mask(step, self.grid[1:], source_latent.device)
            if mask is not None:
                self.fusion.own = mask.reshape(1, -1)

    def mask(self, step: int, size: tuple[int, int], device: torch.device) -> torch.Tensor | None:
        """Where each latent frame keeps the edit's own, [F, height, width] of 0..1, or None for nowhere; of words
        those of the source prompt."""
        source, sigma = self.source, float(self.source.sigmas[self.steps - step])
        words = source.word_maps_at(sigma).to(device) if reads_words(self.blend) else None
        return edit_mask(self.blend, self.edit, size, range(source.frames), device, words)


class VideoEditSampler(comfy.samplers.Sampler):
    """Euler's method for an edit, and beside it for the source where that is drawn again."""

    def __init__(self, guider: VideoEditGuider):
        self.guider, self.source, self.settings = guider, guider.source, guider.blend

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        """The edited latent, from the inverted noise; both [1, c, F, h, w] in the model's own scale."""
        x, steps = latent_image, len(sigmas) - 1
        drawn = x.clone()
        for step in range(steps):
            sigma, following = float(sigmas[step]), float(sigmas[step + 1])
            fed = self.inverted(sigma, x) if self.settings.attention_from == INVERSION else drawn
            self.guider.begin_step(step, fed)
            denoised = model_wrap(x, x.new_full((len(x),), sigma), **extra_args)
            size = (following - sigma) / sigma
            drawn = drawn + size * (drawn - self.guider.source_denoised)
            x = x + size * (x - denoised)
            if blends_latents(self.settings, step, steps):
                x = self.blended(x, drawn, step, following)
            if callback is not None:
                callback(step, denoised, x, steps)
        return x

    def inverted(self, sigma: float, like: torch.Tensor) -> torch.Tensor:
        """What the inversion left at a sigma, [1, c, F, h, w]."""
        return as_video(self.source.latent_at(sigma)).to(like)

    def blended(self, x: torch.Tensor, drawn: torch.Tensor, step: int, following: float) -> torch.Tensor:
        """The edit's latent after a step, outside the mask the source's at that level."""
        mask = self.guider.mask(step, (x.shape[-2], x.shape[-1]), x.device)
        if mask is None:
            return x
        source = self.inverted(following, x) if self.settings.attention_from == INVERSION else drawn
        return torch.lerp(source, x, mask[None, None].to(x))


def on_latent_frames(settings: BlendSettings, source: SourceRun) -> BlendSettings:
    """The settings with the person's mask on the cells of the source's latent, one for each latent frame."""
    if settings.mask is None or settings.mask_from not in (INPUT_MASK, WORDS_IN_MASK):
        return settings
    shape = as_video(source.trajectory[0]).shape
    return replace(settings, mask=mask_to_latent(settings.mask, source.cell.frames, shape)[0, 0])
