"""One task on one ComfyUI: its files go up, its prompt runs, what it saved comes down."""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..comfyui_client import ComfyUIClient
from .failure import Failure
from .graph import OUTPUTS, numbered, title
from .results import Result
from .tasks import content_digest

# {(node, input): (name, what opens it)}; the name tells the content, so that it goes up once to each server.
Files = Mapping[tuple[str, str], tuple[str, Callable[[], BinaryIO]]]
NUMBERS = "fatezero_numbers"  # what Edit Report says for programs
LETTERS = 50  # of a file's own name that its name on a server keeps; with three or four bytes each they still fit


def run_task(client: ComfyUIClient, prompt: dict, files: Files, stored: dict[str, str]) -> Result | Failure:
    """Runs a prompt.

    Args:
        client: Of a running server.
        prompt: In the API's form.
        files: What the prompt reads.
        stored: {name: what the server calls it} of the files that it has; those that go up are added.

    Raises:
        ServerError: When the server itself fails.
    """
    started = time.monotonic()
    prompt = {node: {**entry, "inputs": dict(entry["inputs"])} for node, entry in prompt.items()}
    for (node, name), (file_name, opened) in files.items():
        if file_name not in stored:
            with opened() as file:
                stored[file_name] = _stored(client, file_name, file)
        prompt[node]["inputs"][name] = stored[file_name]
    run = client.run(prompt, longest_silence=None)
    if run.status != "success":
        node = prompt.get(str(run.error.get("node_id")))
        message = str(run.error.get("exception_message", run.status)).strip()
        if message.endswith(" not in []"):
            message += "; this ComfyUI has no file of that kind, name the one that has it by --comfyui"
        name = title(node) if node else "ComfyUI"
        return Failure(message if message.startswith(name) else f"{name}: {message}")
    shown = {node: run.outputs[node] for node in prompt if node in run.outputs}
    saved = _saved(client, {title: _items(shown[node]) for node, title in _names(prompt, shown, _items).items()})
    texts = {title: "\n".join(shown[node]["text"]) for node, title in _names(prompt, shown, _text).items()}
    numbers = {name: value for told in shown.values() for some in told.get(NUMBERS, ()) for name, value in some.items()}
    if not saved:
        return Failure("ComfyUI: the workflow saved nothing; add a node that saves, such as Video Save.")
    return Result(saved, texts, numbers, round(time.monotonic() - started, 1))


def _stored(client: ComfyUIClient, name: str, file: BinaryIO) -> str:
    """What a server calls a file; one that it has is not written over, since another batch may read it."""
    if client.has_input(name, OUTPUTS, file.seek(0, os.SEEK_END)):
        return f"{OUTPUTS}/{name}"
    return client.upload(name, file, OUTPUTS)


def _names(prompt: dict, shown: dict, has: Callable[[dict], object]) -> dict[str, str]:
    """The nodes that show something of a kind, each with a name of its own."""
    found = [node for node, told in shown.items() if has(told)]
    return dict(zip(found, numbered([title(prompt[node]) for node in found])))


def _text(told: dict) -> list[str]:
    return told.get("text") or []


def _items(told: dict) -> list[dict]:
    """The files in ComfyUI's output folder that a node reports."""
    items = [item for items in told.values() if isinstance(items, list) for item in items if isinstance(item, dict)]
    return [item for item in items if item.get("type") == "output"]


def _saved(client: ComfyUIClient, reported: dict[str, list[dict]]) -> dict[str, bytes]:
    """What nodes have saved, by their names; several files go into a folder of that name."""
    saved = {}
    for name, items in reported.items():
        for item in items:
            file = item["filename"]
            saved[f"{name}/{file}" if len(items) > 1 else name + PurePosixPath(file).suffix] = client.download(item)
    return saved


def upload_name(path: Path) -> str:
    """What a file is called on a server: by its content, so that ComfyUI knows it again."""
    readable = re.sub(r"[^\w.-]+", "_", path.stem)[:LETTERS]
    ending = re.fullmatch(r"\.\w{1,9}", path.suffix)
    return f"{content_digest(path)[:12]}_{readable}{ending[0] if ending else ''}"
