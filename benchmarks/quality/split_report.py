"""The report of a half of the second or third list: figures into splits.json, tables into RESULTS.md."""

import json
from datetime import date
from pathlib import Path

from benchmarks.cost.report import machine, machine_in_words

from .cases import FOURTH_LIST, HARD_LIST, THIRD_LIST, Case, load_cases
from .figure_tables import COLUMNS, Figures, as_table, by_kind, column, differences, differences_within, glossary, means
from .intervals import in_words, interval
from .methods import (
    ABLATIONS,
    AUTOMATIC_PRESET,
    DDIM_MASKED,
    DDIM_MASKED_UNTIL,
    EVERY_STEP,
    GUIDANCE,
    OURS,
    STEPS,
    Method,
    main_table,
)
from .report import replace_section, without_nan
from .runs import read_figures
from .strength import monotone

PAGE, FIGURES = (Path(__file__).parent / name for name in ("RESULTS.md", "splits.json"))
SHOWN = (
    "located",
    "success",
    "kept",
    "iou",
    "iou_kept",
    "psnr_inside",
    "psnr_outside",
    "perceptual",
    "difference_error",
    "flicker",
    "area_change",
    "outline_change",
)
PRICE = [
    (EVERY_STEP.name, DDIM_MASKED.name),
    (OURS.name, DDIM_MASKED_UNTIL.name),
    ("fused outside the words' mask", "fused everywhere"),
]
# What "held out" means where a figure is of all lists.
HELD_OUT = tuple(f"{half}, toy_sd_large" for half in ("held-out", "third held-out", "fourth held-out"))
TOGETHER = "every held-out edit, toy_sd_large"
BY_KIND = ("located", "psnr_inside", "psnr_outside")


def write(name: str, pairs: list[tuple[Case, Method]], frames: int) -> None:
    """The section `name`, of a half and a model; what it held of other cases and methods stays.

    pairs: what was run; frames: of the clips that were shortened to it; those of another number are forgotten.
    """
    stored = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    before = stored.get(name, {})
    cases: Figures = before["cases"] if before.get("frames") == frames else {}
    for case, method in pairs:
        figures = read_figures(case, method)
        if figures is not None:
            rounded = {key: None if value != value else float(f"{value:.5g}") for key, value in figures.items()}
            cases.setdefault(case.name, {})[method.name] = rounded
    section = {"date": date.today().isoformat(), "machine": machine(), "frames": frames, "cases": cases}
    stored[name] = section
    FIGURES.write_text(json.dumps(without_nan(stored), indent=1) + "\n", encoding="utf-8")
    replace_section(PAGE, name, text_of(section))
    replace_section(PAGE, TOGETHER, text_of_all(stored))


def write_stored() -> None:
    """The tables of all sections, of the figures that are stored."""
    stored = json.loads(FIGURES.read_text(encoding="utf-8"))
    for name, section in stored.items():
        replace_section(PAGE, name, text_of(section))
    replace_section(PAGE, TOGETHER, text_of_all(stored))


def text_of_all(sections: dict[str, dict]) -> str:
    """The section of RESULTS.md about every held-out edit of the large model: preset automatic beside other rows."""
    figures = {case: rows for name in HELD_OUT if name in sections for case, rows in sections[name]["cases"].items()}
    made = {row for rows in figures.values() for row in rows}
    rows = [method.name for method in main_table() if method.name in made]
    pairs = [(AUTOMATIC_PRESET.name, row) for row in rows if row != AUTOMATIC_PRESET.name]
    return "\n".join(
        [
            "Preset *automatic* minus each other row, over the cases of all held-out halves that both have. ± is the "
            "95 % interval of a mean over cases (Student's t); bold where it excludes zero.",
            "",
            differences(figures, pairs, SHOWN),
        ]
    )


def text_of(section: dict) -> str:
    """The section of RESULTS.md, from what splits.json holds of it."""
    cases = [case for path in (HARD_LIST, THIRD_LIST, FOURTH_LIST) for case in load_cases(path)]
    kinds = {case.name: case.kind for case in cases}
    edits = {case.name: section["cases"][case.name] for case in cases if case.name in section["cases"]}
    reweighted = {case: rows for case, rows in edits.items() if kinds[case] == "re-weighting"}
    figures = {case: rows for case, rows in edits.items() if case not in reweighted}
    made = {row for rows in figures.values() for row in rows}
    rows = [method.name for method in main_table() if method.name in made]
    shown = [name for name in SHOWN if any(column(figures, row, name) for row in made)]
    text = [
        f"{section['date']}, on: {machine_in_words(section['machine'])}. {STEPS} steps, guidance {GUIDANCE}; clips of "
        f"8 frames cut to {section['frames']}, but for things that cross or leave. ± is the 95 % interval of a mean "
        "over cases (Student's t).",
        "",
        glossary(shown),
        "",
        means(figures, rows, shown),
        "",
        "Differences over the cases that both rows have; bold where the interval excludes zero:",
        "",
        differences(figures, [(OURS.name, row) for row in rows if row != OURS.name], shown),
    ]
    for measure in BY_KIND:
        text += ["", f"{COLUMNS[measure][0]} by kind:", "", by_kind(figures, rows, kinds, measure)]
    if reweighted:
        text += ["", "Words re-weighted:", "", reweighting(reweighted)]
    presets = {case.name: case.preset for case in cases}
    if any(set(pair) <= made for pair in PRICE):
        title = "Is fusion worth its price? Against the latent mask alone, and the paper's Fig. 9, preset by preset:"
        text += ["", title, "", differences_within(figures, presets, PRICE, shown)]
    for title, methods in ABLATIONS.items():
        names = [method.name for method in methods if method.name in made]
        against = next((name for name in names if name.endswith(": ours")), names[0] if names else "")
        pairs = [(name, against) for name in names if name != against]
        if pairs:
            text += ["", f"**{title}**", "", differences(figures, pairs, shown)]
    return "\n".join(text)


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
