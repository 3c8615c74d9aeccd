"""Memory is counted before it is taken: a clip that does not fit is refused in a sentence, not by the system."""

from pathlib import Path

import psutil
import torch

from ..refusal import Refusal, bytes_in_words, counted

_CONVERTED_BYTES = 12  # of a pixel: as RGB, and one colour of it as a number; measured
_CONTAINER = Path("/sys/fs/cgroup")  # the limit of a Linux container, which the system's own figure leaves out


def free_memory() -> int:
    """Bytes that can still be taken, within the limit of the container if there is one."""
    available = psutil.virtual_memory().available
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.current").read_text())
        kept_files = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        return min(available, max(0, limit - used + int(kept_files.get("inactive_file", 0))))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return available


def require_memory(needed: int, what: str, advice: str) -> None:
    """Refuses what does not fit in the free memory.

    Args:
        needed: Bytes.
        what: What needs them, as the subject of a plural sentence.
        advice: What to do about it.

    Raises:
        Refusal: Fewer bytes are free.
    """
    free = free_memory()
    if needed > free:
        raise Refusal(
            f"{what} would need {bytes_in_words(needed)}, but {bytes_in_words(free)} of memory are free; {advice}."
        )


def require_picture_memory(size: tuple[int, int], decoded_bytes: float, name: str) -> None:
    """Counts what decoding takes before it begins: a small file can hold huge pictures.

    Args:
        size: Their (width, height).
        decoded_bytes: Of a pixel, in all pictures that the decoder holds at once.
        name: What the clip is called in the sentence.

    Raises:
        Refusal: It does not fit in the free memory.
    """
    width, height = size
    require_memory(
        round(width * height * (decoded_bytes + _CONVERTED_BYTES)),
        f"the pictures of {name}, {width}x{height} pixels each,",
        "free some or choose a smaller copy",
    )


def allocate(
    count: int, size: tuple[int, int], advice: str = "choose a smaller 'count', 'width' or 'height'"
) -> torch.Tensor:
    """Room for the frames of a clip.

    Args:
        count: How many frames.
        size: Their (width, height) in pixels.
        advice: What to do where they do not fit in the free memory.

    Returns:
        Float32 [count, height, width, 3], not initialized.

    Raises:
        Refusal: They do not fit.
    """
    require_memory(count * size[0] * size[1] * 3 * 4, f"{counted(count, 'frame')} of {size[0]}x{size[1]}", advice)
    return torch.empty(count, size[1], size[0], 3)
