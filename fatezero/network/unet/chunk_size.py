"""How many of a clip's frames go through the model at once: those asked for, or as many as memory allows."""

import math
from collections.abc import Sequence

import comfy.model_management
import torch

# As many latent cells as 8 frames of 512x512 have: enough to keep a GPU busy, and memory stays flat from there on.
AUTOMATIC_CELLS = 8 * 64 * 64
SAFETY = 1.5  # on ComfyUI's estimate of an evaluation, which is none too large


def automatic_frames_at_once(height: int, width: int) -> int:
    """Frames per chunk of a latent's height and width while memory is no concern.

    >>> automatic_frames_at_once(64, 64), automatic_frames_at_once(96, 64), automatic_frames_at_once(512, 512)
    (8, 5, 1)
    """
    return max(1, AUTOMATIC_CELLS // (height * width))


def fitting_frames(model, shape: Sequence[int], at_once: int, free: float, extra_bytes: float = 0.0) -> int:
    """A number of frames, halved until a chunk of them fits into memory.

    Args:
        model: BaseModel, for ComfyUI's own estimate of an evaluation.
        shape: The clip's latent, [n, c, h, w].
        at_once: The number of frames to begin with.
        free: Bytes that are free.
        extra_bytes: What is held for each frame besides the evaluation.
    """
    while at_once > 1 and model.memory_required([at_once, *shape[1:]]) * SAFETY + at_once * extra_bytes > free:
        at_once = math.ceil(at_once / 2)
    return at_once


def memory_to_come(device: torch.device) -> float:
    """Bytes that ComfyUI can have free on a device once a sampling run begins: it then moves out of the way what it has
    loaded there, other models and this model's own weights alike. On a CPU nothing is gained by that."""
    free = comfy.model_management.get_free_memory(device)
    if device.type in ("cpu", "mps"):
        return free
    loaded = comfy.model_management.current_loaded_models
    return free + sum(held.model_loaded_memory() for held in loaded if held.device == device and held.model is not None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    return (
        isinstance(error, MemoryError)
        or comfy.model_management.is_oom(error)
        or any(words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory"))
    )
