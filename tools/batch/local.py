"""The tasks one after another on one ComfyUI: our own, or one that runs already."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from ..comfyui_client import ComfyUIClient, ServerError
from ..comfyui_server import ComfyUIServer
from .failure import Failure, failure_of
from .results import Result
from .run_task import Files, run_task, upload_name
from .table import BatchError
from .tasks import Task

OWN = "batch_"  # and the id of the process: two batches at once have each their own


def own_folder(run: Path) -> Path:
    """Where this process keeps a ComfyUI of its own; those of processes that are gone are removed.

    Args:
        run: The folder of such folders.
    """
    for folder in run.glob(f"{OWN}*"):
        if not psutil.pid_exists(int(folder.name.removeprefix(OWN))):
            shutil.rmtree(folder, ignore_errors=True)
    return run / f"{OWN}{os.getpid()}"


class OneServer:
    """Runs tasks on `client`; one of our own is started, started again where it died, and leaves nothing behind."""

    def __init__(self, client: ComfyUIClient):
        self.client = client
        self.stored: dict[str, str] = {}  # the files that it has been given

    def __enter__(self):
        if isinstance(self.client, ComfyUIServer):
            self.client.start()
        return self

    def __exit__(self, *_):
        if isinstance(self.client, ComfyUIServer):
            self.client.stop()
            shutil.rmtree(self.client.base, ignore_errors=True)

    def definitions(self) -> dict:
        try:
            return self.client.object_info()
        except (OSError, ServerError, ValueError) as error:
            raise BatchError(
                f"No ComfyUI answers at {self.client.url} ({error}); start it, or name the folder of one by --comfyui."
            ) from None

    def run(self, tasks: list[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        for task in tasks:
            try:
                places = task.graph.uploads.items()
                files = {place: (upload_name(path), partial(open, path, "rb")) for place, path in places}
                result = run_again(self.client, task.graph.prompt, files, self.stored)
            except Exception as error:
                result = failure_of(error)
            yield task, result


def run_again(client: ComfyUIClient, prompt: dict, files: Files, stored: dict[str, str]) -> Result | Failure:
    """`run_task`, and once more on a new server where ours died of it."""
    try:
        return run_task(client, prompt, files, stored)
    except (ServerError, OSError):
        if not isinstance(client, ComfyUIServer):
            raise
    client.stop()
    client.start()
    return run_task(client, prompt, files, stored)
