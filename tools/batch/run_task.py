"""One task on one ComfyUI: its files go up, its prompt runs, what it saved comes down."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..comfyui_client import ComfyUIClient
from .graph import OUTPUTS, title
from .results import Result
from .tasks import Task, content_digest

Files = Mapping[tuple[str, str], tuple[str, bytes]]  # {(node, input): (name, content)}
NUMBERS = "fatezero_numbers"  # what Edit Report says for programs


@dataclass(frozen=True)
class Failure:
    """Why a task failed, in ComfyUI's own words."""

    message: str


def run_task(
    client: ComfyUIClient, prompt: dict, files: Mapping[tuple[str, str], tuple[str, bytes]]
) -> Result | Failure:
    """Runs a prompt.

    Args:
        client: Of a running server.
        prompt: In the API's form.
        files: What to upload before.

    Raises:
        ServerError: When the server itself fails.
    """
    started = time.monotonic()
    prompt = {node: {**entry, "inputs": dict(entry["inputs"])} for node, entry in prompt.items()}
    for (node, name), (file_name, content) in files.items():
        prompt[node]["inputs"][name] = client.upload(file_name, content, OUTPUTS)
    run = client.run(prompt)
    if run.status != "success":
        node = prompt.get(str(run.error.get("node_id")))
        message = str(run.error.get("exception_message", run.status)).strip()
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


def files_of(task: Task) -> Files:
    """The files that a task reads, with names by content so that ComfyUI knows them again."""
    return {
        place: (f"{content_digest(path)[:12]}_{path.name}", path.read_bytes())
        for place, path in task.graph.uploads.items()
    }
