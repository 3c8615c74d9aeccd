"""The report: tables into RESULTS.md and results.json, sheets and curves into pictures/."""

import json
import math
from datetime import date
from pathlib import Path

from benchmarks.cost.report import machine, machine_in_words

from . import noise, pictures
from .cases import Case
from .measures import MEASURES
from .methods import ABLATIONS, CURVES, FREE, FUSED, GUIDANCE, OURS, STEPS, TRUTH, UNCHANGED, first_table, preset_sweep
from .runs import read_figures
from .tables import paired_difference, rows

FOLDER = Path(__file__).parent
# Heading and digits of what the tables show.
COLUMNS = {
    "success": ("success %", 0),
    "kept": ("kept %", 0),
    "psnr_inside": ("PSNR inside", 1),
    "psnr_outside": ("PSNR outside", 1),
    "psnr": ("PSNR whole", 1),
    "perceptual_inside": ("perceptual inside", 3),
    "perceptual_outside": ("perceptual outside", 3),
    "perceptual": ("perceptual whole", 3),
    "difference_error": ("difference error", 2),
    "flicker": ("flicker", 2),
    "tem_con": ("Tem-Con %", 1),
    "frame_acc": ("Frame-Acc %", 0),
    "time": ("time", 1),
}
ABLATION_COLUMNS = (
    "success",
    "kept",
    "psnr_inside",
    "psnr_outside",
    "perceptual",
    "difference_error",
    "flicker",
    "time",
)
SWEEP_COLUMNS = ("success", "kept", "psnr_inside", "psnr_outside", "psnr", "perceptual", "difference_error", "flicker")
SUCCESS_MARGIN = 3
WORST = 10


