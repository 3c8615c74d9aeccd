"""A real ComfyUI server as a child process, and a client for its HTTP and websocket API. Standard library only.

dev.py runs the demo with it and tests/server_fixtures.py the tests, so both talk to ComfyUI in one way.
"""

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path


class ServerError(RuntimeError):
    """The server could not be started, died, or fell silent; the message ends with the last lines of its log."""


@dataclass
class Run:
    """What became of one prompt."""

    prompt_id: str
    status: str  # "success", "error", "interrupted", or "rejected" when validation refused it before it was queued
    outputs: dict = field(default_factory=dict)  # node id -> what the node shows, e.g. {"images": [{"filename": ...}]}
    error: dict = field(default_factory=dict)  # node_id, node_type, exception_type, exception_message, traceback
    executed: list = field(default_factory=list)  # ids of the nodes that ran, in order; cached ones are not among them


class EventStream:
    """The server's websocket, iterated as (type, data) events; previews and other binary messages are passed over."""

    def __init__(self, port, client_id, longest_silence):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=longest_silence)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            (
                f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )
        status = self.stream.readline()
        while self.stream.readline().strip():
            pass
        if b" 101 " not in status:
            self.close()
            raise ConnectionError(f"the websocket was refused: {status.decode(errors='replace').strip()}")

    def __iter__(self):
        """Ends when the server closes the connection. ComfyUI's server never pings, so nothing is ever sent back."""
        message = b""
        while True:
            head = self.stream.read(2)  # RFC 6455, 5.2: final bit and opcode, then the length in 7, 16 or 64 bits
            if len(head) < 2:
                return
            final, opcode, length = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x7F
            if length > 125:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            message += self.stream.read(length)
            if opcode == 8:
                return
            if not final:
                continue
            if message.startswith(b"{"):
                event = json.loads(message)
                yield event["type"], event["data"]
            message = b""

    def close(self):
        self.stream.close()
        self.socket.close()


class ComfyUIServer:
    """One ComfyUI process with its own base directory; a context manager that leaves no process behind.

    comfyui    folder with ComfyUI's main.py
    python     interpreter that has ComfyUI's requirements
    base       folder for custom_nodes, input, output, user and temp; made when missing
    packs      {name in custom_nodes: folder to link there}
    arguments  further command-line arguments of ComfyUI, such as ("--cpu", "--cache-none")
    port       local port, or 0 for any free one
    """

    def __init__(self, comfyui, python, base, packs, arguments=(), port=0):
        self.comfyui, self.python, self.base = Path(comfyui), os.path.abspath(python), Path(base).resolve()
        self.packs, self.arguments, self.port = packs, arguments, port
        self.log = self.base / "server.log"
        self.process = None
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
        command = [
            self.python,
            str(self.comfyui / "main.py"),
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--base-directory",
            str(self.base),
            "--database-url",
            "sqlite:///:memory:",
            "--disable-api-nodes",
            "--disable-auto-launch",
            *self.arguments,
        ]
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
            except (OSError, http.client.HTTPException):
                if time.monotonic() > started + patience:
                    raise self.failure(f"ComfyUI did not answer within {patience} s") from None
                time.sleep(0.2)

    def stop(self):
        """Ends the process and waits until it is gone."""
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

    def request(self, method, path, body=None):
        """(status, content) of one request. http.client, as urllib would send local requests to a configured proxy."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def get(self, path):
        """The JSON at `path`. HTTPException when the server does not answer 200."""
        status, content = self.request("GET", path)
        if status != 200:
            raise http.client.HTTPException(f"GET {path} was answered with {status}")
        return json.loads(content)

    def object_info(self, node=""):
        """{class: its inputs and outputs} of all node classes, or of the one named."""
        return self.get(f"/object_info/{node}" if node else "/object_info")

    def interrupt(self):
        """Cancels what is running, as the frontend's cancel button does."""
        self.request("POST", "/interrupt", {})

    def free(self):
        """Unloads the models and drops the node cache."""
        self.request("POST", "/free", {"unload_models": True, "free_memory": True})
        # ComfyUI frees at a pause or after a prompt, so that a prompt which follows at once would still find all of it.
        image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
        self.run({"1": image, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})

    def path(self, saved):
        """The file that an output node reported as {"filename", "subfolder", "type"}."""
        return self.base / saved["type"] / saved["subfolder"] / saved["filename"]

    def run(self, prompt, on_event=None, longest_silence=600):
        """Queues an API-format prompt and follows it to its end.

        on_event         called with every (type, data) event of this prompt as it arrives
        longest_silence  seconds without any event after which the server counts as stuck
        Returns a Run; ServerError only when the server itself fails.
        """
        client_id = str(uuid.uuid4())
        try:
            events = EventStream(self.port, client_id, longest_silence)
        except OSError as error:
            raise self.failure(f"ComfyUI cannot be reached ({error})") from error
        try:
            status, content = self.request("POST", "/prompt", {"prompt": prompt, "client_id": client_id})
            answer = json.loads(content)
            if status != 200:
                return Run("", "rejected", error=_validation_error(answer))
            run = Run(answer["prompt_id"], "success")
            for kind, data in events:
                if data.get("prompt_id") != run.prompt_id:
                    continue
                if on_event:
                    on_event(kind, data)
                if kind == "execution_error":
                    run.status, run.error = "error", data
                elif kind == "execution_interrupted":
                    run.status = "interrupted"
                elif kind == "executing" and data["node"]:
                    run.executed.append(data["node"])
                elif kind == "executing":  # no node: the end, and the history is written
                    run.outputs = self.get(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"]
                    if answer.get("node_errors"):  # ComfyUI runs what is valid and leaves the rest out
                        run.status, run.error = "rejected", _validation_error(answer)
                    return run
        except TimeoutError:
            raise self.failure(f"ComfyUI said nothing for {longest_silence} s") from None
        except OSError:
            pass
        finally:
            events.close()
        raise self.failure("ComfyUI ended in the middle of the run")


def _validation_error(answer):
    """The answer to a refused prompt, told like an execution error; the whole of it stays in "answer"."""
    for node_id, node in answer.get("node_errors", {}).items():
        first = node["errors"][0]
        return {
            "node_id": node_id,
            "node_type": node["class_type"],
            "exception_type": first["type"],
            "exception_message": f"{first['message']}: {first['details']}",
            "answer": answer,
        }
    return {
        "node_id": None,
        "node_type": None,
        "exception_type": answer["error"]["type"],
        "exception_message": answer["error"]["message"],
        "answer": answer,
    }


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
