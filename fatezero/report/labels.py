"""Labels on pictures: on a bar along the upper edge, and pictures in a grid with a bar above each."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..video.frames import to_float
from .fonts import font

GAP = 4  # pixels between the pictures of a grid
BAR, TEXT = 0.08, 0.95  # grey levels
SMALLEST, LARGEST = 9, 36  # letters, in pixels


def letter_size(width: int, height: int) -> int:
    """The size of the letters that suits a picture, in pixels."""
    return max(11, min(LARGEST, round(min(width, height) / 18)))


def bar_height(width: int, height: int) -> int:
    """The height of the bar that suits a picture, in pixels."""
    return round(1.6 * letter_size(width, height))


def write_on(bar: torch.Tensor, text: str, value: str = "", opacity: float = 1.0) -> None:
    """Writes a text at the left and a value at the right of a bar, in place.

    What is too long gets smaller letters, and then the text loses its end.

    Args:
        bar: [h, w, 3] of 0..1.
        text: On one line.
        value: Never cut.
        opacity: How much the bar hides of what is below it, 0..1.
    """
    height, width = bar.shape[:2]
    text = " ".join(text[:200].split())  # on one line
    bar.lerp_(torch.full_like(bar, BAR), opacity)
    margin = max(2, height // 4)
    size, text = _fitted(text, value, round(height / 1.6), width - 2 * margin)
    picture = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(picture)
    draw.text((margin, height / 2), text, 255, font(text, size), "lm")
    draw.text((width - margin, height / 2), value, 255, font(value, size), "rm")
    bar.lerp_(torch.full_like(bar, TEXT), to_float(np.array(picture))[..., None].to(bar))


def _fitted(text: str, value: str, size: int, width: int) -> tuple[int, str]:
    """The size of letters, and as much of the text, with which text and value fit side by side into a width."""

    def length(text, size):
        both = f"{text}  {value}" if value else text
        return font(both, size).getlength(both)

    while size > SMALLEST and length(text, size) > width:
        size -= 1
    if length(text, size) <= width:
        return size, text
    while text and length(text + "…", size) > width:
        text = text[:-1]
    return size, text.rstrip() + "…"


class LabelledGrid(NamedTuple):
    """Cells of one size (width, height), each with a bar above it, in rows of `columns`."""

    columns: int
    cells: int
    size: tuple[int, int]

    @property
    def bar(self) -> int:
        return bar_height(*self.size)

    @property
    def total(self) -> tuple[int, int]:
        """Width and height of the whole grid."""
        rows = -(-self.cells // self.columns)
        width, height = self.size
        return self.columns * (width + GAP) - GAP, rows * (height + self.bar + GAP) - GAP

    def place(self, canvas: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The bar and the cell of an index, as views of a canvas [H, W, 3] of the total size."""
        width, height = self.size
        left = index % self.columns * (width + GAP)
        top = index // self.columns * (height + self.bar + GAP)
        cell = canvas[top : top + self.bar + height, left : left + width]
        return cell[: self.bar], cell[self.bar :]
