"""Coupled sampling (FlowEdit, Kulikov et al. 2025): a clip and its edit are noised alike and denoised side by side.

Both rows carry the same noise, so that what they have in common cancels: with equal prompts the clip comes out as it
went in. No inversion is needed. Differs from FlowEdit in the attention fused between the rows, and in that the source's
row has no guidance.
"""

import math
from dataclasses import dataclass

import comfy.model_management
import comfy.samplers
import torch

from ...network.option_keys import SOURCE
from ...network.transformer.families import hidden_width, patch_size
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import Window
from ...refusal import bytes_in_words, counted
from ..fusion import cross_weights
from .source_row import SourceRow


@dataclass(frozen=True)
class CoupledSettings:
    """How a clip and its edit are sampled; shares are of the steps, counted from the noisiest.

    Attributes:
        cross_until: Share until which the edit's words attend where the source's do.
        self_until: Share until which the edit's self-attention is the source's.
        skip: Share of the first steps that are left out: more keeps more of the clip.
        drift: Share of the last steps in which the edit is sampled freely.
        mask: [1, 1, F, h, w] of 0..1 on the latent's cells, 1 where the clip may change; None for everywhere.
        threshold: tau of the words that the mask was read from, None for a drawn one.
    """

    cross_until: float = 0.4
    self_until: float = 0.0
    skip: float = 0.0
    drift: float = 0.0
    mask: torch.Tensor | None = None
    threshold: float | None = None

    @property
    def cross_window(self) -> Window:
        """When the edit's words attend where the source's do."""
        return Window(min(self.skip, self.cross_until), self.cross_until)

    @property
    def self_window(self) -> Window:
        """When the edit's self-attention is the source's."""
        return Window(min(self.skip, self.self_until), self.self_until)


class CoupledGuider(comfy.samplers.CFGGuider):
    """Denoises an edit and, in the same call of the model, its source; `row` is the source's."""

    def __init__(self, model, edit: PromptEdit, settings: CoupledSettings, steps: int):
        super().__init__(model)
        self.edit, self.settings, self.steps = edit, settings, steps
        self.row = SourceRow()

    def set_prompts(self, source, positive, negative, cfg: float) -> None:
        """CONDITIONING of the source's prompt, of the edit's and of what guidance leads away from."""
        self.inner_set_conds({SOURCE: source, "positive": positive, "negative": negative})
        self.set_cfg(cfg)

    def outer_sample(self, *args, **named):
        self.row.install(self.model_patcher, self.model_options.setdefault("transformer_options", {}))
        try:
            return super().outer_sample(*args, **named)
        finally:
            self.row.let_go()

    def begin_step(self, step: int, source_latent: torch.Tensor) -> None:
        """Says which step comes, 0 is the noisiest, and what the source's row is fed, [1, c, F, h, w]."""
        self.row.begin_step(source_latent, self.conds[SOURCE], self.conds["positive"])
        self.row.fusion.fuse_self = self.settings.self_window.contains(step, self.steps)
        device, window = source_latent.device, self.settings.cross_window
        self.row.fusion.cross = cross_weights(self.edit, window, step, self.steps, device)


@dataclass
class CoupledProgress:
    """How far an edit has come; two models can carry it on one after the other.

    Attributes:
        random: Of the noise that clip and edit share.
        edited: The edit so far, [1, c, F, h, w] in the models' own scale; None before the first step.
        sampled: The edit's own noisy latent once it is free, see `CoupledSettings.drift`.
    """

    random: torch.Generator
    edited: torch.Tensor | None = None
    sampled: torch.Tensor | None = None


class CoupledSampler(comfy.samplers.Sampler):
    """Euler's method for the difference of two flows, over some steps of a schedule."""

    def __init__(self, guider: CoupledGuider, progress: CoupledProgress, steps: range):
        self.guider, self.settings, self.progress, self.steps = guider, guider.settings, progress, steps

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        """The edited latent, from the clip's; both [1, c, F, h, w] in the model's own scale."""
        clip, steps, progress = latent_image, len(sigmas) - 1, self.progress
        free = steps - round(self.settings.drift * steps)
        mask = torch.ones_like(clip[:, :1]) if self.settings.mask is None else self.settings.mask.to(clip)
        edited = clip.clone() if progress.edited is None else progress.edited
        for step in self.steps:
            sigma, step_size = sigmas[step], sigmas[step + 1] - sigmas[step]
            random = torch.randn(clip.shape, generator=progress.random).to(clip)
            noised = (1 - sigma) * clip + sigma * random
            x = noised + (edited - clip) if progress.sampled is None else torch.lerp(noised, progress.sampled, mask)
            self.guider.begin_step(step, noised)
            denoised = model_wrap(x, x.new_full((len(x),), float(sigma)), **extra_args)
            velocity, clip_velocity = (x - denoised) / sigma, (noised - self.guider.row.denoised) / sigma
            if step < free:
                edited = edited + step_size * mask * (velocity - clip_velocity)
            else:
                progress.sampled = x + step_size * velocity
                edited = torch.lerp(clip, progress.sampled - sigmas[step + 1] * velocity, mask)
            if callback is not None:
                callback(step, edited, x, steps)
        progress.edited = edited
        return edited


def price(model, shape: torch.Size, run: int, steps: int | None, cfg: float) -> str:
    """What a run takes, in words, before it starts.

    Args:
        model: ModelPatcher.
        shape: The clip's latent's, [1, c, F, h, w].
        run: How many steps it makes.
        steps: How many the whole edit has; None where that is not known.
        cfg: 1 leaves the negative's row out.
    """
    rows, negative = (2, "") if cfg == 1 else (3, ", negative")
    cells, width = math.prod(shape[2:]) // math.prod(patch_size(model)), hidden_width(model)
    held = 2 * cells * width * comfy.model_management.dtype_size(model.model.get_dtype())
    if steps is None:
        made = f"{counted(run, 'step')}, {rows} rows each (clip, edit{negative})"
    else:
        made = f"{run} of {counted(steps, 'step')}, {rows} rows each (clip, edit{negative})"
    return f"{made}\nsource attention: one layer at a time, {bytes_in_words(held)}"
