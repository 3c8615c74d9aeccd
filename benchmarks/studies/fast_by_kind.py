"""Whether *fast* is as good as 20 steps for each kind of edit.

`python -m benchmarks.studies.fast_by_kind [--report]`, with COMFYUI_PATH set. Draws clips for each preset from one
seed, on which nothing was chosen, edits them in 20 steps, which are as good as 50 (`rows.py`), and by *fast*, where
that loses also in 20 steps with its guidance, and writes fast_by_kind.json and the section of ../RESULTS.md. Clips are
kept where `dev.py quality` keeps its own, so that a stopped run goes on; figures that the JSON has are not made again.
A greater range in NUMBERS adds to them.

*Fast* holds for a kind where the 95 % interval of the difference lies above -LOSS for every measure. Where no edit of n
has a difference, up to 3 in n may have one (the rule of three).
"""

import argparse
import json
from dataclasses import replace
from datetime import date
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..cost.report import machine, machine_in_words
from ..quality.cases import TUNING, Case, case_from
from ..quality.draw_hard_cases import draw_entries
from ..quality.figure_tables import COLUMNS, Figures, as_table, difference, paired
from ..quality.intervals import interval
from ..quality.methods import Method
from ..quality.report import replace_section, without_nan
from ..quality.runs import make_clips, read_figures
from .rows import PAGE, fast, ours

SEED, FRAMES = 20261126, 2  # flicker needs two frames
# preset: the kinds of the quality benchmark's second list that are drawn for it, in turn
DRAWN = {
    "attribute": ["colour"],
    "shape": ["shape", "colour and shape"],
    "style": ["style"],
    "remove": ["removal"],
    "background": ["background"],
    "add": ["addition"],
    "replace": ["pair of one colour", "pair of one shape"],
    "enhance": ["re-weighting"],
}
# preset: which of its clips are measured, first and last. The first 34 came first, and were seen; those of attribute,
# shape and replace had other masks than the presets now have, and stand in lines of their own. In doubt: what comes
# first.
NUMBERS = {
    "attribute": (35, 134),
    "shape": (35, 134),
    "style": (1, 134),
    "background": (1, 134),
    "replace": (35, 134),
    "remove": (1, 68),
    "add": (1, 68),
    "enhance": (1, 68),
}
BEFORE = {"attribute": "mask of words", "shape": "mask of words", "replace": "given the place"}
IN_DOUBT = ("attribute", "shape", "style", "background", "replace")
LONG, FAST = ours(20), fast(10)
GUIDED = ours(20, f"cfg until {FAST.guided[1]}", guided=FAST.guided)  # tells what is the guidance's and what the steps'
LOSES = ("attribute", "shape")
# The loss that a person would hardly see: of points, dB and levels.
LOSS = {
    "located": 10.0,
    "success": 10.0,
    "psnr_inside": 0.5,
    "psnr_outside": 0.5,
    "perceptual": 0.02,
    "flicker": 0.2,
    "strength": 0.05,
}
LESS_IS_BETTER, IN_POINTS = ("perceptual", "flicker"), ("located", "success")
HEADINGS = {**{name: heading for name, (heading, _) in COLUMNS.items()}, "strength": "strength of the word"}
FIGURES = Path(__file__).with_name("fast_by_kind.json")
SECTION, WRITER = "fast by kind", "benchmarks.studies.fast_by_kind"


