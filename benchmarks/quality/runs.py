"""Makes and measures the clips that are not there yet, on every core, and keeps them, so that a stopped run goes on."""

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch

from tools.lifeline import end_with_parent

from . import measures
from .cases import Case
from .editor import Editor
from .judge import network as judge
from .methods import Method

FOLDER = Path(__file__).resolve().parents[2] / ".run" / "quality"


def clip_path(case: Case, method: Method) -> Path:
    """Where a case's clip by a method is kept: a PNG of its frames side by side; beside it a JSON with its figures.

    Named by everything that goes into it but the code: after a change of the method, delete the folder.
    """
    told_by_settings = ("name", "preset", "changes", "as_in_paper", "automatic", "tuned", "masked", "weights")
    asked = {name: value for name, value in unusual(method).items() if name not in told_by_settings}
    if method.tuned is not None:
        asked["tuned"] = unusual(method.tuned.settings), method.tuned.after
    if method.weights:
        asked["weights"] = _digest(method.weights)
    settings = method.settings(case)
    asked |= {"case": asdict(case), "settings": str(settings)} | untold(settings)
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return FOLDER / case.name / f"{digest}.png"


def unusual(settings) -> dict:
    """The fields of a dataclass's object that have another value than their default."""
    return {name: value for name, value in asdict(settings).items() if value != getattr(type(settings), name, None)}


def untold(settings) -> dict:
    """The fields of BlendSettings that its text leaves out, where they have another value than their default."""
    hidden = {field.name for field in fields(settings) if not field.repr}
    return {name: value for name, value in unusual(settings).items() if name in hidden}


def make_clips(pairs: list[tuple[Case, Method]], processes: int) -> None:
    """Makes and measures the missing ones of all pairs; those of a case together, because they share its inversions."""
    missing = {}
    for case, method in pairs:
        if read_figures(case, method) is None:
            missing.setdefault(case.name, {})[clip_path(case, method)] = case, method
    count, done = sum(map(len, missing.values())), 0
    print(f"{count} clips to make or measure, the others are there.", flush=True)
    if not missing:
        return
    jobs = sorted((list(of_case.values()) for of_case in missing.values()), key=_work, reverse=True)
    with ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn"), _begin) as pool:
        for job in as_completed([pool.submit(_make_case, job) for job in jobs]):
            name, made = job.result()
            done += made
            print(f"  {done:5} of {count} clips  {name}", flush=True)


def available_processes() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def read_figures(case: Case, method: Method) -> dict | None:
    """The measures of a clip and what it took, by name; None where it is not made, or measured otherwise."""
    path = clip_path(case, method).with_suffix(".json")
    entry = json.loads(path.read_text()) if path.exists() else {}
    if entry.get("measured_by") != _measured_by():
        return None
    return {**entry["measures"], **_price_of(entry)}


def read_clip(case: Case, method: Method) -> torch.Tensor:
    """The clip as an IMAGE [n, H, W, 3] of 0..1, in steps of 1/255 as any saved video."""
    strip = cv2.cvtColor(cv2.imread(str(clip_path(case, method))), cv2.COLOR_BGR2RGB)
    frames = strip.reshape(case.height, case.frames, case.width, 3).swapaxes(0, 1)
    return torch.from_numpy(frames.copy()).float() / 255


def _price_of(entry: dict) -> dict[str, float]:
    """What a clip took; of those made before rows were counted, the seconds."""
    return {name: entry[name] for name in ("seconds", "rows") if name in entry}


def _work(job) -> int:
    return sum(method.steps * case.frames * case.height * case.width for case, method in job)


def _measured_by() -> str:
    """What told the figures: the version of the measures and the judge's weights."""
    return f"{measures.VERSION} {_digest(str(judge.WEIGHTS))}"


@lru_cache
def _digest(path: str) -> str:
    """What tells a file's contents from others'."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def _begin() -> None:
    """A process for each core, with one thread, is faster than threads on so small a model."""
    end_with_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _make_case(job: list[tuple[Case, Method]]) -> tuple[str, int]:
    """Makes and measures the clips of one case, all with one model, in a process of the pool."""
    editor, network = Editor(job[0][1].weights), judge.load_judge()
    for case, method in job:
        path = clip_path(case, method)
        figures = path.with_suffix(".json")
        if not figures.exists():
            clip, price = editor.make(case, method)
            spent = asdict(price)
            strip = (clip.clamp(0, 1).numpy() * 255).round().astype(np.uint8).swapaxes(0, 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.cvtColor(strip.reshape(case.height, -1, 3), cv2.COLOR_RGB2BGR))
        else:
            spent = _price_of(json.loads(figures.read_text()))
        values = measures.measure(case, read_clip(case, method), case.clip(case.target), network)
        entry = {"method": method.name, **spent, "measured_by": _measured_by(), "measures": values}
        figures.write_text(json.dumps(entry))  # last, and only of a whole clip
    return job[0][0].name, len(job)
