"""Attention blending as a model patch: the edit's attention fused with the source's while any sampler runs.

The patch is one wrapper. When sampling starts it checks that source, edit and sampler fit together, and hooks the run's
private options; when sampling ends, nothing of it is left.
"""

from dataclasses import dataclass
from functools import partial

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import convert_cond

from ..network.chunked_sampling import ChunkedRun, conds_of_frames, with_chunk
from ..network.frame_chunks import active_chunk
from ..network.option_keys import EDIT, SOURCE, SOURCE_NEGATIVE, wrap_run
from ..network.unet_attention import install_hooks, plain_attention
from ..network.word_maps import mask_downsampling
from ..prompts.prompt_edit import PromptEdit
from ..refusal import speaking
from ..source.reconstruction import clean_samples
from ..source.source_run import SourceRun
from . import edit_check as blend_check
from .chunk_fusion import ChunkFusion, Step, average, edit_mask
from .fusion import blend_denoised, cross_weights
from .joined_rows import can_join, evaluate_joined
from .settings import FAST_RECONSTRUCTION, INVERSION, BlendSettings, reads_words
from .source_attention import SourceCache, plan_source_attention, uses_reconstruction


def blend_attention(model, source: SourceRun, edit: PromptEdit, settings: BlendSettings):
    """A clone of the model that fuses attention whenever it is sampled; blending again replaces the earlier blend."""
    blended = model.clone()

    def outer_sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        with speaking(blend_check.NODE):
            blend_check.check_run(guider, source, edit, settings, latent_image, sampler, sigmas, args, kwargs)
            noise, latent_image = starting_point(guider, source, noise, latent_image, sigmas)
            run = BlendRun(source, edit, settings, guider)
            run.install()
        samples = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        return finished(guider, source, samples, sigmas)

    blended.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, EDIT)
    blended.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, EDIT, outer_sample)
    return blended


def starting_point(guider, source: SourceRun, noise, latent_image, sigmas):
    """Noise and latent with which an edit starts.

    A sampler that adds no noise gets its latent as given; one that would add noise (plain KSampler) starts from the
    inverted latent of its first sigma instead, since random noise has nothing of the clip in it.
    """
    model = guider.model_patcher.model
    first = float(sigmas[0])
    inverted = model.process_latent_out(source.trajectory[-1])
    untouched = latent_image.shape == inverted.shape and torch.allclose(latent_image.float().cpu(), inverted, atol=1e-4)
    if not noise.any() and not untouched:
        if first >= float(source.sigmas[-1]) * 0.999:
            blend_check.check_start(latent_image, inverted)
        return noise, latent_image
    start = source.latent_at(first)
    beyond = first - float(source.sigmas[-1])
    if beyond > 0:  # as inversion would have gone on: the noise grows, the clip in it does not
        (before, end), sigmas = source.trajectory[-2:], source.sigmas[-2:]
        start = start + beyond * (end - before) / (sigmas[1] - sigmas[0])
    return torch.zeros_like(noise), model.process_latent_out(start).to(latent_image)


def finished(guider, source: SourceRun, samples, sigmas):
    """The samples as a clean latent: a schedule that ends at alpha_bar_0 leaves them scaled by sqrt(1 + sigma²)."""
    last = float(sigmas[-1])
    if last == 0 or abs(last - float(source.sigmas[0])) > 1e-4 * last:
        return samples
    return clean_samples(guider.model_patcher, source, samples)


