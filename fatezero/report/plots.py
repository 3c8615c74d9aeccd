"""Curves over the frames of a clip, drawn as a picture."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..video.frames import to_float
from .fonts import font

WIDTH, HEIGHT = 560, 300  # of a panel, in pixels
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 66, 44  # its margins
FINER = 4  # drawn larger and then reduced, for smooth lines
BACKGROUND, TEXT, GRID = "#ffffff", "#222222", "#dddddd"
COLORS = ("#d55e00", "#0072b2", "#009e73")  # told apart by the color-blind, too


@dataclass(frozen=True)
class Panel:
    """Curves on one pair of axes: title with the unit, and for each label a value per frame, or whatever the
    axis says (NaN leaves a gap).

    first_frame: the frame of the first value; limits: what the vertical axis shows at least; span: how much it covers
    at least, so that noise does not look like news.
    """

    title: str
    curves: dict[str, torch.Tensor]
    first_frame: int = 0
    limits: tuple[float, float] | None = None
    span: float = 0.0
    axis: str = "frame"

    def in_words(self, words: dict[str, str]) -> "Panel":
        """The same in another language: `words` are its for English ones."""
        curves = {words.get(label, label): values for label, values in self.curves.items()}
        title, axis = words.get(self.title, self.title), words.get(self.axis, self.axis)
        return replace(self, title=title, curves=curves, axis=axis)


def draw_panels(panels: list[Panel]) -> torch.Tensor:
    """The panels in two columns (one panel alone fills the picture); an IMAGE [1, H, W, 3] of 0..1."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    picture = Image.new("RGB", (columns * WIDTH, rows * HEIGHT), BACKGROUND)
    for index, panel in enumerate(panels):
        picture.paste(_draw(panel), ((index % columns) * WIDTH, index // columns * HEIGHT))
    return to_float(np.array(picture))[None]


def _draw(panel: Panel) -> Image.Image:
    picture = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    count = max(len(values) for values in panel.curves.values())
    first, last = panel.first_frame, panel.first_frame + max(count - 1, 1)
    ticks = vertical_ticks(panel)

    def place(frame: float, value: float) -> tuple[float, float]:
        across = (frame - first) / (last - first) if count > 1 else 0.5
        up = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    _text(draw, (16, 22), panel.title, 17, "lm")
    for tick in ticks:
        _, y = place(first, tick)
        _line(draw, [(LEFT, y), (WIDTH - RIGHT, y)], GRID, 1)
        _text(draw, (LEFT - 8, y), _number(tick, ticks[1] - ticks[0]), 13, "rm")
    for frame in frame_ticks(first, first + count - 1):
        x, y = place(frame, ticks[0])
        _line(draw, [(x, y), (x, y + 4)], TEXT, 1)
        _text(draw, (x, y + 7), str(frame), 13, "mt")
    _text(draw, ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6), panel.axis, 13, "mb")
    legend = float(LEFT)
    for color, (label, values) in zip(COLORS, panel.curves.items()):
        for piece in finite_pieces(values):
            points = [place(first + index, value) for index, value in piece]
            _line(draw, points, color, 2.5)
            for x, y in points if count <= 40 else points[:1] * (len(points) == 1):
                draw.ellipse([(x - 3) * FINER, (y - 3) * FINER, (x + 3) * FINER, (y + 3) * FINER], fill=color)
        if len(panel.curves) == 1:
            break  # the title says what it is
        _line(draw, [(legend, 48), (legend + 18, 48)], color, 2.5)
        legend += 24 + _text(draw, (legend + 24, 48), label, 13, "lm") + 22
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def vertical_ticks(panel: Panel) -> list[float]:
    """Four to eight round numbers that span the finite values of a panel and its limits."""
    curves = torch.cat([curve.flatten().double() for curve in panel.curves.values()])
    values = [*curves[torch.isfinite(curves)].tolist(), *(panel.limits or ())]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    spare = max(panel.span, 1e-3 * max(abs(low), abs(high)), 1e-6) - (high - low)
    if spare > 0:
        low, high = low - spare / 2, high + spare / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    bottom, top = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [index * step for index in range(bottom, max(top, bottom + 1) + 1)]


def frame_ticks(first: int, last: int) -> list[int]:
    """At most nine whole frames, evenly spaced."""
    step = next(
        step
        for power in (1, 10, 100, 1000, 10000, 100000)
        for step in (power, 2 * power, 5 * power)
        if (last - first) / step <= 8
    )
    return list(range(math.ceil(first / step) * step, last + 1, step))


def finite_pieces(values: torch.Tensor) -> list[list[tuple[int, float]]]:
    """The stretches of finite values as (index, value)."""
    pieces: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values.tolist()):
        if math.isfinite(value):
            pieces[-1].append((index, value))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _number(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-6))
    decimals += abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6
    return f"{value + 0.0:.{decimals}f}"


def _line(draw, points, color: str, width: float) -> None:
    draw.line([(x * FINER, y * FINER) for x, y in points], fill=color, width=round(width * FINER), joint="curve")


def _text(draw, place, text: str, size: int, anchor: str) -> float:
    """Writes a text and returns its width."""
    letters = font(text, size * FINER)
    draw.text((place[0] * FINER, place[1] * FINER), text, TEXT, letters, anchor)
    return draw.textlength(text, letters) / FINER
