"""One task on one ComfyUI: its files go up, its prompt runs, what it saved comes down."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..comfyui_client import ComfyUIClient
from .graph import OUTPUTS, title
from .results import Result
from .tasks import content_digest

# {(node, input): (name, what reads the content)}; the name tells the content, so that it goes up once to each server.
Files = Mapping[tuple[str, str], tuple[str, Callable[[], bytes]]]
NUMBERS = "fatezero_numbers"  # what Edit Report says for programs


@dataclass(frozen=True)
class Failure:
    """Why a task failed, in ComfyUI's own words."""

    message: str


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
    for (node, name), (file_name, read) in files.items():
        if file_name not in stored:
            stored[file_name] = client.upload(file_name, read(), OUTPUTS)
        prompt[node]["inputs"][name] = stored[file_name]
    run = client.run(prompt)
    if run.status != "success":
        node = prompt.get(str(run.error.get("node_id")))
        message = str(run.error.get("exception_message", run.status)).strip()
        if message.endswith(" not in []"):
            message += "; this ComfyUI has no file of that kind, name the one that has it by --comfyui"
        name = title(node) if node else "ComfyUI"
        return Failure(message if message.startswith(name) else f"{name}: {message}")
    saved, texts, numbers = {}, {}, {}
    for node, shown in run.outputs.items():
        name = title(prompt[node])
        saved |= _saved(client, name, shown)
        if shown.get("text"):
            texts[name] = "\n".join(shown["text"])
        for measured in shown.get(NUMBERS, ()):
            numbers |= measured
    if not saved:
        return Failure("ComfyUI: the workflow saved nothing; add a node that saves, such as Video Save.")
    return Result(saved, texts, numbers, round(time.monotonic() - started, 1))


def _saved(client: ComfyUIClient, name: str, shown: dict) -> dict[str, bytes]:
    """The files in ComfyUI's output folder that a node reports; several go into a folder named after the node."""
    items = [item for items in shown.values() if isinstance(items, list) for item in items if isinstance(item, dict)]
    items = [item for item in items if item.get("type") == "output"]
    name = name.replace("/", " ").replace("\\", " ")
    if len(items) == 1:
        return {name + PurePosixPath(items[0]["filename"]).suffix: client.download(items[0])}
    return {f"{name}/{item['filename']}": client.download(item) for item in items}


def upload_name(path: Path) -> str:
    """What a file is called on a server: by its content, so that ComfyUI knows it again."""
    return f"{content_digest(path)[:12]}_{path.name}"
