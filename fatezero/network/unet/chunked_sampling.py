"""Sampling in chunks of frames, under any of ComfyUI's samplers: each evaluation is cut up and put together.

The sampler itself still sees the whole clip, whose latents are small. One object lives as long as a sampling run, on
the run's private options; the model is never touched.
"""

import logging
import math
from collections.abc import Callable, Sequence

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP

from ...refusal import Refusal, counted
from ...voice import Voice
from ..frame_chunks import ActiveChunk, ChunkPlan, plan_chunks
from ..model_call import ModelCall
from ..option_keys import CHUNK, FRAMES_AT_ONCE, TUNED, takes_charge, wrap_run
from .attention import with_replaced_blocks
from .check import size_in_pixels
from .chunk_size import automatic_frames_at_once, fitting_frames, is_out_of_memory, memory_to_come
from .inflation import inflation_of
from .remembering import remembering_node
from .temporal_parts import temporal_parts_of
from .walk import transformer_depths

INDEPENDENT = ("current",)
APPROXIMATELY = "not quite as all at once"  # by which a plan is told from an exact one; `describe_plan` says it


class MemoryRefusal(Refusal, comfy.model_management.OOM_EXCEPTION):  # type: ignore[misc]
    """A refusal because even one frame does not fit into memory; ComfyUI frees what it has loaded after it."""


def sampled_in_chunks(model, frames_at_once: int, voice: Voice | None = None):
    """A clone of the model that any sampler evaluates in chunks of frames.

    Args:
        model: ModelPatcher.
        frames_at_once: At most so many in each chunk; 0 chooses by the clip's size and by free memory.
        voice: Tells how a clip goes through the model, and signs refusals.
    """
    voice = voice or Voice()
    chunked = model.clone()
    chunked.model_options["transformer_options"][FRAMES_AT_ONCE] = frames_at_once

    def outer_sample(executor, *args, **kwargs):
        guider = executor.class_obj
        if takes_charge(guider.model_options["transformer_options"]):  # an edit or inversion brings chunks of its own
            return executor(*args, **kwargs)
        with voice.signing():
            ChunkedRun(guider.model_patcher, tell=voice.tell).install(guider)
            try:
                return executor(*args, **kwargs)
            finally:
                voice.end_run()

    chunked.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, CHUNK)
    chunked.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, CHUNK, outer_sample)
    return chunked