def write(
    shown: dict[str, list[Case]],
    varied: list[Case],
    swept: dict[str, list[Case]],
    groups: list[list[Case]],
    memory: dict[str, int],
    short: bool,
) -> None:
    """Writes the section of this run, of the short list or the full one, in RESULTS.md and results.json.

    shown: cases of each main table; varied: of the ablations, empty for none; swept: of each preset's sweep; groups:
    the reduced list; memory: bytes.
    """
    methods = first_table()
    tables = {title: with_memory(rows(cases, methods), memory) for title, cases in shown.items()}
    ablations = {title: rows(varied, list_) for title, list_ in ABLATIONS.items()} if varied else {}
    sweeps = {preset: rows(cases, preset_sweep(preset)) for preset, cases in swept.items()}
    conditions = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "steps": STEPS,
        "guidance": GUIDANCE,
        "processes_of_one_thread": True,
    }
    results = {
        "conditions": conditions,
        "tables": tables,
        "ablations": ablations,
        "preset_sweeps": sweeps,
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
    path.write_text(json.dumps(without_nan({**stored, name: results}), indent=1) + "\n", encoding="utf-8")

    text = [
        f"`python dev.py quality{' --short' if short else ''}`, {conditions['date']}, on: "
        f"{machine_in_words(conditions['machine'])}. {STEPS} steps, guidance {GUIDANCE}.",
        "",
        *(
            f"* {COLUMNS[name][0]}: {meaning}" + (f", in {unit}" if unit and unit != "%" else "")
            for name, (meaning, unit, _) in MEASURES.items()
        ),
        "* time: processor seconds from latent to latent, inversion included; DDIM inversion + new prompt is 1",
        "* memory: most RAM beyond the loaded model, 8 frames of 128x128, in a process of its own",
        "",
    ]
    for title, table in tables.items():
        cases = shown[title]
        text += [f"### {title}: {len(cases)} cases", "", markdown(table, [*COLUMNS, "memory"]), ""]
        text += [
            "Ours minus each other method, paired over the cases, ± the standard error of that mean:",
            "",
            differences(cases),
            "",
        ]
        text += ["By kind: success in % / PSNR inside / PSNR outside:", "", by_kind(cases), ""]
    if sweeps:
        text += [
            "### What the presets were chosen from: the whole tuning half, four frames of each clip",
            "",
            "The best of each first: least perceptual error of the whole picture, among those that succeed in no "
            f"fewer frames than the most successful one but {SUCCESS_MARGIN} %; then the others.",
            "",
        ]
        for preset, table in sweeps.items():
            text += [f"**{preset}: {len(swept[preset])} cases**", "", markdown(ranked(table), SWEEP_COLUMNS), ""]
    if varied:
        text += [f"### Ablations: {len(varied)} clips of the tuning half, four frames each", ""]
        for title, table in ablations.items():
            text += [f"**{title}**", "", markdown(table, ABLATION_COLUMNS), ""]
        pictures.curves(FOLDER / "pictures" / "curves.png", varied, CURVES)
        text += ["![Curves over windows and threshold](pictures/curves.png)", ""]
        held_out = [case for cases in shown.values() for case in cases]
        first = [case for case in held_out if case.name.endswith("_1b")]
        pictures.methods_sheet(FOLDER / "pictures" / "methods.png", first, [m for m in methods if m.way != UNCHANGED])
        pictures.frames_sheet(FOLDER / "pictures" / "frames.png", [case for case in first if case.frames > 1], OURS)
        worst = worst_cases(held_out)
        pictures.methods_sheet(
            FOLDER / "pictures" / "worst.png",
            worst,
            [method for method in methods if method.way in (FUSED, FREE, TRUTH)],
        )
        text += [
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
    text += [
        "Reduced list of CI (three frames; ours), and the standard deviation of its mean over "
        f"{noise.OTHER_SEEDS + 1} choices of motion and ground:",
        "",
        reduced(results["reduced_list"]),
    ]
    replace_section(FOLDER / "RESULTS.md", name, "\n".join(text))


def with_memory(table: list[dict], memory: dict[str, int]) -> list[dict]:
    return [{**row, "memory_bytes": memory.get(row["method"], math.nan)} for row in table]


def ranked(table: list[dict]) -> list[dict]:
    """By "a visible edit, and nothing else touched": those that edit first, the least perceptual error first."""
    enough = max(row["success"] for row in table) - SUCCESS_MARGIN
    return sorted(table, key=lambda row: (row["success"] < enough, row["perceptual"]))


def markdown(table: list[dict], columns) -> str:
    """The rows; the best figure of each column among real methods is bold."""
    real = [row for row in table if not row["method"].startswith(("truth", "clip unchanged"))]
    lines = [["method", *("memory" if name == "memory" else COLUMNS[name][0] for name in columns)]]
    for row in table:
        complete = row["cases"] == max(other["cases"] for other in table)
        cells = [row["method"] if complete else f"{row['method']} ({row['cases']} cases only)"]
        for name in columns:
            if name == "memory":
                cells.append("" if math.isnan(row["memory_bytes"]) else f"{row['memory_bytes'] / 1e6:.0f} MB")
                continue
            text = "" if math.isnan(row[name]) else f"{row[name]:.{COLUMNS[name][1]}f}"
            values = [
                other[name] for other in real if not math.isnan(other[name]) and other["cases"] == real[0]["cases"]
            ]
            best = (
                name in MEASURES
                and row in real
                and len(values) > 1
                and text == f"{(max if MEASURES[name][2] else min)(values):.{COLUMNS[name][1]}f}"
            )
            cells.append(f"**{text}**" if best else text)
        lines.append(cells)
    return as_table(lines)


def differences(cases: list[Case]) -> str:
    names = ("success", "kept", "psnr_inside", "psnr_outside", "perceptual", "difference_error", "flicker", "tem_con")
    lines = [["ours minus", *(COLUMNS[name][0] for name in names)]]
    for method in first_table():
        if method.way in (TRUTH, UNCHANGED) or method.name == OURS.name:
            continue
        pairs = [(name, *paired_difference(cases, OURS, method, name)) for name in names]
        lines.append(
            [
                method.name,
                *(
                    "" if math.isnan(value) else "{:+.{d}f} ± {:.{d}f}".format(value, error, d=max(1, COLUMNS[name][1]))
                    for name, value, error in pairs
                ),
            ]
        )
    return as_table(lines)


def by_kind(cases: list[Case]) -> str:
    methods = first_table()
    lines = [["method", *dict.fromkeys(case.kind for case in cases)]]
    for method in methods:
        cells = [method.name]
        for kind in lines[0][1:]:
            row = rows([case for case in cases if case.kind == kind], [method])[0]
            cells.append(
                " / ".join(
                    "–" if math.isnan(row[name]) else f"{row[name]:.{COLUMNS[name][1]}f}"
                    for name in ("success", "psnr_inside", "psnr_outside")
                )
            )
        lines.append(cells)
    return as_table(lines)


def reduced(reference: dict) -> str:
    return as_table(
        [
            ["measure", "mean", "noise"],
            *([name, f"{value['mean']:.3g}", f"{value['noise']:.2g}"] for name, value in reference.items()),
        ]
    )


def as_table(lines: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def worst_cases(cases: list[Case]) -> list[Case]:
    """Those where ours is farthest below the ceiling that the VAE sets."""
    truth = first_table()[-1]
    return sorted(cases, key=lambda case: read_figures(case, OURS)["psnr"] - read_figures(case, truth)["psnr"])[:WORST]


def replace_section(path: Path, name: str, text: str) -> None:
    """Puts the text between the marks of its name; what else the file says stays."""
    begin, end = f"<!-- {name}: from here, dev.py quality writes -->", f"<!-- {name}: to here -->"
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
