"""Attention blending as a model patch: the edit's attention fused with the source's whenever the model is sampled.

The patch is one wrapper. When sampling starts it checks that source, edit and sampler fit together, and hooks the run's
private options; when sampling ends, nothing of it is left.
"""

from contextlib import ExitStack
from uuid import uuid4

import torch
from comfy.patcher_extension import WrappersMP
from comfy.sampler_helpers import convert_cond

from ...network.attention_layers import SELF, TEMPORAL
from ...network.hooks import has_hooks, register_hooks
from ...network.model_call import ModelCall
from ...network.option_keys import EDIT, SOURCE, SOURCE_NEGATIVE, wrap_run
from ...network.unet.attention import install_hooks
from ...network.unet.chunked_sampling import ChunkedRun
from ...network.unet.mask_layers import mask_layers
from ...network.unet.motion_modules import hooked_motion_modules
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import Window
from ...source.source_run import SourceRun
from ...voice import Voice
from ..conditioning_check import prompt_notes
from ..edit_check import check_run, course_notes
from ..edit_mask import edit_mask
from ..euler_steps import euler_steps
from ..fusion import cross_weights
from ..latent_blend import EMPTY_MASK, put_back
from ..settings import BlendSettings, fitting_model
from ..stages import UNKNOWN_STEPS, Stages, misses_steps
from ..start import unused_latent
from .agreement import Part, agreed, parts_with_ways
from .chunk_rows import ChunkRows
from .fresh_noise import on_whole_cells
from .ground_keys import ground_keys
from .outline_mask import frames_without_the_thing, on_outline
from .places import Places
from .run_latents import finished, freshened, starting_point
from .source_attention import plan_source_attention
from .source_branch import source_branch
from .source_cache import SourceCache
from .step import Step, WordMapSum, fused_kinds, fuses_finest
from .strangers import added_nodes, what_changed


def blend_attention(model, source: SourceRun, edit: PromptEdit, settings: BlendSettings, voice: Voice | None = None):
    """A clone of a model that fuses attention whenever it is sampled; blending again replaces the earlier blend.

    Args:
        model: ModelPatcher, the one that the source was inverted with.
        source: The inverted clip.
        edit: What changes in the prompt.
        settings: How the edit is fused.
        voice: Tells the price of each run, and signs its refusals.
    """
    voice = voice or Voice()
    blended = model.clone()
    stages = Stages()

    def outer_sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        guider = executor.class_obj
        with voice.signing():
            check_run(guider, source, edit, settings, latent_image, sampler, sigmas, args, kwargs)
            fitting = on_outline(fitting_model(settings, guider.model_patcher), source, edit)
            fitting = on_whole_cells(fitting, latent_image.shape[-2:])
            ends = source.trajectory[-1], source.trajectory[0]
            notes = course_notes(source, sigmas) + unused_latent(guider.model_patcher, noise, latent_image, *ends)
            noise, latent_image = starting_point(guider, source, noise, latent_image, sigmas)
            latent_image = freshened(guider, source, edit, fitting, latent_image, float(sigmas[0]))
            sampler, replaced = euler_steps(sampler, fitting, edit)
            run = EditRun(guider, source, edit, fitting, voice)
            run.notes += notes + replaced + frames_without_the_thing(settings, fitting)
            try:
                run.install()
                run.go_on(stages, noise, latent_image, float(sigmas[0]))
                samples = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
                if float(sigmas[-1]) > float(source.sigmas[0]) * 1.001:
                    stages.keep(float(sigmas[-1]), samples, run.left_behind())
                run.finish()
            finally:
                run.let_go()
                voice.end_run()
        return finished(guider, source, samples, sigmas)

    blended.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, EDIT)
    blended.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, EDIT, outer_sample)
    return blended


def separate_uuids(conds: dict[str, list[dict]]) -> None:
    """Gives every positive conditioning a uuid of its own.

    For a negative with an area, ComfyUI adds a positive for the same area and copies the negative's uuid into it.

    Args:
        conds: The guider's, as ComfyUI has processed them for the run.
    """
    others = {cond.get("uuid") for name, held in conds.items() if name != "positive" for cond in held}
    for cond in conds["positive"]:
        if cond["uuid"] in others:
            cond["uuid"] = uuid4()


