"""The reduced list that CI runs, and how much its figures change when nothing but the seeds does."""

from dataclasses import replace

import numpy as np

from .cases import TUNING, Case
from .methods import OURS
from .runs import read_figures

OTHER_SEEDS = 4
FRAMES = 3
GUARDED = ("success", "psnr_inside", "psnr_outside", "perceptual", "difference_error")  # what CI compares


def reduced_list(cases: list[Case]) -> list[list[Case]]:
    """For the first tuning clip of each kind: itself with fewer frames, and the same with other motions and grounds."""
    first = [case for case in cases if case.half == TUNING and case.name.endswith("_1a") and case.frames > 1]
    return [[reseeded(case, number) for number in range(OTHER_SEEDS + 1)] for case in first]


def reseeded(case: Case, number: int) -> Case:
    """The case in few frames; number 0 keeps its seeds."""

    def scene(of):
        return replace(of, ground_seed=of.ground_seed + number)

    return replace(
        case,
        name=f"{case.name}_reduced_{number}",
        frames=FRAMES,
        seed=case.seed + 1000 * number,
        source=scene(case.source),
        target=scene(case.target),
    )


def reference(groups: list[list[Case]]) -> dict[str, dict[str, float]]:
    """For each guarded measure the mean of the reduced list, and the standard deviation of that mean over the seeds."""
    figures = [[read_figures(case, OURS) for case in variants] for variants in groups]
    means = {
        name: [float(np.nanmean([variants[number][name] for variants in figures])) for number in range(OTHER_SEEDS + 1)]
        for name in GUARDED
    }
    return {name: {"mean": values[0], "noise": float(np.std(values, ddof=1))} for name, values in means.items()}
