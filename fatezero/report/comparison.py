"""Clips beside each other, frame by frame, with labels, and what differs between them made visible."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from comfy.model_management import throw_exception_if_processing_interrupted

from ..video.frames import Placement, place, placement
from ..video.memory import allocate
from .labels import LabelledGrid, write_on
from .metrics import change

SIDE_BY_SIDE, STACKED, GRID, SPLIT = LAYOUTS = ("side by side", "stacked", "grid", "split")
EDGE = 0.95  # grey level of the line between the parts of a split picture


@dataclass(frozen=True, eq=False)
class Compared:
    """What is compared: clips [n or 1, H, W, 3 or 4] of 0..1; a single picture is held.

    Attributes:
        clips: In the order in which they are shown.
        labels: What is written above them.
        names: What the node calls them.
    """

    clips: tuple[torch.Tensor, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def frames(self) -> int:
        """How many frames there are to compare: those of the shortest clip."""
        return min((len(clip) for clip in self.clips if len(clip) > 1), default=1)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first clip."""
        return self.clips[0].shape[2], self.clips[0].shape[1]

    def called(self, clip: int) -> str:
        """The label of a clip, or its name if it has none."""
        return self.labels[clip].strip() or self.names[clip]

    def frame(self, clip: int, index: int) -> torch.Tensor:
        """A frame as float32 [H, W, 3] on the CPU."""
        return self.clips[clip][index % len(self.clips[clip]), ..., :3].float().cpu()

    def aligned(self, clip: int, index: int) -> torch.Tensor:
        """A frame at the first clip's size, cut around its middle where its aspect is another."""
        picture = self.frame(clip, index)
        return place(picture, placement((picture.shape[1], picture.shape[0]), self.size, "crop", 1))


def differences(compared: Compared) -> list[torch.Tensor]:
    """Mean absolute difference of every clip but the first to the first, for each frame; [n] each, of 0..1."""
    found = []
    for clip in range(1, len(compared.clips)):
        frames = []
        for index in range(compared.frames):
            throw_exception_if_processing_interrupted()
            frames.append(change(compared.aligned(0, index)[None], compared.aligned(clip, index)[None]))
        found.append(torch.cat(frames))
    return found


def compare(compared: Compared, layout: str, measured: list[torch.Tensor], amplify: float | None) -> torch.Tensor:
    """The clips in one picture per frame.

    Args:
        compared: The clips.
        layout: One of LAYOUTS; in a split picture each clip fills its own part, from left to right.
        measured: From `differences`.
        amplify: By what the absolute differences to the first clip are multiplied. They are shown in pictures of their
            own after the clips; None for none.

    Returns:
        IMAGE [frames, H', W', 3], a new tensor.

    Raises:
        Refusal: When it does not fit into memory.
    """
    clips = range(len(compared.clips))
    shown = 1 if layout == SPLIT else len(clips)
    cells = shown + (len(clips) - 1) * (amplify is not None)
    fitted = [_fitted(clip, compared.size, layout) for clip in compared.clips]
    widths, heights = zip(*fitted)
    size = compared.size if layout == SPLIT else (max(widths), max(heights))
    grid = LabelledGrid(_columns(layout, cells), cells, size)
    result = allocate(compared.frames, grid.total, "compare shorter, smaller or fewer clips")
    for index, canvas in enumerate(result.zero_()):
        throw_exception_if_processing_interrupted()
        if layout == SPLIT:
            _split(*grid.place(canvas, 0), compared, index)
        else:
            for clip in clips:
                bar, cell = grid.place(canvas, clip)
                _paste(cell, place(compared.frame(clip, index), Placement(fitted[clip], fitted[clip])))
                write_on(bar, compared.labels[clip])
        if amplify is not None:
            for clip in clips[1:]:
                bar, cell = grid.place(canvas, shown + clip - 1)
                _paste(cell, _amplified(compared, clip, index, amplify))
                title = f"{compared.called(clip)} - {compared.called(0)}, x{amplify:g}"
                write_on(bar, title, levels(measured[clip - 1][index]))
    return result


def _amplified(compared: Compared, clip: int, index: int, factor: float) -> torch.Tensor:
    """The absolute difference of a frame to the first clip, multiplied."""
    return (compared.aligned(clip, index) - compared.aligned(0, index)).abs().mul_(factor).clamp_(0, 1)


def _fitted(clip: torch.Tensor, size: tuple[int, int], layout: str) -> tuple[int, int]:
    """A clip's width and height at the height of `size`, or at its width when clips are stacked."""
    height, width = clip.shape[1:3]
    scale = size[0] / width if layout == STACKED else size[1] / height
    return max(1, round(width * scale)), max(1, round(height * scale))


def _columns(layout: str, cells: int) -> int:
    return {STACKED: 1, GRID: math.ceil(math.sqrt(cells))}.get(layout, cells)


def _split(bar: torch.Tensor, cell: torch.Tensor, compared: Compared, index: int) -> None:
    """Fills a cell with a part of each clip, thin lines between them, and the bar with their labels."""
    count, width = len(compared.clips), cell.shape[1]
    for clip, label in enumerate(compared.labels):
        part = slice(width * clip // count, width * (clip + 1) // count)
        cell[:, part] = compared.aligned(clip, index)[:, part]
        write_on(bar[:, part], label)
        if clip:
            cell[:, part.start] = EDGE


def _paste(cell: torch.Tensor, picture: torch.Tensor) -> None:
    """Puts a picture into the middle of a cell at least as large."""
    height, width = picture.shape[:2]
    top, left = (cell.shape[0] - height) // 2, (cell.shape[1] - width) // 2
    cell[top : top + height, left : left + width] = picture


def report(compared: Compared, measured: list[torch.Tensor]) -> str:
    """How much each clip differs from the first, and where clips do not fit each other, a line each."""
    return "\n".join([*_differing(compared, measured), *_of_other_lengths(compared), *_of_other_sizes(compared)])


def _differing(compared: Compared, measured: list[torch.Tensor]) -> Iterator[str]:
    for clip, values in enumerate(measured, start=1):
        found = "the same" if not values.any() else levels(values.mean())
        if len(values) > 1 and values.any():
            found += f" on average, most in frame {int(values.argmax())}: {levels(values.max())}"
        yield f"{compared.called(clip)} - {compared.called(0)}: {found}"


def _of_other_lengths(compared: Compared) -> Iterator[str]:
    for name, clip in zip(compared.names, compared.clips):
        if len(clip) == 1 < compared.frames:
            yield f"'{name}' is one picture and is held."
        elif len(clip) > compared.frames:
            yield f"'{name}' has {len(clip)} frames; compared are {compared.frames}, those of the shortest."


def _of_other_sizes(compared: Compared) -> Iterator[str]:
    first_width, first_height = compared.size
    for name, clip in zip(compared.names, compared.clips):
        height, width = clip.shape[1:3]
        if (width, height) != compared.size:
            yield (
                f"'{name}' is {width}x{height}; it was scaled to the first's {first_width}x{first_height} to measure, "
                "and cut where its aspect is another."
            )


def levels(value: torch.Tensor) -> str:
    """A difference of 0..1 in levels of 255."""
    return f"{255 * float(value):.1f}/255"
