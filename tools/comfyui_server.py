"""A real ComfyUI server as a child process. Standard library only."""

import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from .comfyui_client import ComfyUIClient, ServerError
from .lifeline import Lifeline

LARGEST_UPLOAD = 1_000_000  # MB; ComfyUI's own 100 are a minute of film
ACCELERATOR = (
    "import torch; print(torch.accelerator.is_available() if hasattr(torch, 'accelerator') "
    "else torch.cuda.is_available() or torch.backends.mps.is_available())"
)


class ComfyUIServer(ComfyUIClient):
    """One ComfyUI process with its own base directory; a context manager that leaves no process behind, nor does
    one that is killed.

    comfyui    folder with ComfyUI's main.py
    python     interpreter that has ComfyUI's requirements
    base       folder for custom_nodes, input, output, user and temp; made when missing
    packs      {name in custom_nodes: folder to link there}
    arguments  further command-line arguments of ComfyUI, such as ("--cpu", "--cache-none")
    port       local port, or 0 for any free one
    models     folder whose models are found beside those in the base directory, such as a ComfyUI's own; None for none
    """

    def __init__(self, comfyui, python, base, packs, arguments=(), port=0, models=None):
        self.comfyui, self.python, self.base = Path(comfyui).resolve(), os.path.abspath(python), Path(base).resolve()
        self.packs, self.arguments, self.port, self.models = packs, arguments, port, models
        self.log = self.base / "server.log"
        self.process = self.lifeline = None
        self.seconds_to_start = 0.0

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, patience=300):
        """Starts the process and returns once it answers. ServerError after `patience` seconds, or when it dies."""
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", self.port))
            except (OSError, OverflowError) as error:
                raise ServerError(
                    f"Port {self.port} cannot be used ({error}); name another with --port, "
                    "or leave --port out to take any free one."
                ) from error
            self.port = probe.getsockname()[1]
        for name, folder in self.packs.items():
            link_folder(Path(folder), self.base / "custom_nodes" / name)
        self.lifeline = Lifeline()
        command = self.lifeline.command(
            self.python,
            self.comfyui / "main.py",
            "--listen",
            "127.0.0.1",
            "--port",
            self.port,
            "--base-directory",
            self.base,
            "--database-url",
            "sqlite:///:memory:",
            "--disable-api-nodes",
            "--disable-auto-launch",
            "--max-upload-size",
            LARGEST_UPLOAD,
            *self._further_models(),
            *self.arguments,
        )
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.comfyui,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise self.failure(f"ComfyUI ended with exit code {self.process.returncode} while starting")
            try:
                answer = self.get("/system_stats")
                self.seconds_to_start = time.monotonic() - started
                return answer
            except (OSError, ServerError):
                if time.monotonic() > started + patience:
                    raise self.failure(f"ComfyUI did not answer within {patience} s") from None
                time.sleep(0.2)

    def _further_models(self):
        """What tells ComfyUI of the folders in `models`; with a base directory it looks in that alone."""
        if self.models is None or not Path(self.models).is_dir():
            return []
        folders = sorted(folder.name for folder in Path(self.models).iterdir() if folder.is_dir())
        file = self.base / "further_models.yaml"
        further = {"base_path": str(Path(self.models).resolve()), **{name: name for name in folders}}
        file.write_text(json.dumps({"models": further}), encoding="utf-8")  # JSON is YAML
        return ["--extra-model-paths-config", file]

    def stop(self):
        """Ends the process and waits until it is gone."""
        if self.lifeline:
            self.lifeline.close()
        if self.process is None:
            return
        try:
            self.process.terminate()
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a second Ctrl-C arrives during the wait
            self.process.kill()
            self.process.wait()

    def failure(self, what, lines=15):
        """The ServerError that says `what` and shows the end of the log."""
        tail = "\n".join("  | " + line[:200] for line in self.log_text().splitlines()[-lines:])
        return ServerError(f"{what.rstrip('.')}; the last lines of {self.log} are:\n{tail}")

    def log_text(self):
        """All the server has printed, without the colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(encoding="utf-8", errors="replace"))

    def path(self, saved):
        """The file that an output node reported as {"filename", "subfolder", "type"}."""
        return self.base / saved["type"] / saved["subfolder"] / saved["filename"]


def device_arguments(python):
    """What tells ComfyUI to run on the CPU, where the interpreter's torch finds no accelerator."""
    try:
        asked = subprocess.run([str(python), "-c", ACCELERATOR], capture_output=True, text=True)
    except OSError as error:
        raise ServerError(f"--python: {python} cannot be started ({error.strerror}).") from error
    if asked.returncode:
        raise ServerError(f"{python} cannot import torch; name the interpreter that ComfyUI runs with by --python.")
    return [] if "True" in asked.stdout else ["--cpu"]


def link_folder(folder, link):
    """Makes `link` lead to `folder`: a symbolic link, or a junction on a Windows account without the right to link."""
    folder = folder.resolve()
    if os.path.lexists(link):
        if link.resolve() == folder:
            return
        os.unlink(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError as error:
        if os.name != "nt":
            raise ServerError(
                f"{link} cannot be made a link to {folder} ({error.strerror}); use a disk that supports links."
            ) from error
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(folder)], check=True, stdout=subprocess.DEVNULL)
