"""Tables of the second list: means and paired differences with intervals, into RESULTS.md and splits.json."""

import json
from datetime import date
from pathlib import Path

from benchmarks.cost.report import machine, machine_in_words

from .cases import HARD_LIST, Case, load_cases
from .intervals import excludes_zero, in_words, interval
from .measures import EVERY_MEASURE
from .methods import GUIDANCE, OURS, STEPS, Method
from .report import COLUMNS, as_table, replace_section, without_nan
from .runs import read_figures
from .strength import monotone

PAGE, FIGURES = (Path(__file__).parent / name for name in ("RESULTS.md", "splits.json"))
SHOWN = {
    "located": ("located %", 0),
    "success": COLUMNS["success"],
    "kept": COLUMNS["kept"],
    "iou": ("IoU changed", 2),
    "iou_kept": ("IoU kept", 2),
    **{name: COLUMNS[name] for name in ("psnr_inside", "psnr_outside", "perceptual", "difference_error", "flicker")},
}
BY_KIND = ("located", "psnr_inside", "psnr_outside")

Figures = dict[str, dict[str, dict[str, float]]]  # by case and method


def write(
    name: str, pairs: list[tuple[Case, Method]], table: list[Method], ablations: dict[str, list[Method]], frames: int
) -> None:
    """The section `name`: of a half and a model.

    pairs: what was run; table, ablations: the rows, in order; frames: of clips that were shortened to it.
    """
    figures: Figures = {}
    for case, method in pairs:
        measured = read_figures(case, method)
        if measured is not None:
            figures.setdefault(case.name, {})[method.name] = {
                key: None if value != value else float(f"{value:.5g}") for key, value in measured.items()
            }
    section = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "frames": frames,
        "rows": [method.name for method in table],
        "ablations": {title: [method.name for method in methods] for title, methods in ablations.items()},
        "cases": figures,
    }
    stored = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(without_nan({**stored, name: section}), indent=1) + "\n", encoding="utf-8")
    replace_section(PAGE, name, text_of(section))


def text_of(section: dict) -> str:
    """The section of RESULTS.md, from what splits.json holds of it."""
    kinds = {case.name: case.kind for case in load_cases(HARD_LIST)}
    figures = {case: rows for case, rows in section["cases"].items() if kinds[case] != "re-weighting"}
    reweighted = {case: rows for case, rows in section["cases"].items() if kinds[case] == "re-weighting"}
    rows = [row for row in section["rows"] if any(row in of_case for of_case in figures.values())]
    others = [row for row in rows if row != OURS.name]
    text = [
        f"{section['date']}, on: {machine_in_words(section['machine'])}. {STEPS} steps, guidance {GUIDANCE}; clips "
        f"of 8 frames cut to {section['frames']}. ± is the 95 % interval of a mean over cases (Student's t).",
        "",
        means(figures, rows),
        "",
        "Ours minus each other row, paired over the cases that both have; bold where the interval excludes zero:",
        "",
        differences(figures, OURS.name, others),
    ]
    for measure in BY_KIND:
        text += ["", f"{SHOWN[measure][0]} by kind:", "", by_kind(figures, rows, kinds, measure)]
    if reweighted:
        text += ["", "Words re-weighted:", "", reweighting(reweighted)]
    for title, methods in section["ablations"].items():
        text += ["", f"**{title}**: each minus ours, paired", "", ablation(figures, methods)]
    return "\n".join(text)


def column(figures: Figures, row: str, measure: str) -> list[float]:
    """A row's values of a measure over the cases that have it."""
    values = [rows[row].get(measure) for rows in figures.values() if row in rows]
    return [value for value in values if value is not None]


def paired(figures: Figures, row: str, other: str, measure: str) -> list[float]:
    """One row minus another, over the cases that have both."""
    both = [(rows[row].get(measure), rows[other].get(measure)) for rows in figures.values() if {row, other} <= {*rows}]
    return [one - another for one, another in both if one is not None and another is not None]


def means(figures: Figures, rows: list[str]) -> str:
    lines = [["method", "cases", *(title for title, _ in SHOWN.values())]]
    for row in rows:
        count = sum(row in of_case for of_case in figures.values())
        cells = [in_words(*interval(column(figures, row, name)), digits) for name, (_, digits) in SHOWN.items()]
        lines.append([row, str(count), *cells])
    return as_table(lines)


def differences(figures: Figures, row: str, others: list[str], reverse: bool = False) -> str:
    """`row` minus each of the others, or with `reverse` each of the others minus it."""
    lines = [["other row" if reverse else f"{row} minus", "cases", *(title for title, _ in SHOWN.values())]]
    for other in others:
        pair = (other, row) if reverse else (row, other)
        found = {name: paired(figures, *pair, name) for name in SHOWN}
        cells = [difference(found[name], digits) for name, (_, digits) in SHOWN.items()]
        lines.append([other, str(max(map(len, found.values()))), *cells])
    return as_table(lines)


def difference(values: list[float], digits: int) -> str:
    """Of pairs, bold where it shows."""
    mean, half_width = interval(values)
    words = in_words(mean, half_width, max(1, digits), "+")
    return f"**{words}**" if excludes_zero(mean, half_width) else words


def by_kind(figures: Figures, rows: list[str], kinds: dict[str, str], measure: str) -> str:
    digits = SHOWN[measure][1]
    lines = [["kind (cases)", *rows]]
    for kind in dict.fromkeys(kinds[case] for case in figures):
        of_kind = {case: rows_ for case, rows_ in figures.items() if kinds[case] == kind}
        cells = [in_words(*interval(column(of_kind, row, measure)), digits) for row in rows]
        lines.append([f"{kind} ({len(of_kind)})", *cells])
    return as_table(lines)


def reweighting(figures: Figures) -> str:
    """How many words grow with their weight, how strong they are at each, and how far the rest stays."""
    weights = sorted({float(case.rpartition("_")[2]) for case in figures})
    words = sorted({case.rpartition("_at_")[0] for case in figures})
    lines = [["method", "monotone", *(f"strength at {weight:g}" for weight in weights), COLUMNS["psnr_outside"][0]]]
    for row in dict.fromkeys(row for rows in figures.values() for row in rows):
        strengths = [
            [figures.get(f"{word}_at_{weight:g}", {}).get(row, {}).get("strength") for weight in weights]
            for word in words
        ]
        whole = [values for values in strengths if None not in values]
        at_weights = [in_words(*interval(values), 2) for values in zip(*whole)]
        outside = in_words(*interval(column(figures, row, "psnr_outside")), 1)
        lines.append([row, f"{sum(map(monotone, whole))} of {len(whole)}", *at_weights, outside])
    return as_table(lines)


def ablation(figures: Figures, methods: list[str]) -> str:
    """Each row minus ours; ours itself among them is nothing."""
    return differences(figures, OURS.name, methods, reverse=True)


def glossary() -> str:
    """What the columns mean."""
    return "\n".join(f"* {SHOWN[name][0]}: {EVERY_MEASURE[name][0]}" for name in SHOWN)
