"""Soak: the whole graph, again and again in one server, in each of ComfyUI's ways to cache; does its memory grow?"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tools.comfyui_server import ComfyUIServer

from .graph import Prompt, first_run, whole_graph
from .memory import held
from .servers import NEW, OLD, server_of

RUNS = 200
TUNING, NULL_TEXT = 10, 5  # in every so many runs
GOAL = 1.0  # MB per 100 runs, over the second half
MODES = {
    "0.30 default": (NEW, ()),
    "0.30 --cache-classic": (NEW, ("--cache-classic",)),
    "0.30 --cache-lru 30": (NEW, ("--cache-lru", "30")),
    "0.30 --cache-none": (NEW, ("--cache-none",)),
    "0.18 default": (OLD, ()),
}


def soak(runs: int = RUNS, only: str = "") -> list[str]:
    """Soaks one server after the other; prints and returns the table in Markdown, a mode a line."""
    rows = [
        "| server | runs | MB after half of them | MB at the end | MB per 100 runs, second half |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(rows), flush=True)
    for mode, (version, arguments) in MODES.items():
        if only in mode:
            with tempfile.TemporaryDirectory() as folder, server_of(version, Path(folder), *arguments) as server:
                rows.append(_row(mode, sizes_after(server, runs)))
            print(rows[-1], flush=True)
    return rows


def sizes_after(server: ComfyUIServer, runs: int) -> list[float]:
    """What the server holds in RAM after each of the runs, in MB."""
    prompt = whole_graph(server.object_info())
    sizes = []
    for index in range(runs):
        run = server.run(varied(prompt, index))
        if run.status != "success":
            raise server.failure(f"run {index + 1} ended as {run.status}: {run.error.get('exception_message')}")
        server.request("POST", "/history", {"clear": True})  # ComfyUI keeps every prompt there
        sizes.append(held(server.process.pid))
    return sizes


def varied(prompt: Prompt, index: int) -> Prompt:
    """The graph with other frames than in the run before and an edit that no run before had; what takes longest, tuning
    and null text, only in some of the runs."""
    changes: dict[str, dict[str, Any]] = {
        "load": {"batch": index % 4},  # other frames each time
        "edit": {"cfg": 3 + index / 100},
        "ksampler": {"cfg": 3 + index / 100},
        "coupled": {"cfg": 2 + index / 100},
        "invert": {"reuse": index % 2 == 0},  # found again, and made anew
    }
    left_out = {"tune", "save tuned"} if index % TUNING else set()
    left_out |= {"null text", "save source"} if index % NULL_TEXT else set()
    return {
        name: {**node, "inputs": {**node["inputs"], **changes.get(name, {})}}
        for name, node in (prompt if index else first_run(prompt)).items()
        if name not in left_out
    }


def slope(sizes: list[float]) -> float:
    """How fast the second half grows, by least squares, in MB per 100 runs."""
    half = np.array(sizes[len(sizes) // 2 :])
    return float(np.polyfit(np.arange(len(half)), half, 1)[0]) * 100


def _row(mode: str, sizes: list[float]) -> str:
    return f"| {mode} | {len(sizes)} | {sizes[len(sizes) // 2]:.1f} | {sizes[-1]:.1f} | {slope(sizes):+.2f} |"