class EditRun:
    """One sampling run of an edit, which reads the source's queries and keys and fuses them into the edit's rows.

    From the outside in: `predict_noise` is a step, `calc_cond_batch` its first evaluation, `evaluate_chunk` some frames
    of that; `ChunkRows` goes on from there.
    """

    def __init__(self, guider, source: SourceRun, edit: PromptEdit, settings: BlendSettings, voice: Voice):
        """Arguments as of `blend_attention`; guider: the run's."""
        self.guider, self.source, self.edit, self.settings, self.voice = guider, source, edit, settings, voice
        model = guider.model_patcher
        self.branch = source_branch(source, edit, settings)
        hooked = any(has_hooks(conds) for conds in guider.conds.values())
        self.plan = plan_source_attention(model, source, edit, settings, hooked, run_begins=True)
        self.cache = None if self.plan.budget is None else SourceCache(source, model, settings, self.plan.budget)
        self.chunks = ChunkedRun(model, self.evaluate_chunk, self.plan.demand.read_bytes, self.tell)
        (height, width), kept = source.trajectory.shape[-2:], source.word_maps.shape[-2:]
        layers = mask_layers(model.model.diffusion_model, height, width, kept)
        self.places = Places(model.model.diffusion_model, (height, width), source.frames, edit, settings)
        self.ground_keys = ground_keys(source, edit, settings, self.chunks.inflation)
        self.target_words = WordMapSum()
        added = added_nodes(model, source)
        self.rows = ChunkRows(edit, settings, self.branch, self.cache, layers, self.target_words, added)
        self.notes = what_changed(model, source) + prompt_notes(guider, source, edit)
        self.parts: list[Part] | None = None  # in which frames agree, as soon as a step asks for them
        self.had_place: bool | None = None  # whether any mask so far had a place for the edit; None before the first
        self.step: Step | None = None  # within a step's first evaluation

    def install(self) -> None:
        """Hooks the run's private options (ComfyUI made them for this run and drops them after it)."""
        guider = self.guider
        options = guider.model_options["transformer_options"]
        install_hooks(options, guider.model_patcher.model.diffusion_model, self.rows.attend)
        if self.cache is not None:
            patches = options["patches"] = dict(options.get("patches", {}))
            patches["attn1_patch"] = [self.rows.read_hidden, *patches.get("attn1_patch", [])]
        self.chunks.install(guider)
        wrap_run(options, WrappersMP.PREDICT_NOISE, EDIT, self.predict_noise)
        wrap_run(options, WrappersMP.CALC_COND_BATCH, EDIT, self.calc_cond_batch)
        wrap_run(options, WrappersMP.DIFFUSION_MODEL, EDIT, self.diffusion_model)
        guider.model_options.pop("multigpu_clones", None)
        # Named among the guider's conditionings, their ControlNets are loaded with the edit's and cleaned up with them.
        guider.conds[SOURCE] = convert_cond(self.source.conditioning)
        null_text = self.source.null_text
        if null_text is not None:
            guider.conds[SOURCE_NEGATIVE] = convert_cond([[null_text.embeddings[0], null_text.options]])
        register_hooks(guider)

    def go_on(self, stages: Stages, noise: torch.Tensor, latent: torch.Tensor, sigma: float) -> None:
        """Takes up what an earlier stage has left, or tells that it is missing; noise, latent [n, c, h, w] and sigma
        are what the run starts with."""
        model = self.guider.model_patcher
        end = None if noise.any() else stages.end_at(sigma, latent)
        if end is not None:
            words, of_branch = end.left
            self.target_words.total = None if words is None else words.to(model.load_device)
            self.branch.take_up(of_branch, model.load_device)
        elif misses_steps(model, self.source, self.settings, noise, latent, sigma):
            self.notes.append(UNKNOWN_STEPS)

    def left_behind(self):
        """What a later stage goes on with, on the CPU: the target's words so far, and what the branch has left."""
        total = self.target_words.total
        return (None if total is None else total.cpu()), self.branch.left_behind()

    def let_go(self) -> None:
        """Forgets everything. The run and what it has hooked hold each other, and so the model, until Python's garbage
        collector comes; ComfyUI takes that for a leak."""
        vars(self).clear()

    def tell(self, chunks: str) -> None:
        """Tells the person where the source's attention comes from and how the clip goes through the model."""
        if self.cache is not None and self.chunks.until_short is not None:
            self.cache.stop()
        self.voice.tell("\n".join([str(self.plan), chunks, *self.notes]))

    def finish(self) -> None:
        """Keeps for the session what the run has added to the source's cache, and tells it, and an empty mask."""
        kept = None if self.cache is None else self.cache.keep()
        told = [*([] if kept is None else [kept]), *([EMPTY_MASK] if self.had_place is False else [])]
        if told:
            self.voice.tell("\n".join([self.voice.text, *told]))

    def predict_noise(self, executor, x, timestep, model_options, seed=None):
        """A step: the PREDICT_NOISE wrapper."""
        step = self.step = self.begin_step(x, float(timestep.flatten()[0]))
        try:
            denoised = executor(x, timestep, model_options, seed)
        finally:
            self.step = None
        source_words, target_words = self.branch.end_step(), self.target_words.end_step()
        denoised = self.in_agreement(denoised, step.index)
        schedule = model_options["transformer_options"]["sample_sigmas"].tolist()

        def find_mask():
            return self.latent_mask(x, source_words, target_words)

        blended = x, denoised, step.sigma, schedule, find_mask
        return put_back(self.source, self.settings, self.branch.latent_at, *blended)

    def begin_step(self, x: torch.Tensor, sigma: float) -> Step:
        """Works out, once per step, which windows are open and what the words weigh, and readies the source."""
        settings, steps = self.settings, self.source.steps
        index = self.source.step_at(sigma)
        cross = cross_weights(self.edit, settings.cross_window, index, steps, x.device)
        separate_uuids(self.guider.conds)
        self.branch.begin_step(self.guider, x, sigma)
        self.target_words.of_step = None
        if self.cache is not None and self.branch.reads_at(index):
            self.cache.begin(x.device)
        kinds = fused_kinds(self.edit, settings, index, steps)
        new_words_alone = Window(0, settings.new_words_until).contains(index, steps)
        is_masked = new_words_alone or SELF in kinds or self.ground_keys is not None
        return Step(
            index,
            sigma,
            kinds,
            cross,
            frozenset(cond["uuid"] for cond in self.guider.conds["positive"]),
            self.branch.word_maps,
            new_words_alone,
            self.places.at_step(x.device, self.branch.word_maps) if is_masked else {},
            self.ground_keys,
            self.places.of_things(x.device) if new_words_alone else (),
            fuses_finest(settings, index, steps),
        )

    def calc_cond_batch(self, executor, *args, **kwargs):
        """A step's first evaluation: the CALC_COND_BATCH wrapper."""
        try:
            return executor(*args, **kwargs)
        finally:
            # Guidance nodes (PAG, SAG, PerpNeg ...) evaluate the model again within a step: those calls stay theirs.
            self.step = None

    def evaluate_chunk(self, call: ModelCall) -> list[torch.Tensor]:
        """Some frames of a call of the model; with the source's rows in a step's first evaluation."""
        if self.step is None or call.active is None:
            return call.run()
        return self.rows.evaluate(call, call.active, self.step)

    def diffusion_model(
        self, executor, x, timesteps, context=None, y=None, control=None, transformer_options=None, **kwargs
    ):
        """A call of the UNet: the DIFFUSION_MODEL wrapper."""
        with ExitStack() as undo:
            chunk = self.rows.chunk
            if chunk is not None and TEMPORAL in chunk.step.kinds:
                undo.enter_context(hooked_motion_modules(executor.class_obj, transformer_options, self.rows.attend))
            return executor(x, timesteps, context, y, control, transformer_options, **kwargs)

    def in_agreement(self, denoised: torch.Tensor, index: int) -> torch.Tensor:
        """The denoised latent with frames that agree inside the mask, in the steps in which they do."""
        if not Window(0, self.settings.agree_until).contains(index, self.source.steps):
            return denoised
        if self.parts is None:
            stays = None if self.ground_keys is None else self.ground_keys.stays
            self.parts = parts_with_ways(self.source.trajectory[0], self.settings, denoised.device, stays)
        return agreed(denoised, self.parts)

    def latent_mask(self, x: torch.Tensor, source_words: torch.Tensor | None, target_words: torch.Tensor | None):
        """Where the latent x stays the edit's, [n, 1, h, w] of 0..1, or None; the others as of `edit_mask`."""
        size = (x.shape[-2], x.shape[-1])
        settings = self.places.at_size(size, x.device)
        where = size, range(len(x)), x.device
        mask = edit_mask(settings, self.edit, *where, source_words, target_words, settings.soft_edge)
        if mask is None:
            return None
        self.had_place = bool(self.had_place) or bool(mask.any())
        return mask[:, None]
