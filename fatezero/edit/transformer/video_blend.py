"""Attention blending as a patch of a video model: an inverted clip's edit whenever it is sampled.

As `edit_run` for UNets, but the whole clip goes through the model at once, its row and the edit's one after another in
each block, so that one layer's queries and keys are held.
"""

from dataclasses import replace

import torch
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import convert_cond

from ...masks.latent_frames import mask_to_latent
from ...network.option_keys import EDIT, SOURCE, wrap_run
from ...network.transformer.two_models import LOW_NOISE_MODEL
from ...network.transformer.word_maps import token_grid
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import ALWAYS
from ...refusal import counted
from ...source.latent_cell import as_video
from ...source.source_run import SourceRun
from ...voice import Voice
from ..edit_check import course_notes
from ..edit_mask import edit_mask
from ..euler_steps import euler_steps
from ..fusion import cross_weights
from ..latent_blend import EMPTY_MASK, put_back
from ..reconstruction_level import Reconstruction
from ..settings import INPUT_MASK, INVERSION, OUTLINE, WORDS, WORDS_IN_MASK, BlendSettings, reads_words
from ..stages import UNKNOWN_STEPS, Stages
from ..start import check_stage, check_start, unused_latent
from .coupled_sampling import price
from .source_row import SourceRow
from .video_check import check_video_run, guidance_note, unlike_guidance_note


def blend_video_models(
    model, low_noise_model, source: SourceRun, edit: PromptEdit, settings: BlendSettings, voice: Voice | None = None
) -> list:
    """Clones of a source's one or two video models that fuse attention whenever they are sampled, and know of each
    other's steps; arguments as of `edit_run.blend_attention`, `settings` as of `on_latent_frames`; low_noise_model:
    ModelPatcher, None where there is one model."""
    run = source, edit, settings, voice or Voice(), Stages()
    models = {None: model} if low_noise_model is None else {"model": model, LOW_NOISE_MODEL: low_noise_model}
    return [_blended(each, name, *run) for name, each in models.items()]


def _blended(
    model, name: str | None, source: SourceRun, edit: PromptEdit, settings: BlendSettings, voice: Voice, stages: Stages
):
    """One of them; name: its input's, of two."""
    blended = model.clone()

    def outer_sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        with voice.signing():
            check_video_run(guider, source, edit, latent_image, sampler, sigmas, args, kwargs, name)
            ends = as_video(source.trajectory[-1]), as_video(source.trajectory[0])
            notes = course_notes(source, sigmas) + unused_latent(guider.model_patcher, noise, latent_image, *ends)
            noise, latent_image = starting_point(guider, source, noise, latent_image, float(sigmas[0]))
            sampler, replaced = euler_steps(sampler, settings, edit)
            run = VideoBlendRun(guider, source, edit, settings)
            try:
                run.install()
                notes += replaced + run.go_on(stages, noise, latent_image, float(sigmas[0]))
                told = "\n".join([_told(guider, source, sigmas), *notes])
                voice.tell(told if name is None else _beside_others(stages, name, told))
                samples = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
                if run.had_place is False:
                    voice.tell(f"{voice.text}\n{EMPTY_MASK}")
                if float(sigmas[-1]) > float(source.sigmas[0]) * 1.001 and run.drawn is not None:
                    stages.keep(float(sigmas[-1]), samples, run.drawn.to("cpu"))
                return samples
            finally:
                run.let_go()
                voice.end_run()

    blended.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, EDIT)
    blended.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, EDIT, outer_sample)
    return blended


def on_latent_frames(settings: BlendSettings, source: SourceRun) -> BlendSettings:
    """The settings with the person's mask on the cells of the source's latent, one for each latent frame, and with the
    words' own mask for one to the edges, which did not win on the demo video model (benchmarks/RESULTS.md)."""
    if settings.mask_from == OUTLINE:
        return replace(settings, mask_from=WORDS)
    if settings.mask is None or settings.mask_from not in (INPUT_MASK, WORDS_IN_MASK):
        return settings
    shape = as_video(source.trajectory[0]).shape
    return replace(settings, mask=mask_to_latent(settings.mask, source.cell.frames, shape)[0, 0])


