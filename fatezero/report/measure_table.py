"""The measures of an edit as a table, each with what its number means."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from ..refusal import counted
from . import metrics
from .edit_report import BothClips, Measured

# From which number on a measure means what, the first that it reaches; of changes in levels of 255.
CHANGE_SCALE = ((40, "strong"), (8, "clearly visible"), (2, "slightly visible"), (0, "not visible"))
TEXTURE_SCALE = ((2.5, "clearly visible"), (0, "not visible"))
PSNR_SCALE = ((30, "not visible"), (25, "slightly visible"), (20, "visible"), (0, "much changed"))
LPIPS_SCALE = ((0.3, "another picture"), (0.1, "similar"), (0, "looks the same"))
SCORE_STEP, STEADY_STEP, VARIANCE_STEP = 0.01, 0.01, 0.1  # smaller differences mean nothing; the last is a share


class Row(NamedTuple):
    """A line of the table: values after and perhaps before the edit, how they are written, and what they mean."""

    name: str
    form: Callable[[float], str]
    after: torch.Tensor
    before: torch.Tensor | None
    meaning: Callable[[float, float], str]


def table(measured: Measured) -> str:
    """The measures, a line each, of the clip after and of the clip before the edit; then what was left out and why."""
    frames, height, width = measured.size
    head = f"{counted(frames, 'frame')} of {width}x{height}"
    if measured.outside is not None:
        head += f", the mask is {metrics.mean(measured.outside.share):.1%} of the picture"
    rows = [row for row in _rows(measured) if not math.isnan(metrics.mean(row.after))]
    with_before = any(row.before is not None for row in rows)
    lines = [head, *([f"{'':29}{'after':>9}{'before':>9}"] if with_before else [])]
    lines += [_line(row, with_before) for row in rows]
    return "\n".join([*lines, *(f"Left out: {sentence}" for sentence in measured.left_out)])


def numbers(measured: Measured) -> dict[str, float]:
    """The same for programs: {measure: its mean after the edit}, changes as 0..1, without what is not finite."""
    means = {row.name: metrics.mean(row.after) for row in _rows(measured)}
    return {name: round(value, 6) for name, value in means.items() if math.isfinite(value)}


def scale(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """What a number means by a scale.

    >>> scale(31.0, PSNR_SCALE)
    'not visible'
    """
    return next((words for bound, words in steps if value >= bound), steps[-1][1])


def _line(row: Row, with_before: bool) -> str:
    after, before = metrics.mean(row.after), math.nan if row.before is None else metrics.mean(row.before)
    shown = f"{row.name:29}{row.form(after):>9}"
    if with_before:
        shown += f"{'' if row.before is None else row.form(before):>9}"
    return f"{shown}  {row.meaning(after, before)}".rstrip()


def _rows(measured: Measured) -> Iterator[Row]:
    """What was measured."""
    outside, inside = measured.outside, "whole picture" if measured.outside is None else "inside mask"
    yield Row(f"change, {inside}", _levels, measured.change_inside, None, _change)
    if outside is not None:
        yield Row("change, outside mask", _levels, outside.change, None, _change)
    yield Row("strongest change", _levels, torch.tensor(measured.strongest_change), None, _change)
    yield Row("change in small areas", _levels, measured.visible.areas, None, _change)
    yield Row("new texture", _levels, measured.visible.texture, None, _texture)
    yield Row(f"PSNR, {inside}", _decibels, _differing(measured.psnr_inside), None, _psnr)
    if outside is not None:
        yield Row("PSNR, outside mask", _decibels, _differing(outside.psnr), None, _psnr)
    if measured.lpips is not None:
        yield Row("LPIPS", _three, measured.lpips, None, lambda value, _: scale(value, LPIPS_SCALE))
    if measured.scores is not None:
        scores = measured.scores
        yield Row("CLIP score, target prompt", _three, scores.target, scores.target_before, _nearness)
        yield Row("CLIP score, source prompt", _three, scores.source, scores.source_before, _nearness)
        yield Row("Frame-Acc", _percent, scores.frame_accuracy, None, lambda *_: "frames nearer to the target prompt")
    if measured.neighbours is not None:
        yield _steadiness(measured.neighbours)
    if measured.object_variance is not None:
        yield Row("Object Semantic Variance", _four, *measured.object_variance, _variance)


def _steadiness(neighbours: BothClips) -> Row:
    def meaning(after: float, before: float) -> str:
        return "as steady as the clip" if after >= before - STEADY_STEP else "flickers more than the clip"

    return Row("Tem-Con", _three, *neighbours, meaning)


def _change(value: float, _: float) -> str:
    return scale(255 * value, CHANGE_SCALE)


def _texture(value: float, _: float) -> str:
    return scale(255 * value, TEXTURE_SCALE)


def _psnr(value: float, _: float) -> str:
    return scale(value, PSNR_SCALE) if math.isfinite(value) else ""


def _nearness(after: float, before: float) -> str:
    if abs(after - before) < SCORE_STEP:
        return "as near to it as before"
    return "nearer to it than before" if after > before else "farther from it than before"


def _variance(after: float, before: float) -> str:
    if abs(after - before) <= VARIANCE_STEP * before:
        return "the thing is as steady as before"
    return "the thing is steadier than before" if after < before else "the thing changes more than before"


def _differing(values: torch.Tensor) -> torch.Tensor:
    """PSNR without the frames in which nothing differs, whose infinity would hide the others."""
    return values[torch.isfinite(values)] if torch.isfinite(values).any() else values


def _levels(value: float) -> str:
    return f"{255 * value:.1f}/255"


def _decibels(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "the same"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _four(value: float) -> str:
    return f"{value:.4f}"
