"""Quality against rows: how many frames must go through the UNet for an edit that is as good as one of 50 steps.

`python -m benchmarks.studies.rows [--report] [--groups PATTERN ...] [--cases N]`, with COMFYUI_PATH set. Edits the
choosing half of the quality benchmark's second list by each of METHODS, counts the rows where they enter the UNet, and
writes rows.json and the section of ../RESULTS.md. Clips are kept where `dev.py quality` keeps its own, so that a
stopped run goes on.
"""

import argparse
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, UNI_INV

from ..cost.report import machine, machine_in_words
from ..quality.cases import HARD_LIST, TUNING, Case, load_cases
from ..quality.figure_tables import Figures, as_table, column, differences, means
from ..quality.intervals import in_words, interval
from ..quality.methods import DDIM, EVERY_STEP, Method, sdedit
from ..quality.report import replace_section, without_nan
from ..quality.runs import make_clips, read_figures
from ..quality.split import fits

FRAMES = 3  # of each clip; flicker needs two
PAGE, FIGURES = Path(__file__).parents[1] / "RESULTS.md", Path(__file__).with_name("rows.json")
SECTION, WRITER = "rows", "benchmarks.studies.rows"
PRICE = ("rows", "seconds")
SHOWN = ("located", "success", "psnr_inside", "psnr_outside", "perceptual", "flicker")


def ours(steps: int, name: str = "", **changes) -> Method:
    """Ours in so many steps, with something changed."""
    return replace(EVERY_STEP, name=f"{steps} steps" + (f", {name}" if name else ""), steps=steps, **changes)


REFERENCES = [ours(50), ours(20)]


def fast(steps: int) -> Method:
    """What a person can set for a fast edit."""
    return ours(steps, "fast", label=UNI_INV, guided=(0.0, 0.8))


def other(method: Method, steps: int) -> Method:
    """A way that fuses no attention, each frame by itself."""
    return replace(method, name=f"{method.name}, {steps} steps", steps=steps)


UNSAMPLER = replace(DDIM, name="Unsampler + KSampler", label=CURRENT_LABEL, schedule="normal")  # its steps, in our loop
OTHERS = (DDIM, UNSAMPLER, sdedit(0.6))
PARTS = ((0.0, 0.5), (0.0, 0.8), (0.2, 1.0))
METHODS = {
    "Steps": [*REFERENCES, ours(15), ours(10), ours(8), ours(6)],
    "Inversion and solver": [
        ours(8),
        ours(8, "Uni-Inv", label=UNI_INV),
        ours(8, "Uni-Inv, dpmpp_2m", label=UNI_INV, sampler="dpmpp_2m"),
        ours(8, "dpmpp_2m", sampler="dpmpp_2m"),
        ours(6, "Uni-Inv", label=UNI_INV),
    ],
    "Guidance in a part of the steps": [
        ours(10),
        *(ours(10, f"guided {start} to {end}", guided=(start, end)) for start, end in PARTS),
    ],
    "Fast: Uni-Inv, guided in the first 80 % of the steps": [*REFERENCES, ours(10), fast(10), fast(8)],
    "Other ways": [fast(10), *(other(method, steps) for method in OTHERS for steps in (10, 20))],
    "Schedule": [ours(8), *(ours(8, schedule, schedule=schedule) for schedule in ("normal", "karras"))],
}


def study_cases() -> list[Case]:
    """Edits of the choosing half whose clips can be cut short: no re-weighted words, no paths, no long clips."""
    fitting = [case for case in load_cases(HARD_LIST) if case.half == TUNING and not case.word and not case.paths]
    return [replace(case, frames=FRAMES) for case in fitting if case.frames <= 8]


def spread(cases: list[Case], count: int) -> list[Case]:
    """So many of the cases, of as many kinds as there are: the first of each kind, then the second of each ..."""
    places: dict[str, int] = {}
    order = []
    for case in cases:
        places[case.kind] = places.get(case.kind, 0) + 1
        order.append(places[case.kind])
    chosen = sorted(range(len(cases)), key=lambda index: order[index])[:count]
    return [cases[index] for index in sorted(chosen)]


def read_all(cases: list[Case], methods: list[Method], stored: Figures) -> Figures:
    """All figures: of the clips that are here, else the stored ones; "rows" and "seconds" are those of one frame."""
    found: Figures = {case.name: dict(stored.get(case.name, {})) for case in cases}
    for case in cases:
        for method in methods:
            figures = read_figures(case, method)
            if figures is not None and "rows" in figures:
                figures |= {name: figures[name] / case.frames for name in PRICE}
                rounded = {name: None if value != value else float(f"{value:.5g}") for name, value in figures.items()}
                found[case.name][method.name] = rounded
    return {case: methods for case, methods in found.items() if methods}


def text_of(section: dict) -> str:
    """The section of RESULTS.md, of what rows.json holds."""
    figures: Figures = section["cases"]
    text = [
        f"`python -m {WRITER}`, {section['date']}, on: {machine_in_words(section['machine'])}. The choosing half "
        f"of the second list of [quality/RESULTS.md](quality/RESULTS.md), small demo model, {FRAMES} frames. Rows: of "
        "one frame, inversion included, counted where they enter the UNet; seconds: the processor's for them. ± is the "
        "95 % interval of a mean over cases."
    ]
    for title, methods in METHODS.items():
        names = [method.name for method in methods if column(figures, method.name, "rows")]
        if names:
            text += ["", f"**{title}**", "", with_price(figures, names), "", compared(figures, names)]
    return "\n".join(text)


def with_price(figures: Figures, names: list[str]) -> str:
    """The means of each method, with what it takes."""
    table = [line.strip("| ").split(" | ") for line in means(figures, names, SHOWN).splitlines() if "---" not in line]
    for place, (price, digits) in enumerate({"rows": 0, "seconds": 1}.items(), start=1):
        cells = [price, *(in_words(*interval(column(figures, name, price)), digits) for name in names)]
        table = [[*line[:place], cell, *line[place:]] for line, cell in zip(table, cells)]
    return as_table(table)


def compared(figures: Figures, names: list[str]) -> str:
    """Each method minus the references and the first one, case by case; bold where the interval excludes zero."""
    others = dict.fromkeys([*(method.name for method in REFERENCES), names[0]])
    pairs = [(name, other) for other in others for name in names if name != other]
    return differences(figures, pairs, SHOWN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="make nothing, and report what earlier runs have made")
    parser.add_argument("--groups", nargs="*", default=["*"], metavar="PATTERN", help="titles of METHODS to run")
    parser.add_argument("--cases", type=int, default=99, metavar="N", help="at most so many cases")
    options = parser.parse_args()
    cases, every = study_cases(), list({m.name: m for methods in METHODS.values() for m in methods}.values())
    if not options.report:
        chosen = {m.name: m for title, methods in METHODS.items() if fits(title, options.groups) for m in methods}
        make_clips([(case, method) for case in spread(cases, options.cases) for method in chosen.values()], 1)
    stored = json.loads(FIGURES.read_text(encoding="utf-8"))["cases"] if FIGURES.exists() else {}
    section = {"date": date.today().isoformat(), "machine": machine(), "cases": read_all(cases, every, stored)}
    FIGURES.write_text(json.dumps(without_nan(section), indent=1) + "\n", encoding="utf-8")
    replace_section(PAGE, SECTION, text_of(section), WRITER)


if __name__ == "__main__":
    main()
