"""The report of the first list: figures into results.json, tables into RESULTS.md, sheets and curves into pictures/."""

import json
import math
from datetime import date
from pathlib import Path

from benchmarks.cost.report import machine, machine_in_words

from . import noise, pictures
from .cases import Case, load_cases
from .figure_tables import COLUMNS, as_table, by_kind, differences, glossary, means
from .measures import MEASURES
from .methods import CURVES, FREE, FUSED, GUIDANCE, OURS, STEPS, TRUTH, UNCHANGED, first_table, preset_sweep
from .runs import read_figures
from .tables import rows

FOLDER = Path(__file__).parent
SWEEP_COLUMNS = ("success", "kept", "psnr_inside", "psnr_outside", "psnr", "perceptual", "difference_error", "flicker")
COMPARED = ("success", "kept", "psnr_inside", "psnr_outside", "perceptual", "difference_error", "flicker", "tem_con")
BY_KIND = ("success", "psnr_inside", "psnr_outside")
SUCCESS_MARGIN = 3
WORST = 10
PICTURES = [
    "![Curves over windows and threshold](pictures/curves.png)",
    "",
    "The first held-out case of every kind, middle frame, by every method:",
    "",
    "![Methods](pictures/methods.png)",
    "",
    "First, middle and last frame of the same clips:",
    "",
    "![Frames](pictures/frames.png)",
    "",
    f"The {WORST} held-out cases where ours is farthest below the VAE's ceiling (PSNR of the whole picture):",
    "",
    "![Worst](pictures/worst.png)",
    "",
]


def write(
    shown: dict[str, list[Case]],
    varied: list[Case],
    swept: dict[str, list[Case]],
    groups: list[list[Case]],
    memory: dict[str, int],
    short: bool,
) -> None:
    """Writes the section of this run, of the short list or the full one, in RESULTS.md and results.json.

    shown: cases of each main table; varied: of the curves, empty for none; swept: of each preset's sweep; groups: the
    reduced list; memory: bytes.
    """
    methods = first_table()
    results = {
        "conditions": {
            "date": date.today().isoformat(),
            "machine": machine(),
            "steps": STEPS,
            "guidance": GUIDANCE,
            "processes_of_one_thread": True,
        },
        "tables": {title: with_memory(rows(cases, methods), memory) for title, cases in shown.items()},
        "preset_sweeps": {preset: rows(cases, preset_sweep(preset)) for preset, cases in swept.items()},
        "reduced_list": noise.reference(groups),
        "cases": {
            case.name: {method.name: read_figures(case, method) for method in methods}
            for cases in shown.values()
            for case in cases
        },
    }
    path = FOLDER / "results.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    name = "short" if short else "full"
    results = without_nan(results)
    path.write_text(json.dumps({**stored, name: results}, indent=1) + "\n", encoding="utf-8")
    if varied:
        draw_pictures([case for cases in shown.values() for case in cases], varied)
    replace_section(FOLDER / "RESULTS.md", name, text_of(name, results))


def draw_pictures(held_out: list[Case], varied: list[Case]) -> None:
    """Sheets of the held-out clips, and curves of the varied ones."""
    methods, folder = first_table(), FOLDER / "pictures"
    first = [case for case in held_out if case.name.endswith("_1b")]
    pictures.curves(folder / "curves.png", varied, CURVES)
    pictures.methods_sheet(folder / "methods.png", first, [m for m in methods if m.way != UNCHANGED])
    pictures.frames_sheet(folder / "frames.png", [case for case in first if case.frames > 1], OURS)
    ways = [method for method in methods if method.way in (FUSED, FREE, TRUTH)]
    pictures.methods_sheet(folder / "worst.png", worst_cases(held_out), ways)


def write_stored() -> None:
    """The tables of both sections, of the figures that are stored."""
    for name, results in json.loads((FOLDER / "results.json").read_text(encoding="utf-8")).items():
        replace_section(FOLDER / "RESULTS.md", name, text_of(name, results))


