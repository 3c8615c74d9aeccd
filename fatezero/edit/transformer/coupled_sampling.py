"""Coupled sampling (FlowEdit, Kulikov et al. 2025): a clip and its edit are noised alike and denoised side by side.

Both rows carry the same noise, so that what they have in common cancels: with equal prompts the clip comes out as it
went in. No inversion is needed. Differs from FlowEdit in the attention fused between the rows, and in that the source's
row has no guidance.
"""

import math
from dataclasses import dataclass
from functools import partial

import comfy.model_management
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ...network.model_call import Conds
from ...network.option_keys import JOINED, PADDING, wrap_run
from ...network.transformer.equal_text import with_equal_text
from ...network.transformer.families import Family, hidden_width, patch_size, reads_text_in_blocks
from ...network.transformer.row_by_row import RowsTogether, install
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import Window
from ...refusal import Refusal, counted
from ..fusion import cross_weights
from ..joined_rows import can_join, feed_row
from .coupled_fusion import CoupledFusion


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
    """Denoises an edit and, in the same call of the model, its source."""

    def __init__(self, model, family: Family, edit: PromptEdit, settings: CoupledSettings, steps: int):
        super().__init__(model)
        self.family, self.edit, self.settings, self.steps = family, edit, settings, steps
        self.fusion = CoupledFusion()
        self.source_latent: torch.Tensor | None = None
        self.source_denoised: torch.Tensor | None = None

    def set_prompts(self, source, positive, negative, cfg: float) -> None:
        """CONDITIONING of the source's prompt, of the edit's and of what guidance leads away from."""
        self.inner_set_conds({"source": source, "positive": positive, "negative": negative})
        self.set_cfg(cfg)

    def outer_sample(self, *args, **named):
        options = self.model_options.setdefault("transformer_options", {})
        network = self.model_patcher.model.diffusion_model
        install(options, network, self.family, self.fusion.is_source, self.fusion.attend)
        try:
            return super().outer_sample(*args, **named)
        finally:
            self.fusion.shown.clear()
            self.source_latent = self.source_denoised = None

    def begin_step(self, step: int, source_latent: torch.Tensor) -> None:
        """Says which step comes, 0 is the noisiest, and what the source's row is fed, [1, c, F, h, w]."""
        self.source_latent = source_latent
        self.fusion.fuse_self = self.settings.self_window.contains(step, self.steps)
        self.fusion.cross = cross_weights(self.edit, self.settings.cross_window, step, self.steps)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        """The edit's denoised latent, as a CFGGuider's; `source_denoised` is then the source's."""
        model_options = model_options or {}
        no_guidance = self.cfg == 1 and not model_options.get("disable_cfg1_optimization")
        conds = [self.conds["positive"], None if no_guidance else self.conds["negative"], self.conds["source"]]
        options = dict(model_options.get("transformer_options", {}))
        if reads_text_in_blocks(self.model_patcher):
            conds, options[PADDING] = with_equal_text(conds)
        positive, negative, source = conds
        self._refuse_apart(source, [positive, negative])
        self.fusion.source = frozenset(cond["uuid"] for cond in source)
        self.fusion.positive = frozenset(cond["uuid"] for cond in positive)
        wrap_run(options, WrappersMP.APPLY_MODEL, JOINED, partial(feed_row, source[0]["uuid"], self.source_latent))
        model_options = {**model_options, "transformer_options": options}
        model_options.pop("multigpu_clones", None)  # rows on several cards would not see each other
        rows = RowsTogether(self.inner_model)
        denoised = comfy.samplers.calc_cond_batch(rows, conds, x, timestep, model_options)
        self.fusion.shown.clear()
        self.source_denoised = denoised[2]
        edit, rest = self._before_guidance(denoised[:2], conds[:2], x, timestep, model_options)
        return comfy.samplers.cfg_function(
            self.inner_model,
            edit,
            rest,
            self.cfg,
            x,
            timestep,
            model_options=model_options,
            cond=positive,
            uncond=negative,
        )

    def _before_guidance(self, denoised: list[torch.Tensor], conds, x, timestep, model_options: dict) -> list:
        """What other nodes make of the edit's and the negative's answer, as before guidance in ComfyUI's sampling."""
        for function in model_options.get("sampler_pre_cfg_function", []):
            denoised = function(
                {
                    "conds": conds,
                    "conds_out": denoised,
                    "cond_scale": self.cfg,
                    "timestep": timestep,
                    "input": x,
                    "sigma": timestep,
                    "model": self.inner_model,
                    "model_options": model_options,
                }
            )
        return denoised

    def _refuse_apart(self, source: Conds, conds: list[Conds | None]) -> None:
        if not can_join(source, conds):
            raise Refusal(
                "'source conditioning' and 'positive' are not alike (areas, ControlNets or hooks); give both the same, "
                "or take those nodes out."
            )


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
            velocity, clip_velocity = (x - denoised) / sigma, (noised - self.guider.source_denoised) / sigma
            if step < free:
                edited = edited + step_size * mask * (velocity - clip_velocity)
            else:
                progress.sampled = x + step_size * velocity
                edited = torch.lerp(clip, progress.sampled - sigmas[step + 1] * velocity, mask)
            if callback is not None:
                callback(step, edited, x, steps)
        progress.edited = edited
        return edited


def steps_of_models(sigmas: torch.Tensor, skip: float, boundary: float | None) -> list[range]:
    """Which steps of a schedule which model takes: those of the model for high noise, those of the one for low noise.

    Args:
        sigmas: The schedule, falling, [steps + 1].
        skip: Share of the first steps that are left out.
        boundary: The sigma below which the model for low noise goes on; None where there is one model.

    Returns:
        One range, or two, of which either may be empty.

    >>> steps_of_models(torch.tensor([1.0, 0.9, 0.8, 0.5, 0.0]), 0.25, 0.875)
    [range(1, 2), range(2, 4)]
    """
    steps = len(sigmas) - 1
    first = round(skip * steps)
    if boundary is None:
        return [range(first, steps)]
    change = max(first, int((sigmas[:-1] >= boundary).sum()))
    return [range(first, change), range(change, steps)]


def price(model, shape: torch.Size, settings: CoupledSettings, steps: int, cfg: float) -> str:
    """What a run takes, in words, before it starts.

    Args:
        model: ModelPatcher.
        shape: The clip's latent's, [1, c, F, h, w].
        settings: How it is sampled.
        steps: The schedule's.
        cfg: 1 leaves the negative's row out.
    """
    rows = 2 if cfg == 1 else 3
    run = steps - round(settings.skip * steps)
    cells, width = math.prod(shape[2:]) // math.prod(patch_size(model)), hidden_width(model)
    held = 2 * cells * width * comfy.model_management.dtype_size(model.model.get_dtype())
    return (
        f"{run} of {counted(steps, 'step')}, {rows} rows each (clip, edit{', negative' * (rows == 3)})\n"
        f"source attention: one layer at a time, {held / 2**20:.{int(held < 2**23)}f} MB"
    )