def starting_point(guider, source: SourceRun, noise, latent_image, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and latent with which an edit starts at a sigma, both [1, c, F, h, w].

    ComfyUI's samplers start a flow from sigma·noise + (1 - sigma)·latent. With the inverted latent as both that is the
    inverted latent at any sigma. A later stage, without noise and with the latent of the one before, stays as it is.
    """
    model = guider.model_patcher.model
    if not noise.any():
        inverted = model.process_latent_out(as_video(source.trajectory[-1]))
        if sigma < 0.999 * float(source.sigmas[-1]) and not torch.allclose(
            latent_image.float().cpu(), inverted, atol=1e-4
        ):
            given, clean = model.process_latent_in(latent_image), as_video(source.trajectory[0])
            check_stage((1 - sigma) * given, as_video(source.latent_at(sigma)), (1 - sigma) * clean)
            return noise, latent_image
        check_start(latent_image, inverted)
    start = as_video(source.latent_at(sigma))
    return start.to(noise), model.process_latent_out(start).to(latent_image)


def _beside_others(stages: Stages, name: str, told: str) -> str:
    """What to tell of a run of one of two models, after what was told of the other one's in the same edit.

    Args:
        stages: Those of both.
        name: The input of the one that runs.
        told: What to tell of it alone.
    """
    if name != LOW_NOISE_MODEL:
        stages.told.clear()  # the one for high noise begins an edit
    stages.told[name] = f"steps of '{name}':\n{told}"
    return "\n".join(stages.told.values())


def _told(guider, source: SourceRun, sigmas: torch.Tensor) -> str:
    """What a run takes, and whether its guidance is too high for a video model; sigmas: the run's, falling."""
    cfg, guided = getattr(guider, "cfg", 1.0), getattr(guider, "window", ALWAYS)  # of Attention Blend Sampler's guider
    shape = as_video(source.trajectory[0]).shape
    steps = None if course_notes(source, sigmas) else source.steps  # a stage of the sampler's own schedule is no share
    rows = price(guider.model_patcher, shape, len(sigmas) - 1, steps, cfg)
    without = sum(not guided.contains(source.step_at(float(sigma)), source.steps) for sigma in sigmas[:-1])
    shorter = f"without the negative: {counted(without, 'step')}, by 'cfg until'" if without and cfg != 1 else None
    positive = [[None, guider.conds["positive"][0]]]
    unlike = unlike_guidance_note(guider.model_patcher, source.conditioning, positive)
    return "\n".join(filter(None, [rows, shorter, guidance_note(cfg), unlike]))


class VideoBlendRun:
    """One sampling run of an edit, in which the source's row goes beside the edit's."""

    def __init__(self, guider, source: SourceRun, edit: PromptEdit, settings: BlendSettings):
        """Arguments as of `blend_video_models`; guider: the run's."""
        self.guider, self.source, self.edit, self.settings = guider, source, edit, settings
        self.row = SourceRow()
        self.had_place: bool | None = None  # whether any mask so far had a place for the edit; None before the first
        self.drawn: Reconstruction | None = None  # the source drawn again, where its attention comes from there

    def install(self) -> None:
        """Hooks the run's private options (ComfyUI made them for this run and drops them after it)."""
        options = self.guider.model_options.setdefault("transformer_options", {})
        self.row.install(self.guider.model_patcher, options)
        wrap_run(options, WrappersMP.PREDICT_NOISE, EDIT, self.predict_noise)
        self.guider.conds[SOURCE] = convert_cond(self.source.conditioning)

    def go_on(self, stages: Stages, noise: torch.Tensor, latent: torch.Tensor, sigma: float) -> list[str]:
        """Takes up the source that an earlier stage has drawn; what to tell where the edit needs it and it is missing.

        Args:
            stages: Those of this MODEL.
            noise, latent: What the run starts with, as of `starting_point`.
            sigma: Its first level.
        """
        if self.settings.attention_from == INVERSION or noise.any():
            return []
        end = stages.end_at(sigma, latent)
        if end is None:
            return [UNKNOWN_STEPS]
        self.drawn = end.left.to(self.guider.model_patcher.load_device)
        return []

    def let_go(self) -> None:
        """Forgets everything, as of `EditRun.let_go`."""
        self.row.let_go()
        vars(self).clear()

    def predict_noise(self, executor, x, timestep, model_options, seed=None):
        """A step: the PREDICT_NOISE wrapper; x [1, c, F, h, w]."""
        sigma = float(timestep.flatten()[0])
        step, fed = self.source.step_at(sigma), self.source_latent(sigma, x)
        self.begin_step(step, fed, sigma)
        denoised = executor(x, timestep, model_options, seed)
        if self.settings.attention_from != INVERSION:
            assert self.row.denoised is not None
            self.drawn = Reconstruction(fed, self.row.denoised, sigma)
        schedule = model_options["transformer_options"]["sample_sigmas"].tolist()

        def find_mask():
            mask = self.mask(sigma, (x.shape[-2], x.shape[-1]), x.device)
            if mask is None:
                return None
            self.had_place = bool(self.had_place) or bool(mask.any())
            return mask[None, None]

        blended = x, denoised, sigma, schedule, find_mask
        return put_back(self.source, self.settings, self.source_latent, *blended)

    def begin_step(self, step: int, fed: torch.Tensor, sigma: float) -> None:
        """Says what is fused in a step of the inversion's schedule, 0 is the noisiest; fed: to the source's row."""
        source, settings, fusion = self.source, self.settings, self.row.fusion
        self.row.begin_step(fed, self.guider.conds[SOURCE], self.guider.conds["positive"])
        fusion.fuse_self = settings.self_window.contains(step, source.steps)
        fusion.cross = cross_weights(self.edit, settings.cross_window, step, source.steps, fed.device)
        fusion.own = None
        if fusion.fuse_self and settings.mask_self_attention:
            _, *size = token_grid(self.guider.model_patcher, fed.shape)
            mask = self.mask(sigma, (size[0], size[1]), fed.device)
            fusion.own = None if mask is None else mask.reshape(1, -1)

    def source_latent(self, sigma: float, like: torch.Tensor) -> torch.Tensor:
        """The source at a sigma, as it was inverted or as it is drawn again, [1, c, F, h, w]."""
        if self.drawn is not None:
            return self.drawn.at(sigma)
        return as_video(self.source.latent_at(sigma)).to(like)

    def mask(self, sigma: float, size: tuple[int, int], device: torch.device) -> torch.Tensor | None:
        """Where each latent frame keeps the edit's own, [F, height, width] of 0..1, or None for nowhere; of words
        those of the source prompt."""
        words = self.source.word_maps_at(sigma).to(device) if reads_words(self.settings) else None
        return edit_mask(self.settings, self.edit, size, range(self.source.frames), device, words)
