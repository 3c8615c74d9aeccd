"""What is to be done: a task is one prompt for ComfyUI, and a row is one task or, cut into parts, several."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from .failure import failure_of
from .graph import Graph, filled
from .measured import with_report
from .parts import Part, Splitting, cut, graph_of_part
from .results import is_done, is_foreign
from .table import BatchError, Row
from .whole_only import note_on_seams

BLOCK = 1 << 20  # bytes
PARTS = ".parts"  # in the results' folder: what a clip that is cut has so far


@dataclass(frozen=True)
class Task:
    """One prompt for ComfyUI, and the folder where its results appear, whole or not at all.

    key: Names what the task computes: the prompt and the content of its files. group: Tasks of one group share an
    inversion. part: Which part of the clip it edits, None for all of it.
    """

    graph: Graph
    folder: Path
    key: str
    group: str
    part: Part | None = None

    @property
    def done(self) -> bool:
        return is_done(self.folder, self.key)


@dataclass(frozen=True)
class Job:
    """A row, its tasks and the folder of its result.

    graph, key: Of the whole clip. problem: Why the row cannot be run, None for one that can. note: What a person should
    know of its result, "" where there is nothing.
    """

    row: Row
    folder: Path
    graph: Graph | None = None
    key: str = ""
    tasks: tuple[Task, ...] = ()
    problem: str | None = None
    note: str = ""

    @property
    def done(self) -> bool:
        """Whether its result is there: that of its one task, or that of all its parts together."""
        return self.problem is None and is_done(self.folder, self.key)


def make_job(row: Row, prompt: dict, definitions: dict, here: Path, out: Path, splitting: Splitting) -> Job:
    """The tasks of a row.

    Args:
        prompt, definitions, here: See `filled`.
        out: The folder of all results.
        splitting: How a clip is cut, see `parts.Splitting`.
    """
    folder = out / row.name
    try:
        if is_foreign(folder):
            raise BatchError(f"{folder} is there already and no result of a batch; name the row otherwise, or --out.")
        graph = filled(prompt, definitions, row, here)
        whole = _task(graph, folder)
        parts = cut(graph, splitting)
        if parts is None:
            # The key is that of the workflow as it was given: what earlier versions have made stays done.
            measured = replace(whole, graph=replace(graph, prompt=with_report(graph.prompt, definitions)))
            return Job(row, folder, graph, whole.key, (measured,))
        places = [out / PARTS / row.name / f"{number:05d}" for number in range(len(parts))]
        tasks = tuple(_task(graph_of_part(graph, part), place, part) for part, place in zip(parts, places))
        note = note_on_seams(graph, [part.start for part in parts[1:]])
        return Job(row, folder, graph, _digest([whole.key, parts[0].count, len(parts)]), tasks, note=note)
    except Exception as error:
        return Job(row, folder, problem=failure_of(error).message)


def in_order(tasks: list[Task]) -> list[Task]:
    """Tasks of one group behind each other, where the first of the group stood."""
    first: dict[str, int] = {}
    for task in tasks:
        first.setdefault(task.group, len(first))
    return sorted(tasks, key=lambda task: first[task.group])


def _task(graph: Graph, folder: Path, part: Part | None = None) -> Task:
    contents = {f"{node} {name}": content_digest(path) for (node, name), path in graph.uploads.items()}
    key = _digest([graph.prompt, contents])
    sources = [entry["inputs"].get("source_prompt") for entry in graph.prompt.values()]
    return Task(graph, folder, key, _digest([contents, sources, part and part.start]), part)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def content_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    try:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise BatchError(f"{path} cannot be read ({error.strerror}); copy it anew, or leave the row out.") from error
