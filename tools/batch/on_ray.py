"""The tasks on many machines: Ray places the workers, replaces those that die, and runs their tasks again.

A worker is a Ray actor that holds a ComfyUI of its own. Files travel through Ray's object store.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

from ..comfyui_server import ComfyUIServer, device_arguments
from ..environment import ROOT
from .failure import Failure, failure_of
from .local import run_again
from .results import Result
from .run_task import upload_name
from .table import BatchError
from .tasks import Task

LEFT_AT_HOME = [".git", ".venv", ".comfyui", ".run", "tests", "benchmarks", "docs"]


class Worker:
    """A ComfyUI on one GPU, or on one core."""

    def __init__(self, comfyui: str, python: str, pack: str, arguments: list[str]):
        self.base = tempfile.TemporaryDirectory(prefix="fatezero_batch_")
        arguments = [*device_arguments(python), *arguments]
        models = Path(comfyui, "models")
        self.server = ComfyUIServer(comfyui, python, self.base.name, {"fatezero": pack}, arguments, models=models)
        self.stored: dict[str, str] = {}
        self.server.start()

    def definitions(self) -> dict:
        return self.server.object_info()

    def run(self, prompt: dict, files: dict) -> Result | Failure:
        """files: {(node, input): (name, Ray's reference to the content)}."""
        import ray

        def opened(content) -> BytesIO:
            return BytesIO(ray.get(content))

        opens = {place: (name, partial(opened, content)) for place, (name, content) in files.items()}
        try:
            return run_again(self.server, prompt, opens, self.stored)
        except Exception as error:
            return failure_of(error)

    def stop(self) -> None:
        self.server.stop()
        self.base.cleanup()


class RayWorkers:
    """Runs tasks on a Ray cluster.

    address: Of a running cluster; None starts one on this machine. workers: How many; 0 is one for each GPU, or for
    each core where there is no GPU.
    """

    def __init__(self, comfyui: Path, python: str, arguments: list[str], address: str | None, workers: int):
        try:
            import ray
        except ImportError:
            raise BatchError("--ray needs Ray; install it into this environment with: pip install ray") from None
        self.ray, self.workers = ray, []
        self.comfyui, self.python, self.arguments = str(comfyui), str(python), arguments
        self.address, self.count = address, workers

    def __enter__(self):
        local = {} if self.address else {"include_dashboard": False}
        far = {"runtime_env": {"working_dir": str(ROOT), "excludes": LEFT_AT_HOME}} if self.address else {}
        self.ray.init(self.address, log_to_driver=False, **local, **far)
        resources = self.ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = self.count or gpus or max(1, int(resources.get("CPU", 1)))
        place = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        pack = "." if self.address else str(ROOT)
        actor = self.ray.remote(max_restarts=-1, max_task_retries=-1, **place)(Worker)
        self.workers = [actor.remote(self.comfyui, self.python, pack, self.arguments) for _ in range(count)]
        return self

    def __exit__(self, *_):
        try:
            self.ray.wait([worker.stop.remote() for worker in self.workers], num_returns=len(self.workers), timeout=30)
        finally:
            self.ray.shutdown()

    def definitions(self) -> dict:
        try:
            return self.ray.get(self.workers[0].definitions.remote())
        except self.ray.exceptions.RayError as error:
            raise BatchError(f"Ray: no worker could be started ({error}).") from None

    def run(self, tasks: list[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        contents: dict[Path, tuple] = {}
        waiting = {}
        for worker, share in zip(self.workers, shares(tasks, len(self.workers))):
            for task in share:
                try:
                    for path in set(task.graph.uploads.values()) - contents.keys():
                        contents[path] = upload_name(path), self.ray.put(path.read_bytes())
                except Exception as error:
                    yield task, failure_of(error)
                    continue
                files = {place: contents[path] for place, path in task.graph.uploads.items()}
                waiting[worker.run.remote(task.graph.prompt, files)] = task
        while waiting:
            (ready,), _ = self.ray.wait(list(waiting), num_returns=1)
            try:
                result = self.ray.get(ready)
            except self.ray.exceptions.RayError as error:
                result = Failure(f"Ray: {error}")
            yield waiting.pop(ready), result


def shares(tasks: list[Task], workers: int) -> list[list[Task]]:
    """The tasks of each worker; a group stays together, to share its inversion, unless it is large."""
    most = -(-len(tasks) // workers)
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.group, []).append(task)
    pieces = [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]
    shared: list[list[Task]] = [[] for _ in range(workers)]
    for piece in sorted(pieces, key=len, reverse=True):
        min(shared, key=len).extend(piece)
    return shared
