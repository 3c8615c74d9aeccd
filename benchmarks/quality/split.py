"""Runs of the second and later lists, half by half, on any demo model: `python dev.py quality --split choosing`."""

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from fatezero_pack.demo import world
from fatezero_pack.demo.model import WEIGHTS, read_config

from . import split_report
from .cases import FOURTH_LIST, HARD_LIST, HELD_OUT, THIRD_LIST, TUNING, Case, load_cases
from .methods import ABLATIONS, Method, applies, main_table
from .runs import make_clips

HALVES = {
    "choosing": (HARD_LIST, TUNING),
    "held-out": (HARD_LIST, HELD_OUT),
    "third choosing": (THIRD_LIST, TUNING),
    "third held-out": (THIRD_LIST, HELD_OUT),
    "fourth choosing": (FOURTH_LIST, TUNING),
    "fourth held-out": (FOURTH_LIST, HELD_OUT),
}
SHORT = 8  # frames of a clip that --frames may shorten; longer ones, and things on paths, stay as they are


def add_arguments(parser) -> None:
    parser.add_argument("--split", choices=HALVES, help="a half of a later list, instead of the first list")
    parser.add_argument("--model", type=Path, default=WEIGHTS, metavar="FILE", help="another demo model's weights")
    parser.add_argument("--frames", type=int, default=SHORT, metavar="N", help=f"frames of clips of {SHORT}")
    for name, default, help in (
        ("kinds", ["*"], "kinds of edit to run"),
        ("rows", ["*"], "methods of the main table to run"),
        ("ablations", [], "titles of the ablations to run as well (default: none)"),
    ):
        parser.add_argument(
            f"--{name}", nargs="*", default=default, metavar="PATTERN", help=f"{help}, such as 'shape*'"
        )


def run(options) -> None:
    """Makes the clips that are not there yet, and writes the half's section of RESULTS.md and of splits.json."""
    cases = cases_of(*HALVES[options.split], options.model, options.frames)
    chosen = [case for case in cases if fits(case.kind, options.kinds)]
    table = [method for method in main_table() if fits(method.name, options.rows)]
    ablations = {title: methods for title, methods in ABLATIONS.items() if fits(title, options.ablations)}
    varied = [case for case in chosen if case.frames <= SHORT and not case.word]
    pairs = pairs_of(chosen, table, options.model)
    for methods in ablations.values():
        pairs += pairs_of(varied, methods, options.model)
    if not options.report:
        make_clips(pairs, options.processes)
    split_report.write(f"{options.split}, {options.model.stem}", pairs, options.frames)


def fits(name: str, patterns: list[str]) -> bool:
    """Whether a name is one of those that the patterns, with `*` for any letters, ask for."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def cases_of(path: Path, half: str, model: Path, frames: int) -> list[Case]:
    """The cases of a list's half in the size of the model's pictures."""
    detail = read_config(model)["image_size"] // world.SIZE
    return [shortened(case, frames).at_detail(detail) for case in load_cases(path) if case.half == half]


def shortened(case: Case, frames: int) -> Case:
    return case if case.paths or case.frames > SHORT else replace(case, frames=min(case.frames, frames))


def pairs_of(cases: list[Case], methods: list[Method], model: Path) -> list[tuple[Case, Method]]:
    """Every case with the methods that apply to it, on the model."""
    weights = "" if model == WEIGHTS else str(model)
    return [(case, replace(method, weights=weights)) for case in cases for method in methods if applies(method, case)]
