"""Sampling in chunks of frames, under any of ComfyUI's samplers: each evaluation is cut up and put together.

The sampler itself still sees the whole clip, whose latents are small. One object lives as long as a sampling run, on
the run's private options; the model is never touched.
"""

import copy
import logging
import math

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP

from .frame_chunks import ActiveChunk, ChunkPlan, active_chunk, plan_chunks
from .option_keys import AD_PARAMS, CHUNK, FRAMES_AT_ONCE, wrap_run
from .temporal_parts import temporal_parts_of
from .unet_attention import transformer_depths
from .unet_inflation import inflation_of

INDEPENDENT = ("current",)
# As many latent cells as 8 frames of 512x512 have: enough to keep a GPU busy, and memory stays flat from there on.
AUTOMATIC_CELLS = 8 * 64 * 64


def automatic_frames_at_once(height: int, width: int) -> int:
    """Frames per chunk of a latent's height and width while memory is no concern."""
    return max(1, AUTOMATIC_CELLS // (height * width))


def sampled_in_chunks(model, frames_at_once: int, node: str):
    """A clone of the model that any sampler evaluates in chunks of frames; 0 chooses their number by free memory."""
    chunked = model.clone()
    chunked.model_options["transformer_options"][FRAMES_AT_ONCE] = frames_at_once

    def outer_sample(executor, *args, **kwargs):
        guider = executor.class_obj
        wrappers = guider.model_options["transformer_options"].get("wrappers", {})
        if CHUNK not in wrappers.get(WrappersMP.CALC_COND_BATCH, {}):  # an edit or inversion brings its own
            ChunkedRun(guider.model_patcher, node).install(guider)
        return executor(*args, **kwargs)

    chunked.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, CHUNK)
    chunked.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, CHUNK, outer_sample)
    return chunked


class ChunkedRun:
    """One sampling run, whose every evaluation of the model goes in chunks.

    evaluate_chunk(executor, model, conds, x, timestep, model_options): what to do for one chunk, by default just the
    model; it may be called again for the same frames after running out of memory. extra_bytes: what it holds besides
    ComfyUI's own estimate, for one frame.
    """

    def __init__(self, model, node: str, evaluate_chunk=None, extra_bytes: float = 0.0):
        self.node = node
        self.evaluate_chunk = evaluate_chunk or (lambda executor, *arguments: executor(*arguments))
        self.extra_bytes = extra_bytes
        self.inflation = inflation_of(model)
        self.asked = model.model_options.get("transformer_options", {}).get(FRAMES_AT_ONCE, 0)
        # Modules that another node injected (AnimateDiff's) may tie frames together in ways that we cannot carry along.
        self.whole = temporal_parts_of(model) is not None or (bool(model.injections) and not self.asked)
        self.layers = sum(depth for _, depth in transformer_depths(model.model.diffusion_model))
        self.at_once = None

    def install(self, guider) -> None:
        """Puts itself around the run's evaluations, outside of whatever else wraps them."""
        options = guider.model_options["transformer_options"]
        wrap_run(options, WrappersMP.PREPARE_SAMPLING, CHUNK, self.prepare_sampling)
        wrap_run(options, WrappersMP.CALC_COND_BATCH, CHUNK, self.calc_cond_batch)

    def prepare_sampling(self, executor, model, noise_shape, *args, **kwargs):
        """PREPARE_SAMPLING wrapper: ComfyUI makes room for one chunk and what we hold beside it, not for the clip."""
        at_once = self.wanted_at_once(noise_shape)
        per_frame = model.model.memory_required([2, *noise_shape[1:]])  # ComfyUI reserves two rows for each frame
        shape = [math.ceil(at_once * (1 + self.extra_bytes / per_frame)), *noise_shape[1:]]
        return executor(model, shape, *args, **kwargs)

    def calc_cond_batch(self, executor, model, conds, x, timestep, model_options):
        """CALC_COND_BATCH wrapper: evaluates the clip chunk by chunk; out of memory, again with half the frames."""
        if active_chunk(model_options["transformer_options"]) is not None:
            return executor(model, conds, x, timestep, model_options)
        return self.within_memory(model, x, lambda: self.evaluate(executor, model, conds, x, timestep, model_options))

    def within_memory(self, model, x, evaluate):
        """What evaluate() returns, called again with half the frames at once for as long as memory runs out and frames
        may be parted."""
        if self.at_once is None:
            self.at_once = self.fitting(model, x, self.wanted_at_once(x.shape))
        while True:
            try:
                return evaluate()
            except (RuntimeError, MemoryError) as error:
                if self.whole or not is_out_of_memory(error):
                    raise
            # Outside of `except`, which would keep the failed call's tensors alive.
            comfy.model_management.soft_empty_cache()
            tried = min(self.at_once, len(x))
            if tried == 1:
                raise comfy.model_management.OOM_EXCEPTION(
                    f"{self.node}: memory ran out with one frame of {x.shape[-1] * 8}x{x.shape[-2] * 8} at a time"
                    f"{self.takes(model, x)}; use a smaller picture, fewer ControlNets, or start ComfyUI with "
                    "--lowvram."
                )
            logging.warning(
                "%s: memory ran out with %d frames at a time; going on with %d.", self.node, tried, tried // 2
            )
            self.at_once = tried // 2

    def takes(self, model, x) -> str:
        """A part of that sentence: what one frame takes, where that is known."""
        return ""

    def evaluate(self, executor, model, conds, x, timestep, model_options):
        chunks = self.plan(len(x), self.at_once).chunks
        active = ActiveChunk(chunks, 0, len(x), {})
        if len(chunks) == 1:
            return self.evaluate_chunk(executor, model, conds, x, timestep, with_chunk(model_options, active))
        results = [torch.empty_like(x) for _ in conds]
        for active in map(active.at, range(len(chunks))):
            frames = torch.tensor(active.frames, device=x.device)
            evaluated = self.evaluate_chunk(
                executor,
                model,
                [conds_of_frames(cond, active.frames) for cond in conds],
                x[frames],
                timestep[frames],
                with_chunk(model_options, active),
            )
            for result, part in zip(results, evaluated):
                active.put(part, result)
        return results

    def plan(self, frames: int, at_once: int) -> ChunkPlan:
        key_frames = INDEPENDENT if self.inflation is None else self.inflation.key_frames
        return plan_chunks(key_frames, frames, at_once, self.layers)

    def describe(self, shape) -> str:
        """How a clip's latent [n, c, h, w] will go through the UNet, and what is then not as all at once."""
        plan = self.plan(shape[0], self.wanted_at_once(shape))
        if len(plan.chunks) == 1:
            return "all frames at once"
        first = len(plan.chunks[0].frames)
        changes = [plan.approximation] if plan.approximation else []
        if self.inflation is not None and self.inflation.normalise_across_frames:
            changes.append(f"the norms across frames are those of {first} of the {shape[0]} frames")
        most = max(len(chunk.frames) for chunk in plan.chunks)
        cut = f"{len(plan.chunks)} chunks of up to {most} frames"
        return f"{cut}, not quite as all at once: {'; '.join(changes)}" if changes else cut

    def wanted_at_once(self, shape) -> int:
        frames, _, height, width = shape
        if self.whole:
            return frames
        return min(frames, self.asked or automatic_frames_at_once(height, width))

    def fitting(self, model, x, at_once: int) -> int:
        """The automatic size, halved until a chunk fits into ComfyUI's free memory; a person's number as it is."""
        if self.asked or self.whole:
            return at_once
        free = comfy.model_management.get_free_memory(x.device)
        while at_once > 1 and (
            model.memory_required([at_once, *x.shape[1:]]) * 1.5 + at_once * self.extra_bytes > free
        ):
            at_once = math.ceil(at_once / 2)
        return at_once


