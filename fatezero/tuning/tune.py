"""A whole tuning, from a checkpoint and a clip to a tuned model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import comfy.model_management
import torch

from ..network.chunk_size import is_out_of_memory
from ..network.option_keys import TOKENS
from .first_weights import first_state
from .memory import AUTO, TuningMemory, plan_memory
from .settings import Tuning
from .tuned_state import TunedState, tuned_model, tuned_state_of
from .tuning_check import check_tuning
from .tuning_run import TuningRun

WATCHED = (0.1, 0.35, 0.6, 0.85)  # of the timesteps, at which the same noise is tried again and again
CHECKS = 20  # of them during a tuning


@dataclass
class TuningProgress:
    """What a tuning came to: the loss of each step, and at some steps the loss for always the same noise."""

    memory: TuningMemory
    losses: list[float] = field(default_factory=list)
    watched: dict[int, float] = field(default_factory=dict)

    @property
    def best_step(self) -> int:
        return min(self.watched, key=lambda step: self.watched[step])


def tune(
    model,
    conditioning,
    latent: torch.Tensor,
    settings: Tuning,
    *,
    checkpointing: str = AUTO,
    callback: Callable | None = None,
    on_loss: Callable[[int, float], None] | None = None,
    on_state: Callable[[int, TunedState], None] | None = None,
) -> tuple[object, TuningProgress]:
    """Tunes a clone of a model on one clip; the model given in stays as it is, to the last bit.

    A model that is tuned already is tuned further. Of the states that were tried on always the same noise, the best is
    kept.

    Args:
        model: ModelPatcher of SD 1.x or 2.x, with the LoRAs that the edits will have.
        conditioning: The clip's prompt, one plain CONDITIONING.
        latent: The clip [n, c, h, w], as a VAE gives it.
        settings: What to train and how long.
        checkpointing: AUTO, ON or OFF: whether blocks compute twice to save memory.
        callback: ComfyUI's (step, denoised, x, total).
        on_loss: Told (step, loss) after each step.
        on_state: Told (steps taken, the state after them) whenever the same noise is tried again.
    Returns: The tuned ModelPatcher, and how it went.
    Raises: Refusal, before any work, where these do not fit together or into memory.
    """
    check_tuning(model, conditioning, latent, settings)
    memory = plan_memory(model, latent, settings, checkpointing)
    start = tuned_state_of(model) or first_state(model, settings)
    working = tuned_model(model, start, settings.key_frames)
    patchers = [working, *working.get_nested_additional_models()]
    comfy.model_management.load_models_gpu(patchers, memory_required=memory.total)
    after = _describer(start, conditioning, len(latent), settings)

    def keep(step: int, run: TuningRun) -> None:
        if on_state is not None:
            on_state(step, after(step, run.weights.snapshot()))

    try:
        for patcher in patchers:
            patcher.pre_run()
        run = TuningRun(working, start, conditioning[0][0], latent, settings, memory.checkpoint)
        progress = TuningProgress(memory)
        best = _optimize(run, progress, callback, on_loss, keep)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        advice = "use fewer frames or smaller pictures" if memory.checkpoint else "set 'checkpointing' to on"
        raise comfy.model_management.OOM_EXCEPTION(
            f"memory ran out, of which a step takes {memory}; {advice}."
        ) from error
    finally:
        for patcher in patchers:
            patcher.cleanup()
    return tuned_model(model, after(progress.best_step, best)), progress


def _describer(start: TunedState, conditioning, frames: int, settings: Tuning):
    """(steps taken, weights after them) -> the state that they are."""
    tokens = conditioning[0][1].get(TOKENS)
    prompt = tokens.text if tokens is not None else start.prompt

    def after(step: int, weights: dict[str, torch.Tensor]) -> TunedState:
        return TunedState(
            start.layout,
            {**start.tensors, **weights},
            settings.key_frames,
            start.base,
            frames,
            (start.steps or 0) + step,
            prompt,
        )

    return after


def _optimize(run: TuningRun, progress: TuningProgress, callback, on_loss, keep) -> dict[str, torch.Tensor]:
    """Takes all steps; returns the weights of the best of the states that were tried."""
    steps, every = run.settings.steps, max(1, run.settings.steps // CHECKS)
    generator = torch.Generator().manual_seed(run.settings.seed + 1)  # the first weights have the seed itself
    fixed_noise = torch.randn(run.clip.shape, generator=generator)
    best, drawn = {}, run.clip
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            drawn, progress.watched[step] = _watch(run, fixed_noise)
            if progress.best_step == step:
                best = run.weights.snapshot()
            keep(step, run)
        if step == steps:
            return best
        comfy.model_management.throw_exception_if_processing_interrupted()
        timestep = int(torch.randint(len(run.alphas), (), generator=generator))
        noise = torch.randn(run.clip.shape, generator=generator)
        progress.losses.append(run.step(timestep, noise))
        if on_loss is not None:
            on_loss(step, progress.losses[-1])
        if callback is not None:
            callback(step, drawn, run.clip, steps)
    return best


def _watch(run: TuningRun, noise: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The clip as it is seen through the most of the noises that are tried, and the mean loss over them."""
    tried = [run.drawn(int(share * len(run.alphas)), noise) for share in WATCHED]
    return tried[-1][0], sum(loss for _, loss in tried) / len(tried)
