"""A whole tuning, from a checkpoint and a clip to a tuned model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import comfy.model_management
import torch

from ..network.option_keys import TOKENS
from ..network.unet.chunk_size import is_out_of_memory
from ..network.unet.chunked_sampling import MemoryRefusal
from ..network.without_guidance import without_guidance
from .descent import Descent, Pictures, TuningProgress
from .first_weights import first_state
from .memory import TuningMemory, plan_memory
from .settings import AUTO, Tuning
from .tuned_state import TunedState, rank_of, tuned_model, tuned_state_of
from .tuning_check import check_pictures, check_tuning
from .tuning_run import TuningRun
from .unfinished import UnfinishedTuning


def tune(
    model,
    conditioning,
    latent: torch.Tensor,
    settings: Tuning,
    *,
    pictures: Pictures | None = None,
    checkpointing: str = AUTO,
    unfinished: UnfinishedTuning | None = None,
    callback: Callable | None = None,
    on_loss: Callable[[int, float], None] | None = None,
    on_state: Callable[[int, TunedState], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[object, TuningProgress]:
    """Tunes a clone of a model on one clip; the model given in stays as it is, to the last bit.

    A model that is tuned already is tuned further. Of the states that were tried on always the same noise, the best is
    kept.

    Args:
        model: ModelPatcher of SD 1.x or 2.x, with the LoRAs that the edits will have.
        conditioning: The clip's prompt, one plain CONDITIONING.
        latent: The clip [n, c, h, w], as a VAE gives it.
        settings: What to train and how long.
        pictures: What the model must not forget: each step on the clip follows one on as many of them.
        checkpointing: AUTO, ON or OFF: whether blocks compute twice to save memory.
        unfinished: Where a tuning is kept that is cancelled or crashes; one that lies there is gone on with.
        callback: ComfyUI's (step, denoised, x, total).
        on_loss: Told (step, loss) after each step.
        on_state: Told (steps taken, the state after them) whenever the same noise is tried again.
        tell: Told, before it starts, what memory it takes.

    Returns:
        The tuned ModelPatcher, and how it went.

    Raises:
        Refusal: Before any work, where these do not fit together or into memory.
    """
    check_tuning(model, conditioning, latent, settings)
    if pictures is not None:
        check_pictures(model, pictures.conditioning, pictures.latent, latent)
    given = tuned_state_of(model)
    if given is not None:  # whose parts stay as large as they are
        settings = replace(settings, rank=rank_of(given) or settings.rank)
    progress = TuningProgress(plan_memory(model, latent, settings, checkpointing))
    if tell is not None:
        tell(str(progress.memory))
    start = given or first_state(model, settings)
    after = _describer(start, conditioning, latent, settings)

    def keep(step: int, run: TuningRun) -> None:
        if on_state is not None:
            on_state(step, after(step, run.weights.snapshot()))

    bare = without_guidance(model)  # nothing guides a tuning, nor may a step be answered from memory (EasyCache)
    with _loaded(tuned_model(bare, start, settings.key_frames), progress.memory) as working:
        run = TuningRun(working, start, conditioning[0][0], latent, settings, progress.memory.checkpoint)
        best = Descent(run, progress, pictures, unfinished).go(callback, on_loss, keep)
    return tuned_model(model, after(progress.best_step, best)), progress


@contextmanager
def _loaded(model, memory: TuningMemory) -> Iterator:
    """Within it, a ModelPatcher with its parts is on its device, and running out of memory is one sentence."""
    patchers = [model, *model.get_nested_additional_models()]
    comfy.model_management.load_models_gpu(patchers, memory_required=memory.total)
    try:
        for patcher in patchers:
            patcher.pre_run()
        yield model
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        other = "" if memory.checkpoint else ", or set 'checkpointing' to on"
        raise MemoryRefusal(
            f"memory ran out, of which a step takes {memory}; use fewer frames or smaller pictures{other}."
        ) from error
    finally:
        for patcher in patchers:
            patcher.cleanup()


def _describer(start: TunedState, conditioning, latent: torch.Tensor, settings: Tuning):
    """(steps taken, weights after them) -> the state that they are."""
    tokens = conditioning[0][1].get(TOKENS)  # of Edit Prompts; no other node says which prompt it has encoded
    prompt = tokens.text if tokens is not None else None

    def after(step: int, weights: dict[str, torch.Tensor]) -> TunedState:
        return TunedState(
            start.layout,
            {**start.tensors, **weights},
            settings.key_frames,
            start.base,
            len(latent),
            (start.steps or 0) + step,
            prompt,
            (latent.shape[-2], latent.shape[-1]),
        )

    return after