def is_out_of_memory(error) -> bool:
    """Whether an error says that memory ran out, on any device."""
    return (
        isinstance(error, MemoryError)
        or comfy.model_management.is_oom(error)
        or any(words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory"))
    )


def with_chunk(model_options: dict, active: ActiveChunk) -> dict:
    """Options for one chunk; `ad_params` is how AnimateDiff tells IPAdapter and others which frames are there."""
    options = {**model_options["transformer_options"], CHUNK: active}
    if len(active.chunks) > 1:
        options[AD_PARAMS] = {
            "full_length": active.clip_frames,
            "context_length": len(active.frames),
            "sub_idxs": list(active.frames),
        }
    return {**model_options, "transformer_options": options}


def conds_of_frames(conds, frames: tuple[int, ...]):
    """One of `calc_cond_batch`'s conditionings (a list of dictionaries, or None) for some of the clip's frames.

    What has an entry for each frame is cut: embeddings, masks, concatenated latents and the pictures of ControlNets;
    shorter ones are repeated, as ComfyUI does.
    """
    if conds is None:
        return None
    return [_cond_of_frames(cond, frames) for cond in conds]


def _cond_of_frames(cond: dict, frames) -> dict:
    cond = cond.copy()
    cond["model_conds"] = {
        name: value._copy_with(_of_frames(value.cond, frames)) if isinstance(value.cond, torch.Tensor) else value
        for name, value in cond["model_conds"].items()
    }
    if "mask" in cond:
        cond["mask"] = _of_frames(cond["mask"], frames)
    if cond.get("control") is not None:
        cond["control"] = _control_of_frames(cond["control"], frames)
    return cond


def _control_of_frames(control, frames):
    """A ControlNet for the duration of a call: with only these frames' pictures, not yet fitted to the latent."""
    previous = control.previous_controlnet
    previous = None if previous is None else _control_of_frames(previous, frames)
    hint = control.cond_hint_original
    if previous is control.previous_controlnet and (hint is None or len(hint) == 1):
        return control
    control = copy.copy(control)
    control.previous_controlnet = previous
    if hint is not None and len(hint) > 1:
        control.cond_hint_original = _of_frames(hint, frames)
        control.extra_concat_orig = [_of_frames(picture, frames) for picture in control.extra_concat_orig]
        control.cond_hint = None
        if hasattr(control, "control_input"):
            control.control_input = None
    return control


def _of_frames(values: torch.Tensor, frames) -> torch.Tensor:
    """Rows of a tensor for some frames: one row is everyone's, fewer rows than frames are repeated in turn."""
    if len(values) <= 1:
        return values
    index = torch.tensor(frames, device=values.device)
    return values[index % len(values)]