def draw(preset: str) -> list[Case]:
    """The clips of a preset, 128x128; words to re-weight by -1 and 3."""
    rng, cases, number = np.random.default_rng([SEED, list(DRAWN).index(preset)]), [], 0
    first, last = NUMBERS[preset]
    while len(cases) < last:
        number += 1
        kind = DRAWN[preset][number % len(DRAWN[preset])]
        for entry in draw_entries(rng, kind, number // len(DRAWN[preset])):
            if entry.get("weight") != 1.0:
                entry |= {"preset": preset, "frames": FRAMES, "height": 128, "width": 128}
                name = f"fast_{preset}_{len(cases) + 1}"
                cases.append(case_from({"name": name, "kind": kind, "half": TUNING, "seed": number, **entry}))
    return cases[first - 1 : last]


def every_case() -> list[Case]:
    """Of the presets in doubt one each, then the second of each ...; then likewise of the others."""
    groups = (IN_DOUBT, [preset for preset in DRAWN if preset not in IN_DOUBT])
    rounds = [zip_longest(*map(draw, group)) for group in groups]
    return [case for group in rounds for cases in group for case in cases if case]


def for_case(method: Method, case: Case) -> Method:
    """The method, told the place of what is added, since that preset asks for it."""
    return replace(method, given_place=case.preset == "add")


def lacking(case: Case, known: Figures) -> list[Method]:
    """The methods whose figures of an edit are not known."""
    methods = (LONG, FAST, GUIDED) if case.preset in LOSES else (LONG, FAST)
    return [method for method in methods if method.name not in known.get(case.name, {})]


def read_all(cases: list[Case], known: Figures) -> Figures:
    """What was `known`, and is there of all else; "strength" is turned over where a word is made weaker."""
    found = dict(known)
    for case in cases:
        for method in lacking(case, known):
            figures = read_figures(case, for_case(method, case))
            if figures is not None:
                sign = -1 if case.weight < 0 else 1
                kept = {name: figures[name] * (sign if name == "strength" else 1) for name in LOSS}
                found.setdefault(case.name, {})[method.name] = {name: float(f"{v:.5g}") for name, v in kept.items()}
    return found


def already_known() -> Figures:
    """The figures in fast_by_kind.json, of clips that were edited in 20 steps and by *fast*."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))["cases"] if FIGURES.exists() else {}
    return {name: both for name, both in figures.items() if len(both) >= 2}


def by_preset(figures: Figures) -> dict[str, Figures]:
    """{preset, and with which mask where that was another: the figures of its edits}, and those of all of today's."""
    each: dict[str, Figures] = {preset: {} for preset in DRAWN}
    before: dict[str, Figures] = {f"{preset}, {mask}": {} for preset, mask in BEFORE.items()}
    for name, methods in figures.items():
        _, preset, number = name.split("_")
        old = int(number) < NUMBERS[preset][0]
        (before[f"{preset}, {BEFORE[preset]}"] if old else each[preset])[name] = methods
    return {**each, "all": {name: of for group in each.values() for name, of in group.items()}, **before}


def verdict(differences: dict[str, list[float]]) -> str:
    """Whether *fast* holds, by the differences of each measure: or what is worse, and what is not excluded."""
    worse, unknown = [], []
    for name, values in differences.items():
        mean, half_width = interval(values)
        if name in IN_POINTS and half_width == 0:
            half_width = 100 * 3 / len(values)
        gain = -mean if name in LESS_IS_BETTER else mean
        if gain + half_width < 0:
            worse.append(HEADINGS[name])
        elif values and not gain - half_width > -LOSS[name]:
            unknown.append(HEADINGS[name])
    parts = [f"worse: {', '.join(worse)}"] if worse else []
    parts += [f"a loss is not excluded: {', '.join(unknown)}"] if unknown else []
    return "; ".join(parts) or "holds"


def text_of(section: dict) -> str:
    """The section of RESULTS.md, of what fast_by_kind.json holds."""
    losses = ", ".join(f"{HEADINGS[name]} {loss:g}" for name, loss in LOSS.items())
    intro = (
        f"`python -m {WRITER}`, {section['date']}, on: {machine_in_words(section['machine'])}. "
        f"{len(section['cases'])} clips so far of {FRAMES} frames, drawn for this and on which nothing was chosen; "
        f"small demo model. Each line: *{FAST.name}* minus {LONG.name}, or what the line says, "
        "± the 95 % interval of the mean over edits; "
        f"bold where it excludes zero. *Holds*: the interval excludes a loss of more than {losses}. "
        "Where no edit of n differs, 3 in n still may. Strength: of a word by 3, and by -1 turned over. "
        "*Add* is given the place."
    )
    lines = [["preset", "edits", *(HEADINGS[name] for name in LOSS), "in words"]]
    groups = by_preset(section["cases"])
    beside = [(preset, figures, LONG) for preset, figures in groups.items()]
    beside += [(f"{preset}, beside {GUIDED.name}", groups[preset], GUIDED) for preset in LOSES]
    for preset, figures, long in beside:
        found = {name: paired(figures, FAST.name, long.name, name) for name in LOSS}
        cells = [difference(values, 2 if name == "strength" else COLUMNS[name][1]) for name, values in found.items()]
        lines.append([preset, str(max(map(len, found.values()))), *cells, verdict(found)])
    return f"{intro}\n\n{as_table(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="make nothing, and report what earlier runs have made")
    options, cases, known = parser.parse_args(), every_case(), already_known()
    if not options.report:
        make_clips([(case, for_case(method, case)) for case in cases for method in lacking(case, known)], 1)
    section = without_nan({"date": date.today().isoformat(), "machine": machine(), "cases": read_all(cases, known)})
    FIGURES.write_text(json.dumps(section, indent=1) + "\n", encoding="utf-8")
    replace_section(PAGE, SECTION, text_of(section), WRITER)


if __name__ == "__main__":
    main()
