"""A tuning that was stopped, on disk, so that it goes on where it was."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import torch

from ..disk import explained_disk_errors
from ..source.resume import FOLDER
from ..tensor_file import DefectiveFile, read_tensors, write_tensors
from .tuning_run import TuningRun

_NOW, _BEST, _OPTIMIZER, _GENERATOR = "now", "best", "optimizer", "generator"


class UnfinishedTuning:
    """One tuning's weights, optimizer and random numbers after the steps that it has taken, in a file.

    folder: within the output folder; digest: names all that determines the result (`digest.tuning_digest`).
    """

    def __init__(self, output_folder: str, digest: str):
        self.folder = os.path.join(output_folder, *FOLDER.split("/"), f"tuning_{digest}")
        self.path = os.path.join(self.folder, "state.safetensors")

    def write(self, run: TuningRun, told: dict, best: dict[str, torch.Tensor], generator: torch.Tensor) -> None:
        """Keeps a state; a DiskRefusal where the disk has no room.

        Args:
            run: Between two steps.
            told: Plain JSON of how it went so far.
            best: The best weights so far.
            generator: State of the random numbers before the next step.
        """
        tensors = {f"{_NOW}/{name}": value for name, value in run.weights.snapshot().items()}
        tensors |= {f"{_BEST}/{name}": value for name, value in best.items()}
        numbers: dict[str, float] = {}
        for name, parameter in run.weights.parameters.items():
            for key, value in run.optimizer.state.get(parameter, {}).items():
                (tensors if isinstance(value, torch.Tensor) else numbers)[f"{_OPTIMIZER}/{key}/{name}"] = value
        document = {"told": told, "scale": run.scale, "numbers": numbers}
        with explained_disk_errors(self.folder, resumes=True):
            os.makedirs(self.folder, exist_ok=True)
            write_tensors(self.path, {**tensors, _GENERATOR: generator}, document)

    def read(self, run: TuningRun) -> tuple[dict, dict[str, torch.Tensor], torch.Tensor] | None:
        """Puts a run where an earlier one stopped: what was told, the best weights and the random numbers' state. None
        where there is no such file, or it is damaged."""
        with torch.inference_mode(False):  # the optimizer goes on with these tensors
            try:
                document, tensors = read_tensors(self.path, _check)
            except DefectiveFile:
                return None
            best = _put(run, {**tensors, **document["numbers"]})
        run.scale = document["scale"]
        return document["told"], best, tensors[_GENERATOR]

    def remove(self) -> None:
        """Deletes it, once the tuning is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            os.rmdir(os.path.dirname(self.folder))  # unless another run waits there


def _put(run: TuningRun, values: dict) -> dict[str, torch.Tensor]:
    """Gives a run its weights and its optimizer's state; returns the best weights."""
    parameters, best = run.weights.parameters, {}
    for place, value in values.items():
        kind, _, name = place.partition("/")
        if kind == _NOW:
            parameters[name].data.copy_(value)
        elif kind == _BEST:
            best[name] = value
        elif kind == _OPTIMIZER:
            key, _, name = name.partition("/")
            on_device = isinstance(value, torch.Tensor) and value.ndim > 0
            run.optimizer.state[parameters[name]][key] = value.to(run.device) if on_device else value
    return best


def _check(document: dict, layout) -> None:
    if not {"told", "scale", "numbers"} <= set(document) or _GENERATOR not in layout:
        raise DefectiveFile("it is no tuning that was stopped")