class BlendRun:
    """One sampling run: at each step, chunk by chunk, reads the source's queries and keys and fuses them into the
    edit's rows."""

    def __init__(self, source: SourceRun, edit: PromptEdit, settings: BlendSettings, guider):
        self.source, self.edit, self.settings = source, edit, settings
        self.guider = guider
        self.source_conds = None
        self.step = None  # within a step's first evaluation
        self.chunk = None  # within a chunk of it
        self.cache = None
        self.source_words = self.target_words = None  # word maps of the whole clip, summed over the steps so far
        self.reconstruction = None
        self.map_downsampling = mask_downsampling(*source.trajectory.shape[-2:])

    def install(self):
        """Hooks the run's private options (ComfyUI made them for this run and drops them after it)."""
        guider = self.guider
        options = guider.model_options["transformer_options"]
        model = guider.model_patcher
        install_hooks(options, model.model.diffusion_model, self.attend)
        plan = plan_source_attention(model, self.source, self.edit, self.settings)
        if plan.budget is not None:
            self.cache = SourceCache(self.source, model, self.settings, plan.budget)
            patches = options["patches"] = dict(options.get("patches", {}))
            patches["attn1_patch"] = [self.read_hidden, *patches.get("attn1_patch", [])]
        ChunkedRun(model, blend_check.NODE, self.evaluate_chunk, plan.read_bytes).install(guider)
        wrap_run(options, WrappersMP.PREDICT_NOISE, EDIT, self.predict_noise)
        wrap_run(options, WrappersMP.CALC_COND_BATCH, EDIT, self.calc_cond_batch)
        guider.model_options.pop("multigpu_clones", None)
        # Named among the guider's conditionings, their ControlNets are loaded with the edit's and cleaned up with them.
        guider.conds[SOURCE] = convert_cond(self.source.conditioning)
        if self.source.null_text is not None:
            guider.conds[SOURCE_NEGATIVE] = convert_cond(
                [[self.source.null_text.embeddings[0], self.source.null_text.options]]
            )

    # The wrappers of a step, from the outside in.

    def predict_noise(self, executor, x, timestep, model_options={}, seed=None):
        sigma = float(timestep.flatten()[0])
        self.begin_step(x, sigma)
        step = self.step
        try:
            denoised = executor(x, timestep, model_options, seed)
        finally:
            self.step = None
        return self.blend_latents(x, denoised, step, model_options)

    def calc_cond_batch(self, executor, *args, **kwargs):
        try:
            return executor(*args, **kwargs)
        finally:
            # Guidance nodes (PAG, SAG, PerpNeg ...) evaluate the model again within a step: those calls stay theirs.
            self.step = None

    def evaluate_chunk(self, executor, model, conds, x, timestep, model_options):
        """The edit's rows of one chunk, with or after the source's; what it leaves is assigned, so that it may run
        twice."""
        if self.step is None:
            return executor(model, conds, x, timestep, model_options)
        active = active_chunk(model_options["transformer_options"])
        chunk, evaluate = self.new_chunk(active), executor
        if active.index == 0:
            self.replayed = 0
        try:
            if self.reads_source and not self.open_cache(chunk, active):
                evaluate = self.with_source(executor, model, conds, active, chunk, timestep, model_options)
            self.chunk = chunk
            denoised = evaluate(model, conds, x, timestep, model_options)
        finally:
            self.chunk = None
        self.keep(chunk, active)
        if chunk.word_maps:
            self.step_source_words = active.put(average(chunk.word_maps), self.step_source_words)
        if chunk.target_word_maps:
            self.step_target_words = active.put(average(chunk.target_word_maps), self.step_target_words)
        return denoised

    def open_cache(self, chunk: ChunkFusion, active) -> bool:
        """Whether the cache holds a chunk's source attention, which then comes from there."""
        if self.cache is None:
            return False
        chunk.cached = self.cache.open(self.step.sigma, active, self.step.kinds)
        if chunk.cached is None:
            return False
        conds = conds_of_frames(self.source_conds, active.frames)
        chunk.context = conds[0]["model_conds"]["c_crossattn"].cond
        return True

    def with_source(self, executor, model, conds, active, chunk: ChunkFusion, timestep, model_options):
        """Replay: an executor that reads a chunk's source rows in the edit's own call, or else the given one after they
        were read in a call apart."""
        # Chunks that came from the cache have carried nothing along for this one.
        for earlier in map(active.at, range(self.replayed, active.index)):
            self.read_source(executor, model, earlier, self.new_chunk(earlier), timestep, model_options)
        self.replayed = active.index + 1
        source = conds_of_frames(self.source_conds, active.frames)
        if self.settings.attention_from == INVERSION and can_join(source, conds):
            self.begin_reading(chunk)
            return partial(evaluate_joined, executor, source, self.fed[list(active.frames)])
        self.read_source(executor, model, active, chunk, timestep, model_options)
        return executor

    def new_chunk(self, active) -> ChunkFusion:
        return ChunkFusion(self.step, self.settings, self.edit, active.frames, self.map_downsampling)

    def read_hidden(self, query, key, value, extra):
        """An attn1_patch that changes nothing, before all others."""
        if self.chunk is not None:
            self.chunk.read_hidden(query, extra)
        return query, key, value

    def attend(self, layer, query, key, value, extra, previous):
        if self.chunk is not None:
            return self.chunk.attend(layer, query, key, value, extra, previous)
        if previous is not None:
            return previous(query, key, value, extra)
        return plain_attention(query, key, value, extra)

    # A step, part by part.

    def begin_step(self, x, sigma: float):
        """Works out, once per step, which windows are open, what the words weigh and what the source's rows are fed."""
        settings, steps, source = self.settings, self.source.steps, self.source
        index = source.step_at(sigma)
        cross = cross_weights(self.edit, settings.cross_window, index, steps)
        from_inversion = settings.attention_from == INVERSION
        self.step = Step(
            index,
            sigma,
            settings.self_window.contains(index, steps),
            None if cross is None else tuple(weights.to(x.device) for weights in cross),
            {cond["uuid"] for cond in self.guider.conds["positive"]},
            source.word_maps_at(sigma).to(x.device) if from_inversion and reads_words(settings) else None,
        )
        self.step_source_words, self.step_target_words = self.step.source_words, None
        self.reads_source = bool(self.step.kinds) or (
            not from_inversion and uses_reconstruction(self.edit, settings, index, steps)
        )
        if not self.reads_source:
            return
        if self.source_conds is None:
            self.source_conds = self.processed_conds(self.source.conditioning, x)
        if self.cache is not None:
            self.cache.begin(x.device)
        if from_inversion:
            self.fed = source.fed_at(sigma).to(x)
        else:
            self.begin_reconstruction(x, sigma)

    def processed_conds(self, conditioning, x):
        """A CONDITIONING encoded for the model, apart from the edit's: core would hand the target's old-style
        ControlNet on to every conditioning that has none."""
        conds = {SOURCE: [cond.copy() for cond in convert_cond(conditioning)]}
        return comfy.samplers.process_conds(self.guider.inner_model, x, conds, x.device)[SOURCE]

    def begin_reading(self, chunk: ChunkFusion):
        """Lets a chunk read the source's rows where they pass."""
        chunk.reads = {cond["uuid"] for cond in self.source_conds}
        chunk.recorded = None if self.cache is None else {}

    def read_source(self, executor, model, active, chunk: ChunkFusion, timestep, model_options):
        """Runs the source's rows of a chunk in a call of their own."""
        frames = list(active.frames)
        timestep = timestep[:1].expand(len(frames))
        conds = conds_of_frames(self.source_conds, active.frames)
        self.begin_reading(chunk)
        self.chunk = chunk
        if self.settings.attention_from == INVERSION:
            executor(model, [conds], self.fed[frames], timestep, with_chunk(model_options, active))
        else:
            # Apart: its negative may be the edit's own, whose rows carry other hidden states along.
            model_options = with_chunk(model_options, active.apart(SOURCE))
            negative = conds_of_frames(self.reconstruction_negative, active.frames)
            denoised, unconditional = executor(
                model, [conds, negative], self.reconstruction.latent[frames], timestep, model_options
            )
            if negative is not None:
                denoised = unconditional + self.reconstruction_guidance * (denoised - unconditional)
            active.put(denoised, self.reconstruction.denoised)
        self.keep(chunk, active)

    def keep(self, chunk: ChunkFusion, active):
        """Hands what a chunk has recorded to the cache, once."""
        if chunk.recorded:
            self.cache.store(self.step.sigma, active, chunk.recorded)
            chunk.recorded = None

    def source_latent_at(self, sigma: float, x):
        """The source's latent at the level that the edit is moving to."""
        if self.settings.attention_from == INVERSION:
            return self.source.latent_at(sigma).to(x)
        return self.reconstruction.at(sigma)

    def begin_reconstruction(self, x, sigma: float):
        """The source's own branch: denoises the inverted noise under the source prompt.

        Its guidance is that of its null text where it has some (decoupled guidance, Video-P2P 3.2: the edit keeps the
        plain negative), the edit's without (prompt-to-prompt), or none (Video-P2P's fast mode).
        """
        before, null_text = self.reconstruction, self.source.null_text
        latent = self.source.latent_at(sigma).to(x) if before is None else before.at(sigma)
        self.reconstruction = Reconstruction(latent, torch.empty_like(latent), sigma)
        if self.settings.attention_from == FAST_RECONSTRUCTION:
            guidance, negative = 1.0, None
        elif null_text is not None:
            guidance = null_text.guidance
            negative = self.processed_conds([[self.source.null_text_at(sigma), null_text.options]], x)
        else:
            guidance, negative = getattr(self.guider, "cfg", 1.0), self.guider.conds.get("negative")
        self.reconstruction_guidance = guidance
        self.reconstruction_negative = negative if guidance != 1.0 else None

    def blend_latents(self, x, denoised, step: Step, model_options):
        window = self.settings.latent_window
        self.target_words = added(self.target_words, self.step_target_words)
        if self.settings.attention_from == INVERSION:
            self.source_words = self.step_source_words  # FateZero: of this step
        else:
            self.source_words = added(self.source_words, self.step_source_words)  # Video-P2P: of all so far
        if window is None or not window.contains(step.index, self.source.steps):
            return denoised
        schedule = model_options["transformer_options"]["sample_sigmas"]
        lower = schedule[schedule < step.sigma * (1 - 1e-5)]
        if len(lower) == 0:
            return denoised
        next_sigma = float(lower.max())
        mask = edit_mask(
            self.settings, self.edit, tuple(x.shape[-2:]), range(len(x)), x.device, self.source_words, self.target_words
        )
        if mask is None:
            return denoised
        return blend_denoised(x, denoised, self.source_latent_at(next_sigma, x), mask[:, None], step.sigma, next_sigma)


@dataclass(frozen=True)
class Reconstruction:
    """The source drawn again from its noise, at one step: latent at sigma and the denoised latent, [n, c, h, w]."""

    latent: torch.Tensor
    denoised: torch.Tensor
    sigma: float

    def at(self, sigma: float) -> torch.Tensor:
        """The latent that an Euler step to another sigma gives."""
        return self.latent + (sigma - self.sigma) * (self.latent - self.denoised) / self.sigma


def added(total: torch.Tensor | None, step: torch.Tensor | None) -> torch.Tensor | None:
    """A sum that begins with the first step that has something to add."""
    if total is None or step is None:
        return step if total is None else total
    return total + step
