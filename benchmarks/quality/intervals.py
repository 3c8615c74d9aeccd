"""How sure a mean over cases is: Student's interval of 95 %."""

import math

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95


def interval(values) -> tuple[float, float]:
    """The mean of those values that are finite, and half the width of its interval, mean ± t · s / sqrt(n).

    NaN for the mean of none, and for the width of fewer than three, of which it says nothing (t of two is 12.7).
    """
    values = np.array([value for value in values if math.isfinite(value)])
    if len(values) < 3:
        return float(values.mean()) if len(values) else math.nan, math.nan
    quantile = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(values.mean()), float(quantile * values.std(ddof=1) / len(values) ** 0.5)


def excludes_zero(mean: float, half_width: float) -> bool:
    """Whether a difference shows; never where the width is unknown or nothing varies."""
    return 0 < half_width < abs(mean)


def in_words(mean: float, half_width: float, digits: int, sign: str = "") -> str:
    """As `12.3 ± 0.4`, empty for NaN."""
    if math.isnan(mean):
        return ""
    return f"{mean:{sign}.{digits}f}" + ("" if math.isnan(half_width) else f" ± {half_width:.{digits}f}")
