"""Pictures, one after the other, into the one tensor that becomes the clip."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, TypeVar

import torch

from ..refusal import Refusal
from .clip import STILL_FPS, Clip, ClipFit, Color, Fit, playable_rate
from .frames import Placement
from .memory import allocate
from .picture import Picture, placed
from .running import Progress

T = TypeVar("T")
_LATE = 0.1  # seconds by which a frame may come off its time without a word
_FILLED = "Transparent places are filled with 'background'; 'mask' has the opacity."


@dataclass(frozen=True)
class Collected:
    """images: [n, H, W, 3]; alpha: [n, H, W] or None; seconds: the frames' times in the clip, None if unknown;
    source_size: (width, height) of the first picture; where: it went."""

    images: torch.Tensor
    alpha: torch.Tensor | None
    seconds: list[float | None]
    source_size: tuple[int, int]
    where: Placement

    def clip(
        self, fps: float, taken: list[int], audio: dict[str, Any] | None = None, notes: Iterable[str] = ()
    ) -> Clip:
        """The clip of these frames; taken: their indices in the file."""
        all_notes = [*notes] + [_FILLED] * (self.alpha is not None)
        fit = ClipFit(self.source_size, self.where, tuple(taken[: len(self.images)]))
        return Clip(self.images, playable_rate(fps, all_notes), audio, fit, self.alpha, tuple(all_notes))


def collect(pictures: Iterable[Picture], expected: int, name: str, fit: Fit, background: Color) -> Collected:
    """Places pictures; a damaged file may have fewer than expected.

    Args:
        pictures: In order.
        expected: How many at most.
        name: What the clip is called in a message.
        fit: Places a source of a given size; all pictures go where the first one does.
        background: Fills what is transparent.

    Raises:
        Refusal: There is no picture, or the result does not fit in the free memory.
    """
    seconds: list[float | None] = []
    images, alpha, source_size = torch.empty(0), None, (0, 0)
    where: Placement | None = None
    progress = Progress(expected)
    for index, picture in enumerate(islice(pictures, expected)):
        if where is None:
            source_size, where = picture.size, fit(picture.size)
            images = allocate(expected, where.target)
        images[index], opacity = placed(picture, where, background)
        if opacity is not None:
            if alpha is None:
                alpha = torch.ones(images.shape[:3])
            alpha[index] = opacity
        seconds.append(picture.seconds)
        progress.step()
    if where is None:
        raise Refusal(f"no frame of {name} could be decoded from 'start' on; choose an earlier start or another file.")
    return Collected(
        images[: len(seconds)], None if alpha is None else alpha[: len(seconds)], seconds, source_size, where
    )


def picked(items: Iterable[T], indices: Iterable[int]) -> Iterator[T]:
    """Some of the items, by their indices in rising order, of which one may be asked for again.

    >>> list(picked("abcdef", [0, 2, 2, 3, 9]))
    ['a', 'c', 'c', 'd']
    """
    times = Counter(indices)
    for position, item in enumerate(items):
        for _ in range(times.pop(position, 0)):
            yield item
        if not times:
            return


def uneven_times(seconds: list[float | None], fps: float) -> list[str]:
    """What to tell of frames that the file shows at uneven times (variable frame rate), but that are given out evenly.

    Args:
        seconds: The frames' times.
        fps: At which they play.
    """
    known = [time for time in seconds if time is not None]
    late = max((abs(time - known[0] - index / fps) for index, time in enumerate(known)), default=0.0)
    if len(known) < len(seconds) or late < max(_LATE, 1 / fps):
        return []
    return [f"The file shows its frames at uneven times, here up to {late:.1f} s off; to keep them, set 'force rate'."]


def frame_rate(seconds: list[float | None], nominal: float | None, tick: float | Fraction) -> float:
    """The rate at which frames take as long as in the clip.

    The nominal one where their times agree with it, to the rounding of time stamps, and otherwise (variable frame rate,
    wrong header) their mean rate.

    Args:
        seconds: The frames' times.
        nominal: The rate that the file gives, if any.
        tick: The unit of its time stamps, in seconds.
    """
    known = [time for time in seconds if time is not None]
    if len(seconds) < 2 or len(known) < len(seconds):
        return nominal or STILL_FPS
    span, steps = known[-1] - known[0], len(known) - 1
    if nominal and abs(span - steps / nominal) <= max(2 * tick, 0.002):
        return nominal
    return steps / span if span > 0 else STILL_FPS
