"""Times of several runs, in turn, so that a noisy machine is noisy for all of them."""

import time
from statistics import median

import torch


def seconds(function) -> float:
    """How long a call takes, a GPU's work included."""
    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_turn(functions: dict, rounds: int) -> dict[str, list[float]]:
    """The seconds of every function in every round: A B C A B C ..."""
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return times


def ratio(ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, tuple[float, float]]:
    """The sum of ours over that of theirs within each round: its median, and the least and greatest.

    Within a round, not between medians: a machine that slows down for a while slows both.
    """
    rounds = [sum(above) / sum(below) for above, below in zip(zip(*ours), zip(*theirs))]
    return median(rounds), (min(rounds), max(rounds))
