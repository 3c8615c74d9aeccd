"""Faults: every call of every node fails once. Afterwards nothing may be left, and a plain run must give the same."""

import dataclasses
import errno
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch

from edit_cases import snapshot
from fatezero_pack.fatezero import disk
from fatezero_pack.fatezero.compat import io
from fatezero_pack.fatezero.disk import remove_unfinished
from fatezero_pack.fatezero.network.unet.chunk_size import is_out_of_memory
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.resume import FOLDER as UNFINISHED
from fatezero_pack.fatezero.source.resume import remove_abandoned
from fatezero_pack.fatezero.source.session_folder import FOLDER as SESSION_FOLDER

from .points import FILES, MODELS, Points
from .scenarios import World
from .servers import PACK

OK, NONE = "ok", "-"
SESSION = (Path("temp") / SESSION_FOLDER).as_posix()  # what a session finds again stays on purpose
KEPT = (UNFINISHED, SESSION)
ROUNDING = 5e-5  # of the largest number: on some processors no two runs are equal, and null text makes 1.3e-5 of it
SIZES = (0, 700, 20_000)  # bytes after which the system lets no file grow


class Broken(RuntimeError):
    """What a model raises."""


def _raise(make: Callable[[], BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise make()

    return fail


def end_at_once() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# A column's name, which calls it lets fail one after the other, and how.
FAULTS: dict[str, tuple[str, Callable[[], None]]] = {
    "a file fails": (FILES, _raise(lambda: OSError(errno.EIO, os.strerror(errno.EIO)))),
    "no room": (FILES, _raise(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))),
    "the model fails": (MODELS, _raise(lambda: Broken("broken"))),
    "out of memory": (MODELS, _raise(lambda: comfy.model_management.OOM_EXCEPTION("no memory"))),
    "cancelled": (MODELS, _raise(comfy.model_management.InterruptProcessingException)),
    "killed at a file": (FILES, end_at_once),
    "killed at a model call": (MODELS, end_at_once),
}
FULL = {"temp full": "temp", "output full": "output"}


class FaultTable:
    """Runs the scenarios with faults.

    most: of the calls of a kind in a scenario, how many fail in turn, spread evenly; 0 for all.
    """

    def __init__(self, base: Path, most: int = 0):
        self.world, self.most = World(base), most
        self.points = Points([str(base), str(PACK / "demo")])
        for patcher in (self.world.plain, self.world.wan):
            self.points.watch(patcher.model.diffusion_model)
        for encoder in (self.world.clip.cond_stage_model, self.world.wan_clip.cond_stage_model):
            self.points.watch(getattr(encoder, encoder.clip))
        gc.collect()
        gc.freeze()  # what is there stays, so that looking for garbage after each fault is quick

    def row(self, run: Callable[[], Any]) -> dict[str, str]:
        """What each kind of fault did to a scenario: how many were tried, or what was wrong afterwards.

        Args:
            run: The scenario.
        """
        self._empty()
        plain = list(parts_of(run())), self._files(), ROUNDING
        self._empty()
        base = str(self.world.base)
        faults = {name: self._each(run, *fault) for name, fault in FAULTS.items()}
        faults |= {
            name: [partial(self.points.full_folder, os.path.join(base, folder))] for name, folder in FULL.items()
        }
        faults["files cut"] = [partial(files_up_to, size) for size in SIZES]
        return {name: _cell([self._after(run, fault, *plain) for fault in each]) for name, each in faults.items()}

    def _each(self, run: Callable, kind: str, fail: Callable[[], None]) -> list[Callable]:
        """The faults at each of the calls of a kind that a scenario makes."""
        with self.points.failing(kind, 0, fail):
            run()
        count = self.points.met
        self._empty()
        steps = min(count, self.most or count)
        chosen = {round(1 + step * (count - 1) / max(steps - 1, 1)) for step in range(steps)}
        return [partial(self.points.failing, kind, at, fail) for at in sorted(chosen)]

    def _after(self, run: Callable, fault: Callable, expected: list, files: set[str], rounding: float) -> str | None:
        """Runs with a fault and then without; returns what is wrong, or None."""
        before = self._models()
        error = self._with_fault(run, fault)
        left = {name for name in self._files() - files if not any(kept in name for kept in KEPT)}
        changed = before != self._models()
        self._remove_finished()
        result, again = list(parts_of(run())), self._files()
        self._empty()
        if error is not None and not _is_expected(error):
            return f"it says {type(error).__name__}: {error}"
        if left or changed:
            return f"it leaves {', '.join(sorted(left)[:3]) or 'something on the model'}"
        if not same(result, expected, rounding):
            return "another result then"
        return f"other files then: {', '.join(sorted(again ^ files)[:3])}" if again != files else None

    def _with_fault(self, run: Callable, fault: Callable) -> BaseException | None:
        """Runs a scenario, in a child process where the fault ends that; returns what was raised."""
        with fault():
            killed = self.points.fail is end_at_once
            error = _in_child(run) if killed else _raised_by(run)
        if killed:
            self._next_day()
        return error

    def _next_day(self) -> None:
        """What ComfyUI's start does a day later."""
        day, disk._DAY = disk._DAY, -60
        try:
            remove_unfinished(folder_paths.get_output_directory())
            remove_abandoned(folder_paths.get_output_directory())
        finally:
            disk._DAY = day
        self._empty("temp")

    def _models(self) -> list[Any]:
        return [snapshot(model) for model in (self.world.plain, self.world.model, self.world.tuned, self.world.wan)]

    def _files(self) -> set[str]:
        """All files of the output and temp folder, by their paths within both, but for what a session finds again."""
        gc.collect()  # what belongs to an object goes with it
        base = self.world.base
        paths = [path for name in ("output", "temp") for path in (base / name).rglob("*")]
        return {
            path.relative_to(base).as_posix() for path in paths if path.is_file() and SESSION not in path.as_posix()
        }

    def _remove_finished(self) -> None:
        """Whole files that a fault came too late for, so that the next run has their names again."""
        for path in sorted(
            (path for name in ("output", "temp") for path in (self.world.base / name).rglob("*")), reverse=True
        ):
            if not path.is_dir() and not any(kept in path.as_posix() for kept in KEPT):
                path.unlink()
            elif path.is_dir() and not os.listdir(path):
                path.rmdir()

    def _empty(self, *names: str) -> None:
        gc.collect()
        for name in names or ("output", "temp"):
            shutil.rmtree(self.world.base / name)
            (self.world.base / name).mkdir()


def faults(most: int = 0, only: str = "") -> bool:
    """Prints the table in Markdown, a scenario a line; returns whether all of it is in order.

    Args:
        most: As for FaultTable.
        only: Scenarios whose name contains this.
    """
    names = [*FAULTS, *FULL, "files cut"]
    print(f"| node | {' | '.join(names)} |\n|---|{'---|' * len(names)}", flush=True)
    right = True
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        table = FaultTable(Path(folder), most)
        for scenario, run in table.world.scenarios().items():
            if only in scenario:
                cells = table.row(run)
                right = right and all(cell == NONE or cell.endswith(OK) for cell in cells.values())
                print(f"| {scenario} | {' | '.join(cells[name] for name in names)} |", flush=True)
    return right


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Within it, the system lets no file grow beyond so many bytes, whoever writes it; Linux and macOS."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with redirect_stderr(StringIO()):  # progress bars may go to a file, too
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def same(result: list, expected: list, rounding: float = 0.0) -> bool:
    """Whether two results have the same parts, tensors to the bit, or by so much of the largest number apart."""
    return len(result) == len(expected) and all(map(partial(_equal, rounding=rounding), result, expected))


def _equal(part: Any, other: Any, rounding: float) -> bool:
    if not isinstance(part, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(part) is type(other) and repr(part) == repr(other)
    if part.dtype != other.dtype or part.shape != other.shape:
        return False
    exact = torch.equal(part.nan_to_num(), other.nan_to_num()) and torch.equal(part.isnan(), other.isnan())
    return exact or bool((part.double() - other.double()).abs().amax() < rounding * other.double().abs().amax())


def parts_of(value: Any) -> Iterator[Any]:
    """All the tensors, texts and numbers in a result."""
    if isinstance(value, (torch.Tensor, str, int, float, type(None))):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts_of(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from parts_of([item for pair in value.items() for item in pair])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from parts_of(item)
    elif isinstance(value, io.NodeOutput):
        yield from parts_of([value.args, value.ui])


def _raised_by(run: Callable[[], Any]) -> BaseException | None:
    try:
        run()
    except BaseException as error:
        return error.with_traceback(None)
    return None


def _in_child(run: Callable[[], Any]) -> None:
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(1)
    os.waitpid(child, 0)


def _is_expected(error: BaseException) -> bool:
    """Whether it is a sentence of ours, or what the fault raised itself in a model."""
    cancelled = isinstance(error, comfy.model_management.InterruptProcessingException)
    return isinstance(error, (Refusal, Broken)) or is_out_of_memory(error) or cancelled


def _cell(wrong: list[str | None]) -> str:
    if not wrong:
        return NONE
    found = list(filter(None, wrong))
    return (
        f"{len(wrong)} {OK}" if not found else f"**{len(found)} of {len(wrong)}: {found[0][:200]}**".replace("|", "/")
    )
