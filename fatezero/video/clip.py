"""What is asked for of a clip, and what comes of it."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..refusal import Refusal, counted
from .frames import Placement

STILL_FPS = 8.0  # of pictures that have no frame rate: FateZero's released clips play at 8
FPS_RANGE = (0.01, 1000.0)  # what every container can hold
_ROUNDING = 0.0005  # seconds by which time stamps are rounded
BLACK = (0.0, 0.0, 0.0)

Fit = Callable[[tuple[int, int]], Placement]  # where a source of (width, height) goes
Color = tuple[float, float, float]  # red, green, blue; 0..1


@dataclass(frozen=True)
class Selection:
    """Which frames: from index `start`, every `every_nth`, at most `count` (0: all the rest).

    Of the clip's own frames, or, with a `rate`, of those that it has when it is played at so many frames per second.
    `batch` takes the part after so many parts of `count` frames.
    """

    start: int = 0
    count: int = 0
    every_nth: int = 1
    rate: float = 0.0
    batch: int = 0

    @property
    def first(self) -> int:
        """The index of the first frame."""
        return self.start + self.batch * self.count * self.every_nth

    def frames(self, seconds: list[float], name: str) -> list[int]:
        """Which of the clip's own frames are taken, in order; with a high `rate`, one of them several times.

        Args:
            seconds: When each is shown, in order.
            name: The clip, as it is called in a message.

        Raises:
            Refusal: As `taken`.
        """
        shown = self._played(seconds) if self.rate and len(seconds) > 1 else range(len(seconds))
        return list(shown[self.first :: self.every_nth])[: self.taken(len(shown), name)]

    def playing_rate(self, own: float) -> float:
        """At which the taken frames keep the clip's speed, where its own frames play at `own`."""
        return (self.rate or own) / self.every_nth

    def _played(self, seconds: list[float]) -> list[int]:
        """The frame on the screen at each tick of `rate`; the last is shown as long as the others on average."""
        span = seconds[-1] - seconds[0]
        ticks = max(1, round((span + span / (len(seconds) - 1)) * self.rate))
        begin = seconds[0] + _ROUNDING
        return [bisect_right(seconds, begin + tick / self.rate) - 1 for tick in range(ticks)]

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
        if self.first >= available and self.batch:
            clip = f"{name} with 'force rate' {self.rate:g}" if self.rate else name
            raise Refusal(
                f"'batch' {self.batch} begins at frame {self.first}, but {clip} has {counted(available, 'frame')}; "
                "all of its parts are done."
            )
        if self.first >= available:
            raise Refusal(
                f"'start' is {self.start} but {name} has {counted(available, 'frame')}; "
                f"choose a start below {available}."
            )
        rest = -(-(available - self.first) // self.every_nth)
        return min(rest, self.count or rest)


@dataclass(frozen=True)
class ClipFit:
    """How frames came out of their footage, so that a mask of that footage can follow them.

    source_size: (width, height) of the footage as it is shown; where: each frame went; taken: their indices in it.
    """

    source_size: tuple[int, int]
    where: Placement
    taken: tuple[int, ...]


@dataclass(frozen=True)
class Clip:
    """The frames that were read.

    images: float32 [n, H, W, 3] of 0..1, transparent places filled; fps: at which they keep the clip's speed; audio: of
    just their time span (ComfyUI's AUDIO) or None; fit: how they came out of the file; alpha: the opacity [n, H, W] of
    0..1, None where all is opaque; notes: what the person should know, each a sentence.
    """

    images: torch.Tensor
    fps: float
    audio: dict[str, Any] | None
    fit: ClipFit
    alpha: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def source_size(self) -> tuple[int, int]:
        """(width, height) as the footage is shown."""
        return self.fit.source_size


def led_by(lead: Clip, clip: Clip) -> Clip:
    """A clip with the frame of another before it; both of one footage, in one size. Rate and sound are the clip's."""
    alpha = None
    if lead.alpha is not None or clip.alpha is not None:
        alpha = torch.cat([torch.ones(c.images.shape[:3]) if c.alpha is None else c.alpha for c in (lead, clip)])
    fit = replace(clip.fit, taken=lead.fit.taken + clip.fit.taken)
    return replace(clip, images=torch.cat((lead.images, clip.images)), alpha=alpha, fit=fit)


def playable_rate(fps: float, notes: list[str]) -> float:
    """The rate itself where a file can hold it, else the nearest that it can, with a note."""
    least, most = FPS_RANGE
    rate = min(max(fps, least), most)
    if rate != fps:
        notes.append(f"The clip's rate of {fps:.3g} per second is outside what files hold; 'fps' is {rate:g}.")
    return rate
