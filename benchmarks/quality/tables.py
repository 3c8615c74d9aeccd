"""Means over cases of what was measured, and how sure they are."""

import math

import numpy as np

from .cases import Case
from .intervals import interval
from .measures import MEASURES
from .methods import Method
from .runs import read_figures


def row(cases: list[Case], method: Method) -> dict:
    """A method's mean of every measure over the cases that have it, and of the seconds; `cases`: how many were made."""
    figures = [figure for case in cases if (figure := read_figures(case, method)) is not None]
    return {
        "method": method.name,
        "cases": len(figures),
        **{name: mean([figure[name] for figure in figures]) for name in (*MEASURES, "seconds")},
    }


def rows(cases: list[Case], methods: list[Method]) -> list[dict]:
    """A row for each method, with `time`: its seconds in those of the first method that takes any, case by case."""
    table, unit = [], None
    for method in methods:
        entry = row(cases, method)
        unit = method if unit is None and entry["seconds"] > 0 else unit
        both = [] if unit is None else pairs(cases, method, unit)
        ratios = [ours["seconds"] / theirs["seconds"] for ours, theirs in both]
        del entry["seconds"]
        table.append({**entry, "time": mean(ratios)})
    return table


def pairs(cases: list[Case], ours: Method, other: Method) -> list[tuple[dict, dict]]:
    """The figures of both, of the cases that both have."""
    figures = [(read_figures(case, ours), read_figures(case, other)) for case in cases]
    return [pair for pair in figures if None not in pair]


def paired_difference(cases: list[Case], ours: Method, other: Method, measure: str) -> tuple[float, float]:
    """The mean over cases of ours minus the other's, and half the width of its interval."""
    return interval([one[measure] - another[measure] for one, another in pairs(cases, ours, other)])


def mean(values) -> float:
    """Of those that are numbers; NaN where none is."""
    values = [value for value in values if math.isfinite(value)]
    return float(np.mean(values)) if values else math.nan
