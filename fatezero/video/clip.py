"""What is asked for of a clip, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..refusal import Refusal
from .frames import Placement

STILL_FPS = 8.0  # of pictures that have no frame rate: FateZero's released clips play at 8
FPS_RANGE = (0.01, 1000.0)  # what every container can hold
BLACK = (0.0, 0.0, 0.0)

Fit = Callable[[tuple[int, int]], Placement]  # where a source of (width, height) goes
Color = tuple[float, float, float]  # red, green, blue; 0..1


@dataclass(frozen=True)
class Selection:
    """Which frames: from index `start`, every `every_nth`, at most `count` (0: all the rest)."""

    start: int = 0
    count: int = 0
    every_nth: int = 1

    def taken(self, available: int, name: str) -> int:
        """How many frames are taken.

        Args:
            available: How many the clip has.
            name: The clip, as it is called in a message.

        Raises:
            Refusal: The clip has none, or none at `start`.
        """
        if available == 0:
            raise Refusal(f"{name} has no frames; choose another file.")
        if self.start >= available:
            raise Refusal(
                f"'start' is {self.start} but {name} has {available} "
                f"frame{'s' * (available > 1)}; choose a start below {available}."
            )
        rest = -(-(available - self.start) // self.every_nth)
        return min(rest, self.count or rest)

    def span(self, available: int, taken: int) -> int:
        """How many of the clip's frames pass while the taken ones are shown; none after the clip's end."""
        return min(taken * self.every_nth, available - self.start)


@dataclass(frozen=True)
class Clip:
    """The frames that were read.

    images: float32 [n, H, W, 3] of 0..1, transparent places filled; fps: at which they keep the clip's speed; audio: of
    just their time span (ComfyUI's AUDIO) or None; source_size: (width, height) as the clip is shown; alpha: the
    opacity [n, H, W] of 0..1, None where all is opaque; notes: what the person should know, each a sentence.
    """

    images: torch.Tensor
    fps: float
    audio: dict[str, Any] | None
    source_size: tuple[int, int]
    alpha: torch.Tensor | None = None
    notes: tuple[str, ...] = ()


def playable_rate(fps: float, notes: list[str]) -> float:
    """The rate itself where a file can hold it, else the nearest that it can, with a note."""
    least, most = FPS_RANGE
    rate = min(max(fps, least), most)
    if rate != fps:
        notes.append(f"The clip's {fps:.3g} frames per second are outside what files hold; fps is {rate:g}.")
    return rate
