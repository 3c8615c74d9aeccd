"""Where the figures go: a table in the terminal, results.json, and a section of RESULTS.md."""

import os
import platform
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path

import psutil
import torch

from .figures import BYTES, SECONDS, Figure

BEGIN, END = "<!-- bench: from here, `python dev.py bench` writes -->", "<!-- bench: to here -->"


def machine() -> dict:
    """What the figures were measured on."""
    import comfyui_version

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "device": gpu or "CPU",
        "type": "float16" if gpu else "float32",
        "cpu": processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "ram_bytes": psutil.virtual_memory().total,
        "vram_bytes": torch.cuda.get_device_properties(0).total_memory if gpu else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "comfyui": comfyui_version.__version__,
    }


def processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine_in_words(machine: dict) -> str:
    device = f"{machine['device']}, " if machine["vram_bytes"] else ""
    return (
        f"{device}{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['type']}, "
        f"{machine['system']}, Python {machine['python']}, torch {machine['torch']}, ComfyUI {machine['comfyui']}"
    )


def results(figures: dict[str, Figure], profile: dict, machine: dict, short: bool) -> dict:
    """results.json: {"machine", "date", "short", "figures": {name: {"value", "meaning", ...}}, "profile_seconds"}."""
    where = {"machine": machine_in_words(machine), "date": date.today().isoformat()}
    named = {
        name: {**{key: item for key, item in asdict(figure).items() if item is not None}, **where}
        for name, figure in figures.items()
    }
    return {"machine": machine, "date": where["date"], "short": short, "figures": named, "profile_seconds": profile}


def renewed(earlier: dict, part: dict) -> dict:
    """Earlier results with the figures of a part that was measured again; each keeps its machine and date."""
    figures = {name: {"date": earlier["date"], **figure} for name, figure in earlier["figures"].items()}
    return {
        **earlier,
        "figures": {**figures, **part["figures"]},
        "profile_seconds": part["profile_seconds"] or earlier["profile_seconds"],
    }


def in_words(value: float, unit: str) -> str:
    if unit != BYTES:
        return f"{value:.2f}" + " s" * (unit == SECONDS)
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= size:
            return f"{value / size:.1f} {name}"
    return f"{value / 1e3:.1f} kB"


def goal_in_words(figure: Figure) -> str:
    if figure.at_most is None:
        return ""
    reached = "" if figure.value <= figure.at_most else ": missed"
    return f"at most {in_words(figure.at_most, figure.unit)}{reached}"


def measured_in_words(figure: Figure) -> str:
    """The size, how often it was measured and how far the measurements lie apart."""
    times = {0: "computed", 1: "once"}.get(figure.runs, f"median of {figure.runs}")
    spread = (
        ""
        if figure.spread is None or figure.runs < 2
        else f", {' to '.join(in_words(value, figure.unit) for value in figure.spread)}"
    )
    return f"{figure.size}; {times}{spread}"


def terminal_table(figures: dict[str, Figure]) -> str:
    rows = [("figure", "value", "goal", "measured on")]
    rows += [
        (name, in_words(figure.value, figure.unit), goal_in_words(figure), measured_in_words(figure))
        for name, figure in figures.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def section(results: dict) -> str:
    """The section of RESULTS.md, without its marks."""
    figures = {name: figure_from(entry) for name, entry in results["figures"].items()}
    command = "python dev.py bench" + " --short" * results["short"]
    lines = [
        "## Cost",
        "",
        f"`{command}`, {results['date']}, on: {machine_in_words(results['machine'])}.",
        "",
        "Random weights; key frames current + middle; source attention by replay in every step unless said otherwise. "
        "Times are taken in turn (A B A B ...) and compared within each round: the median, the least and the "
        "greatest ratio. Memory is the peak beyond the loaded model in a process of its own. All "
        "numbers are in [results.json](results.json).",
        "",
        "| figure | value | goal | what it is | measured on |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {in_words(figure.value, figure.unit)} | {goal_in_words(figure)} | {figure.meaning} | "
        f"{measured_in_words(figure)}{another_date(results, name)} |"
        for name, figure in figures.items()
    ]
    lines += [
        "",
        *series_tables(figures),
        "Where the time of one step goes, in % of the time of the sampler with as "
        "many rows (the difference to it is ours):",
        "",
        *profile_table(results["profile_seconds"]),
    ]
    return "\n".join(lines)


def figure_from(entry: dict) -> Figure:
    """A figure of results.json."""
    return Figure(**{field.name: entry[field.name] for field in fields(Figure) if field.name in entry})


def another_date(results: dict, name: str) -> str:
    """The date of a figure that was measured again, by itself."""
    day = results["figures"][name].get("date", results["date"])
    return "" if day == results["date"] else f"; {day}"


def series_tables(figures: dict[str, Figure]) -> list[str]:
    """One line for every figure that was measured at several sizes."""
    lines = []
    for name, figure in figures.items():
        if figure.series:
            unit = figure.series_unit or figure.unit
            values = "; ".join(f"{size}: {in_words(value, unit)}" for size, value in figure.series.items())
            lines.append(f"* {name}: {values}")
    return ["At other sizes:", "", *lines, ""] if lines else []


def profile_table(profile: dict[str, dict[str, float]]) -> list[str]:
    """Each pair of columns (the sampler, ours) as shares of the sampler's total."""
    columns = list(profile)
    totals = [sum(profile[columns[index - index % 2]].values()) for index in range(len(columns))]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for group in profile[columns[0]]:
        shares = [f"{100 * profile[column][group] / total:.1f}" for column, total in zip(columns, totals)]
        lines.append(f"| {group} | " + " | ".join(shares) + " |")
    sums = [f"{100 * sum(profile[column].values()) / total:.1f}" for column, total in zip(columns, totals)]
    return [*lines, "| all | " + " | ".join(sums) + " |"]


def replace_section(text: str, new: str) -> str:
    """RESULTS.md with the bench's own section renewed, everything outside of its marks as it was."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"RESULTS.md lacks the marks of the bench's section; put {BEGIN} and {END} where it belongs.")
    return f"{before}{BEGIN}\n{new.strip()}\n{END}{after}"
