"""Means over cases of what was measured, and how sure they are."""
import math

import numpy as np

from .cases import Case
from .measures import MEASURES
from .methods import Method
from .runs import read_figures


def row(cases: list[Case], method: Method) -> dict:
    """A method's mean of every measure over the cases that have it, and of the seconds."""
    figures = [read_figures(case, method) for case in cases]
    return {"method": method.name, "cases": len(cases),
            **{name: mean([figure[name] for figure in figures]) for name in (*MEASURES, "seconds")}}


def rows(cases: list[Case], methods: list[Method]) -> list[dict]:
    """A row for each method, with `time`: its seconds in those of the first method that takes any."""
    table = [row(cases, method) for method in methods]
    unit = next((entry["seconds"] for entry in table if entry["seconds"] > 0), 1.0)
    return [{**entry, "time": entry.pop("seconds") / unit} for entry in table]


def paired_difference(cases: list[Case], ours: Method, other: Method, measure: str) -> tuple[float, float]:
    """The mean over cases of ours minus the other's, and its standard error."""
    differences = [read_figures(case, ours)[measure] - read_figures(case, other)[measure] for case in cases]
    differences = np.array([value for value in differences if math.isfinite(value)])
    return float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)


def mean(values) -> float:
    """Of those that are numbers; NaN where none is."""
    values = [value for value in values if math.isfinite(value)]
    return float(np.mean(values)) if values else math.nan