def text_of(name: str, results: dict) -> str:
    """A section of RESULTS.md, from what results.json holds of it."""
    conditions, figures = results["conditions"], results["cases"]
    text = [
        f"`python dev.py quality{' --short' if name == 'short' else ''}`, {conditions['date']}, on: "
        f"{machine_in_words(conditions['machine'])}. {conditions['steps']} steps, guidance {conditions['guidance']}. "
        "± is the 95 % interval of a mean over cases (Student's t).",
        "",
        glossary(MEASURES),
        "* time: processor seconds from latent to latent, inversion included; DDIM inversion + new prompt is 1",
        "* memory: most RAM beyond the loaded model, 8 frames of 128x128, in a process of its own",
        "",
    ]
    kinds = {case.name: case.kind for case in load_cases()}
    for title, table in results["tables"].items():
        methods = [row["method"] for row in table]
        real = [row for row in methods if row != OURS.name and not row.startswith(("truth", "clip unchanged"))]
        text += [f"### {title}: {len(figures)} cases", "", means(figures, methods, MEASURES), "", costs(table), ""]
        text += [
            "Ours minus each other method, paired over the cases; bold where the interval excludes zero:",
            "",
            differences(figures, [(OURS.name, row) for row in real], COMPARED),
            "",
        ]
        for measure in BY_KIND:
            text += [f"{COLUMNS[measure][0]} by kind:", "", by_kind(figures, methods, kinds, measure), ""]
    text += sweeps_text(results["preset_sweeps"])
    if name != "short":
        text += PICTURES
    text += [
        "Reduced list of CI (three frames; ours), and the standard deviation of its mean over "
        f"{noise.OTHER_SEEDS + 1} choices of motion and ground:",
        "",
        reduced(results["reduced_list"]),
    ]
    return "\n".join(text)


def sweeps_text(sweeps: dict[str, list[dict]]) -> list[str]:
    """The tables that presets were chosen from."""
    if not sweeps:
        return []
    text = [
        "### What the presets were chosen from: the whole tuning half, four frames of each clip",
        "",
        "The best of each first: least perceptual error of the whole picture, among those that succeed in no "
        f"fewer frames than the most successful one but {SUCCESS_MARGIN} %; then the others.",
        "",
    ]
    for preset, table in sweeps.items():
        text += [f"**{preset}: {table[0]['cases']} cases**", "", markdown(ranked(table), SWEEP_COLUMNS), ""]
    return text


def costs(table: list[dict]) -> str:
    """Time and memory of each method that edits."""
    lines = [["method", "time", "memory"]]
    for row in table:
        if row["memory_bytes"]:
            lines.append([row["method"], f"{row['time']:.1f}", f"{row['memory_bytes'] / 1e6:.0f} MB"])
    return as_table(lines)


def with_memory(table: list[dict], memory: dict[str, int]) -> list[dict]:
    return [{**row, "memory_bytes": memory.get(row["method"], math.nan)} for row in table]


def ranked(table: list[dict]) -> list[dict]:
    """By "a visible edit, and nothing else touched": those that edit first, the least perceptual error first."""
    enough = max(row["success"] for row in table) - SUCCESS_MARGIN
    return sorted(table, key=lambda row: (row["success"] < enough, row["perceptual"]))


def markdown(table: list[dict], columns) -> str:
    """The rows; the best figure of each column among real methods is bold. None stands for no figure, as in JSON."""
    real = [row for row in table if not row["method"].startswith(("truth", "clip unchanged"))]
    lines = [["method", *(COLUMNS[name][0] for name in columns)]]
    for row in table:
        complete = row["cases"] == max(other["cases"] for other in table)
        cells = [row["method"] if complete else f"{row['method']} ({row['cases']} cases only)"]
        for name in columns:
            text = "" if missing(row[name]) else f"{row[name]:.{COLUMNS[name][1]}f}"
            values = [other[name] for other in real if other["cases"] == real[0]["cases"] and not missing(other[name])]
            compared = name in MEASURES and row in real and len(values) > 1
            best = (max if MEASURES[name][2] else min)(values) if compared else math.nan
            cells.append(f"**{text}**" if compared and text == f"{best:.{COLUMNS[name][1]}f}" else text)
        lines.append(cells)
    return as_table(lines)


def missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def reduced(reference: dict) -> str:
    return as_table(
        [
            ["measure", "mean", "noise"],
            *([name, f"{value['mean']:.3g}", f"{value['noise']:.2g}"] for name, value in reference.items()),
        ]
    )


def worst_cases(cases: list[Case]) -> list[Case]:
    """Those where ours is farthest below the ceiling that the VAE sets."""
    truth = first_table()[-1]
    return sorted(cases, key=lambda case: read_figures(case, OURS)["psnr"] - read_figures(case, truth)["psnr"])[:WORST]


def replace_section(path: Path, name: str, text: str, writer: str = "dev.py quality") -> None:
    """Puts the text between the marks of its name; what else the file says stays."""
    begin, end = f"<!-- {name}: from here, {writer} writes -->", f"<!-- {name}: to here -->"
    stored = path.read_text(encoding="utf-8") if path.exists() else f"# Quality\n\n{begin}\n{end}\n"
    if begin not in stored:
        stored += f"\n## {name.capitalize()} list\n\n{begin}\n{end}\n"
    head, _, rest = stored.partition(begin)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def without_nan(value):
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
