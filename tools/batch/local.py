"""The tasks one after another on one ComfyUI: our own, or one that runs already."""

from collections.abc import Iterator
from http.client import HTTPException

from ..comfyui_client import ComfyUIClient, ServerError
from ..comfyui_server import ComfyUIServer
from .results import Result
from .run_task import Failure, Files, run_task, upload_name
from .table import BatchError
from .tasks import Task


class OneServer:
    """Runs tasks on `client`; one of our own is started, and started again where it died."""

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

    def definitions(self) -> dict:
        try:
            return self.client.object_info()
        except (OSError, HTTPException, ValueError) as error:
            raise BatchError(
                f"No ComfyUI answers at {self.client.url} ({error}); start it, or name the folder of one by --comfyui."
            ) from None

    def run(self, tasks: list[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        for task in tasks:
            files = {place: (upload_name(path), path.read_bytes) for place, path in task.graph.uploads.items()}
            yield task, run_again(self.client, task.graph.prompt, files, self.stored)


def run_again(client: ComfyUIClient, prompt: dict, files: Files, stored: dict[str, str]) -> Result | Failure:
    """`run_task`, and once more on a new server where ours died of it."""
    try:
        return run_task(client, prompt, files, stored)
    except (ServerError, OSError) as error:
        if not isinstance(client, ComfyUIServer):
            return Failure(str(error))
    try:
        client.stop()
        client.start()
        return run_task(client, prompt, files, stored)
    except (ServerError, OSError) as error:
        return Failure(str(error))