class ChunkedRun:
    """One sampling run, whose every evaluation of the model goes in chunks.

    at_once: frames per chunk, None until the first evaluation, when the model is loaded and its memory is known.
    """

    def __init__(
        self,
        model,
        evaluate_chunk: Callable[[ModelCall], list[torch.Tensor]] = ModelCall.run,
        extra_bytes: float = 0.0,
        tell: Callable[[str], None] | None = None,
    ):
        """Prepares a run.

        Args:
            model: ModelPatcher.
            evaluate_chunk: What to do for one chunk, by default just the call; it may be asked again for the same
                frames after running out of memory.
            extra_bytes: What it holds besides ComfyUI's own estimate, for one frame.
            tell: Told in words how the clip goes through the model: before the model is loaded, before the first
                evaluation where that has changed, and after memory ran out.
        """
        self.model, self.device = model.model, model.load_device
        self.evaluate_chunk = evaluate_chunk
        self.extra_bytes = extra_bytes
        self.tell = tell or (lambda text: None)
        self.inflation = inflation_of(model)
        self.asked = model.model_options.get("transformer_options", {}).get(FRAMES_AT_ONCE, 0)
        # Modules that another node injected (AnimateDiff's) may tie frames together in ways that we cannot carry along.
        self.remembering = remembering_node(model)
        self.has_motion = bool(model.injections)
        self.spans_clip = temporal_parts_of(model) is not None
        self.whole = self.spans_clip or self.remembering is not None or self.has_motion
        self.tuned = model.get_attachment(TUNED)
        self.layers = sum(depth for _, depth in transformer_depths(self.model.diffusion_model))
        self.at_once: int | None = None
        self.plans: dict[tuple[int, int], ChunkPlan] = {}  # on the device, by frames of the clip and at once
        self.until_short: str | None = None  # how the clip went through the model until memory ran out, in words

    def install(self, guider) -> None:
        """Puts itself around the run's evaluations, outside of what other nodes wrap around them."""
        options = guider.model_options["transformer_options"]
        wrap_run(options, WrappersMP.PREPARE_SAMPLING, CHUNK, self.prepare_sampling)
        wrap_run(options, WrappersMP.CALC_COND_BATCH, CHUNK, self.calc_cond_batch)

    def prepare_sampling(self, executor, model, noise_shape, *args, **kwargs):
        """PREPARE_SAMPLING wrapper: ComfyUI makes room for one chunk and what we hold beside it, not for the clip."""
        if self.remembering is not None and 0 < self.asked < noise_shape[0]:
            raise Refusal(
                f"'frames at once' of Inflate UNet is {self.asked}, but {self.remembering} on 'model' remembers whole "
                f"calls and would mix the parts of the clip; set 'frames at once' to 0, or remove {self.remembering}."
            )
        if self.has_motion and 0 < self.asked < noise_shape[0]:
            raise Refusal(
                f"'frames at once' of Inflate UNet is {self.asked}, but a motion module on 'model' (AnimateDiff ...) "
                "ties all frames together; set 'frames at once' to 0."
            )
        self.tell(self.describe(noise_shape))
        at_once = self.wanted_at_once(noise_shape)
        per_frame = model.model.memory_required([2, *noise_shape[1:]])  # ComfyUI reserves two rows for each frame
        shape = [math.ceil(at_once * (1 + self.extra_bytes / per_frame)), *noise_shape[1:]]
        return executor(model, shape, *args, **kwargs)

    def calc_cond_batch(self, executor, model, conds, x, timestep, model_options):
        """CALC_COND_BATCH wrapper: evaluates the clip chunk by chunk; out of memory, again with half the frames."""
        call = ModelCall(executor, model, conds, x, timestep, with_replaced_blocks(model_options))
        if call.active is not None:
            return call.run()
        return self.within_memory(x, lambda: self.evaluate(call))

    def within_memory(self, x: torch.Tensor, evaluate):
        """What evaluate() returns, called again with half the frames at once for as long as memory runs out and frames
        may be parted; x: the clip's latent."""
        if self.at_once is None:
            self.at_once = self.fitting(x.shape, comfy.model_management.get_free_memory(self.device))
            self.tell(self.describe(x.shape))
        while True:
            try:
                return evaluate()
            except (RuntimeError, MemoryError) as error:
                if (self.whole and not self.spans_clip) or not is_out_of_memory(error):
                    raise
            # Outside of `except`, which would keep the failed call's tensors alive.
            comfy.model_management.soft_empty_cache()
            if self.spans_clip:
                raise MemoryRefusal(
                    f"memory ran out with {counted(len(x), 'frame')} of {size_in_pixels(x.shape)}, which must go "
                    "together since the temporal attention of a tuned model spans the clip; use fewer frames or a "
                    "smaller picture."
                )
            self.halve(x.shape)

    def halve(self, shape: Sequence[int]) -> None:
        """Goes on with half the frames at once, and tells so: it may change the result."""
        tried = min(self.at_once or shape[0], shape[0])
        if tried == 1:
            raise MemoryRefusal(
                f"memory ran out with one frame of {size_in_pixels(shape)} at a time"
                f"{self.takes(shape)}; use a smaller picture, fewer ControlNets, or start ComfyUI with --lowvram."
            )
        logging.warning("FateZero: memory ran out with %d frames at a time; going on with %d.", tried, tried // 2)
        self.until_short = self.until_short or self.describe(shape)
        self.at_once = tried // 2
        self.tell(self.describe(shape))

    def takes(self, shape: Sequence[int]) -> str:
        """A part of that sentence: what one frame takes, where that is known."""
        return ""

    def evaluate(self, call: ModelCall) -> list[torch.Tensor]:
        """The clip's denoised latents under each conditioning, chunk by chunk."""
        assert self.at_once is not None
        x = call.x
        size = len(x), self.at_once
        plan = self.plans[size] = self.plans.get(size) or self.plan(*size).to(x.device)
        first = ActiveChunk(plan.chunks, 0, len(x), {})
        if len(first.chunks) == 1:
            return self.evaluate_chunk(call.of_chunk(first))
        results = [torch.empty_like(x) for _ in call.conds]
        for active in map(first.at, range(len(first.chunks))):
            for result, part in zip(results, self.evaluate_chunk(call.of_chunk(active))):
                active.put(part, result)
        return results

    def plan(self, frames: int, at_once: int) -> ChunkPlan:
        """The chunks of a clip."""
        key_frames = INDEPENDENT if self.inflation is None else self.inflation.key_frames
        return plan_chunks(key_frames, frames, at_once, self.layers)

    def describe(self, shape: Sequence[int]) -> str:
        """How a clip's latent [n, c, h, w] goes through the model, and what is then not as all at once: as it runs, or
        before the run as it will by the memory that ComfyUI can have free."""
        if self.spans_clip:
            together = f"all {counted(shape[0], 'frame')} at once"
            return f"{together}, which the temporal attention spans{self.unlike_tuning(shape)}"
        at_once = self.at_once or self.fitting(shape, memory_to_come(self.device))
        text = self.describe_plan(self.plan(shape[0], at_once), is_short=at_once < self.wanted_at_once(shape))
        if self.until_short is not None:
            text += f"\nmemory ran out on the way; until then: {self.until_short}"
        return text

    def unlike_tuning(self, shape: Sequence[int]) -> str:
        """What of a clip's latent [n, c, h, w] is not as in the tuning of the model, as the end of a sentence."""
        frames, size = getattr(self.tuned, "frames", None), getattr(self.tuned, "size", None)
        frames = None if frames == shape[0] else frames
        pictures = "" if size in (None, (shape[-2], shape[-1])) else size_in_pixels(size)
        if frames is not None and pictures:
            return f"; it was tuned on {counted(frames, 'frame')} and pictures of {pictures}"
        if frames is not None:
            return f"; it was tuned on {counted(frames, 'frame')}"
        return f"; it was tuned on pictures of {pictures}" if pictures else ""

    def describe_plan(self, plan: ChunkPlan, is_short: bool) -> str:
        """A plan in words; is_short: whether memory asks for smaller chunks than wanted."""
        if len(plan.chunks) == 1:
            return "all frames at once"
        most = max(len(chunk.frames) for chunk in plan.chunks)
        text = f"{len(plan.chunks)} chunks of up to {counted(most, 'frame')}"
        if is_short:
            text += " since memory is short"
        changes = [plan.approximation] if plan.approximation else []
        if self.inflation is not None and self.inflation.normalise_across_frames:
            frames = sum(chunk.own_count for chunk in plan.chunks)
            changes.append(f"the norms across frames are those of {len(plan.chunks[0].frames)} of the {frames} frames")
        return f"{text}, not quite as all at once: {'; '.join(changes)}" if changes else text

    def wanted_at_once(self, shape: Sequence[int]) -> int:
        """Frames per chunk while memory is no concern."""
        frames, _, height, width = shape
        if self.whole:
            return frames
        return min(frames, self.asked or automatic_frames_at_once(height, width))

    def fitting(self, shape: Sequence[int], free: float) -> int:
        """Frames per chunk that fit into free bytes; a person's own number as it is."""
        wanted = self.wanted_at_once(shape)
        if self.asked or self.whole:
            return wanted
        return fitting_frames(self.model, shape, wanted, free, self.extra_bytes)
