"""A row's fields put into the workflow, and its outputs named by row."""

import copy
import difflib
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from ..workflow_prompt import choose, specification
from .table import BatchError, Row

CLIP = "clip"  # the column of the file in Video Load
LOADER, LOADED, SAVER = "FateZeroVideoLoad", "file", "FateZeroVideoSave"
INFLATE, INVERT = "FateZeroInflate", "FateZeroInvert"
INSTEAD = ("path", "video", "images")  # what the loader reads instead
UPLOADS = ("video_upload", "image_upload", "audio_upload", "animated_image_upload")
OUTPUTS = "batch"  # in the server's output folder
DEMO_CLIPS = "demo/"  # named without a file in ComfyUI's input folder


@dataclass(frozen=True)
class Graph:
    """A prompt for ComfyUI and the files that it reads.

    prompt: {node id: {"class_type", "inputs", "_meta"}}; uploads: {(node id, input): path}.
    """

    prompt: dict
    uploads: dict[tuple[str, str], Path] = field(default_factory=dict)

    def copy(self) -> "Graph":
        return Graph(copy.deepcopy(self.prompt), dict(self.uploads))


def filled(prompt: dict, definitions: dict, row: Row, folder: Path) -> Graph:
    """The workflow with the fields of a row.

    Args:
        prompt: The workflow as prompt, see `prompt_from_workflow`; it stays as it is.
        definitions: The server's answer to /object_info.
        row: Columns are `clip`, an input's name where one node alone has it, or `Node title.input`.
        folder: Where relative paths of files begin.

    Raises:
        BatchError: For a column, a value or a file that the workflow cannot take.
    """
    graph = Graph(copy.deepcopy(prompt))
    places = {column: _place(prompt, column) for column in row.fields}
    # A preset brings its own values; a column for one of them goes after it.
    for column in sorted(places, key=lambda column: places[column][1].count(".")):
        node, name = places[column]
        inputs, definition = graph.prompt[node]["inputs"], definitions[graph.prompt[node]["class_type"]]
        kind, options = specification(definition["input"], name, inputs)
        value = row.fields[column]
        if column.strip().casefold() == CLIP or any(options.get(upload) for upload in UPLOADS):
            _check_read(column, graph.prompt[node])
            if (path := _file(column, str(value), folder)) is not None:
                graph.uploads[node, name] = path
            inputs[name] = str(value)
        elif kind == "COMFY_DYNAMICCOMBO_V3":
            choose(inputs, name, _choice(column, str(value), [option["key"] for option in options["options"]]), options)
        else:
            inputs[name] = _value(column, value, kind, options)
    for node, entry in graph.prompt.items():
        if "filename_prefix" in entry["inputs"]:
            entry["inputs"]["filename_prefix"] = f"{OUTPUTS}/{row.name}/{node}"
    return graph


def title(entry: dict) -> str:
    """What is written on a node."""
    return entry["_meta"]["title"]


def nodes(graph: Graph, kind: str) -> dict[str, dict]:
    """The nodes of a class by their ids."""
    return {node: entry for node, entry in graph.prompt.items() if entry["class_type"] == kind}


def numbered(titles: list[str]) -> list[str]:
    """Names of files for nodes: their titles, and a number where one occurs again.

    >>> numbered(["Edited", "a/b", "edited"])
    ['Edited', 'a b', 'edited 2']
    """
    names: list[str] = []
    for written in (title.replace("/", " ").replace("\\", " ") for title in titles):
        taken = {name.casefold() for name in names}
        ways = itertools.chain([written], (f"{written} {number}" for number in itertools.count(2)))
        names.append(next(way for way in ways if way.casefold() not in taken))
    return names


def _place(prompt: dict, column: str) -> tuple[str, str]:
    """The node and the input that a column means."""
    wanted = column.casefold().strip()
    if wanted == CLIP:
        places = [(node, LOADED) for node, entry in prompt.items() if entry["class_type"] == LOADER]
    else:
        places = [
            (node, name)
            for node, entry in prompt.items()
            for name, value in entry["inputs"].items()
            if not isinstance(value, list) and wanted in _names(entry, name)
        ]
    if len(places) == 1:
        return places[0]
    if places:
        nodes = ", ".join(title(prompt[node]) for node, _ in places)
        raise BatchError(f"Column '{column}' is on {len(places)} nodes ({nodes}); write 'Node title.{column}'.")
    known = sorted({name for entry in prompt.values() for key in entry["inputs"] for name in _names(entry, key)})
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "expected an input's name or 'Node title.input'."
    raise BatchError(f"Column '{column}' names no input of the workflow; {hint}")


def _names(entry: dict, name: str) -> set[str]:
    """The ways to write an input, with and without its node: `self until`, `preset.self_until`."""
    ways = {name, name.rpartition(".")[2]}
    ways |= {way.replace("_", " ") for way in ways}
    return {way.casefold() for way in ways} | {f"{title(entry)}.{way}".casefold() for way in ways}


def _file(column: str, value: str, folder: Path) -> Path | None:
    """The file to upload; None for one of the pack's demo clips."""
    path = (folder / Path(value).expanduser()).resolve()
    if path.is_file():
        return path
    if value.startswith(DEMO_CLIPS):
        return None
    raise BatchError(f"'{column}': there is no file {path}.")


def _check_read(column: str, entry: dict) -> None:
    """Refuses a file for a Video Load that would read another."""
    if entry["class_type"] != LOADER:
        return
    other = next((name for name in INSTEAD if entry["inputs"].get(name)), None)
    if other:
        raise BatchError(f"'{column}' would not be read, since '{other}' of {title(entry)} is set; clear that first.")


def _choice(column: str, value: str, choices: list[str]) -> str:
    if value in choices:
        return value
    raise BatchError(f"'{column}' is {value!r}; choose {', '.join(map(str, choices))}.")


def _value(column: str, value: object, kind: str, options: dict) -> object:
    """A cell's text as the kind of value that the input takes."""
    if kind == "COMBO":
        choices = options.get("options") or []
        return _choice(column, str(value), choices) if choices else str(value)
    if kind == "BOOLEAN":
        if str(value).casefold() in ("true", "1", "yes", "on"):
            return True
        if str(value).casefold() in ("false", "0", "no", "off"):
            return False
        raise BatchError(f"'{column}' is {value!r}; choose true or false.")
    if kind in ("INT", "FLOAT"):
        try:
            return int(str(value)) if kind == "INT" else float(str(value).replace(",", "."))
        except ValueError:
            expected = "a whole number" if kind == "INT" else "a number"
            raise BatchError(f"'{column}' is {value!r}; expected {expected}.") from None
    return str(value)
