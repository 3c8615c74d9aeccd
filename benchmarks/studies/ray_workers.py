"""What Ray gives and costs: two workers against one on the cores of one machine, and the overhead of a row.

`python -m benchmarks.studies.ray_workers [--rounds 5] [--rows 4]`, with COMFYUI_PATH set, on a quiet machine (two to
three minutes on two cores). In every round each way edits as many clips, no two of them alike, on ComfyUIs that are
warm and compute with one thread each. Of each the median over the rounds, the least and the greatest: the seconds of a
row from row to result; those for which ComfyUI says it executed the prompt (what is between them is our overhead); and,
which tells more on a machine that is not quiet, the processor's seconds of a row in ComfyUI and in all that is ours and
Ray's.
"""

import argparse
import copy
import json
import os
import re
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil

from fatezero_pack.demo.clips import write_mp4
from fatezero_pack.demo.world import caption, render, video
from tools.batch.__main__ import run
from tools.batch.local import OneServer
from tools.batch.on_ray import RayWorkers
from tools.batch.parts import Splitting
from tools.batch.table import read_table
from tools.batch.tasks import Job, make_job
from tools.comfyui_server import ComfyUIServer, device_arguments
from tools.workflow_prompt import prompt_from_workflow

from ..quality.draw_cases import draw_edit

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = os.environ["COMFYUI_PATH"]
WORKFLOW, FRAMES, STEPS, SEED = "fatezero_video_edit_demo_color_edit", 4, 5, 0
ONE_SERVER, RAY_ONE, RAY_TWO = "dev.py batch", "--ray, 1 worker", "--ray, 2 workers"
EXECUTED = re.compile(r"Prompt executed in ([0-9.]+) seconds")  # what ComfyUI writes to its log


class Seconds(NamedTuple):
    """Of a row: from row to result; ComfyUI's execution; the processor's in ComfyUI; the processor's in the rest."""

    whole: float
    executed: float
    comfyui: float
    rest: float


class Rows:
    """Edits that nobody has made yet: clips of the demo world in a folder, each with a change of colour."""

    def __init__(self, folder: Path, definitions: dict):
        workflow = json.loads((ROOT / "workflows" / f"{WORKFLOW}.json").read_text(encoding="utf-8"))
        self.prompt, self.definitions = prompt_from_workflow(workflow, definitions), definitions
        self.folder, self.rng, self.drawn = folder, np.random.default_rng(SEED), 0

    def draw(self, count: int) -> list[Job]:
        """So many rows, as `dev.py batch` makes them of a table."""
        lines = []
        for _ in range(count):
            source, target, _ = draw_edit(self.rng, "colour", 0)
            self.drawn += 1
            clip = self.folder / f"{self.drawn}.mp4"
            write_mp4(clip, [render(moment, 128, 128) for moment in video(source, FRAMES, self.drawn)])
            prompts = {"source prompt": caption(source), "target prompt": caption(target)}
            lines.append(
                {
                    "name": str(self.drawn),
                    "clip": clip.name,
                    "size": "small",
                    "count": FRAMES,
                    "steps": STEPS,
                    **prompts,
                }
            )
        table = self.folder / "edits.jsonl"
        table.write_text("\n".join(map(json.dumps, lines)))
        out = self.folder / "out"
        return [
            make_job(row, self.prompt, self.definitions, self.folder, out, Splitting()) for row in read_table(table)
        ]


def executed(folder: Path) -> float:
    """Seconds in which all ComfyUIs under a folder have executed prompts so far."""
    logs = (log.read_text(encoding="utf-8", errors="replace") for log in folder.glob("*/server.log"))
    return sum(float(seconds) for log in logs for seconds in EXECUTED.findall(log))


def processor_seconds() -> tuple[float, float]:
    """What ComfyUIs, and what this process and all others that it has started have computed so far."""
    comfyui = rest = 0.0
    process = psutil.Process()
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it has ended
            taken = sum(one.cpu_times()[:2])
            serves = "main.py" in " ".join(one.cmdline())
            comfyui, rest = (comfyui + taken, rest) if serves else (comfyui, rest + taken)
    return comfyui, rest


def measure(runners: dict, rows: Rows, rounds: int, count: int) -> dict[str, list[Seconds]]:
    """{way: what a row takes in each round}, after a round that warms up."""
    found: dict[str, list[Seconds]] = {name: [] for name in runners}
    for number in range(rounds + 1):
        for name, runner in runners.items():
            jobs = rows.draw(count if number else 2)
            before, started = (executed(rows.folder), *processor_seconds()), time.monotonic()
            failures = run(runner, jobs, rows.folder / "out")
            assert not failures, failures
            whole, after = time.monotonic() - started, (executed(rows.folder), *processor_seconds())
            taken = (whole, *(then - now for then, now in zip(after, before)))
            if number:
                found[name].append(Seconds(*(seconds / len(jobs) for seconds in taken)))
                print(f"round {number}  {name:20} {found[name][-1]}", flush=True)
    return found


def report(found: dict[str, list[Seconds]]) -> None:
    """Prints the medians."""
    for name, rounds in found.items():
        columns = {field: spread([getattr(taken, field) for taken in rounds]) for field in Seconds._fields}
        print(f"{name:20} " + ", ".join(f"{field} {words}" for field, words in columns.items()))
    for name in (ONE_SERVER, RAY_ONE):
        print(f"{name:20} overhead {spread([taken.whole - taken.executed for taken in found[name]])} s a row")
        ratios = [one.whole / two.whole for one, two in zip(found[name], found[RAY_TWO])]
        print(f"{name} / {RAY_TWO}: {spread(ratios)}")


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4, help="of each way in each round")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder  # where Ray's workers put their ComfyUI
        server = ComfyUIServer(
            COMFYUI, sys.executable, f"{folder}/one", {"fatezero": ROOT}, device_arguments(sys.executable)
        )
        with OneServer(server) as one, RayWorkers(Path(COMFYUI), sys.executable, server.arguments, None, 2) as two:
            first = copy.copy(two)
            first.workers = two.workers[:1]
            rows = Rows(Path(folder), one.definitions())
            report(measure({ONE_SERVER: one, RAY_ONE: first, RAY_TWO: two}, rows, options.rounds, options.rows))


if __name__ == "__main__":
    main()
