"""A client for the HTTP and websocket API of a ComfyUI server. Standard library only.

dev.py runs the demo with it and tests/server_fixtures.py the tests, so both talk to ComfyUI in one way.
"""

import base64
import http.client
import json
import math
import os
import socket
import ssl
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

ASK_AFTER = 60  # seconds without an event after which the server is asked what became of a prompt
BLOCK = 1 << 20  # bytes of a file that are sent at once
OVER, SILENT, BROKEN = "over", "silent", "broken"  # how a stream of events ends


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

    def __init__(self, url, client_id, longest_silence):
        where = urlsplit(url)
        secure = where.scheme == "https"
        self.socket = socket.create_connection(
            (where.hostname, where.port or (443 if secure else 80)), timeout=longest_silence
        )
        if secure:
            self.socket = ssl.create_default_context().wrap_socket(self.socket, server_hostname=where.hostname)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            (
                f"GET {where.path}/ws?clientId={client_id} HTTP/1.1\r\nHost: {where.netloc}\r\n"
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
            content = self.stream.read(length)
            if opcode == 8 or len(content) < length:
                return
            message += content
            if not final:
                continue
            if message.startswith(b"{"):
                event = json.loads(message)
                yield event["type"], event["data"]
            message = b""

    def close(self):
        self.stream.close()
        self.socket.close()


class ComfyUIClient:
    """Talks to the ComfyUI at `url`, such as "http://127.0.0.1:8188"."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def failure(self, what):
        """The ServerError that says `what`."""
        return ServerError(f"{what} ({self.url}).")

    def request(self, method, path, body=None):
        """(status, content) of one request; `body` is sent as JSON."""
        content = None if body is None else json.dumps(body)
        response, answer = self._request(method, path, content, {"Content-Type": "application/json"} if content else {})
        return response.status, answer

    def _request(self, method, path, content, headers):
        """http.client, as urllib would send local requests to a configured proxy."""
        where = urlsplit(self.url)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(where.hostname, where.port, timeout=60)
        try:
            connection.request(method, where.path + path, content, headers)
            response = connection.getresponse()
            return response, response.read()
        except http.client.HTTPException as error:
            raise self.failure(f"The answer to {method} {path} broke off ({type(error).__name__})") from error
        finally:
            connection.close()

    def get(self, path):
        """The JSON at `path`. ServerError when the server answers something else."""
        status, content = self.request("GET", path)
        if status != 200:
            raise self.failure(f"GET {path} was answered with {status}")
        return self._parsed(content, f"GET {path}", status)

    def _parsed(self, content, request, status):
        """The JSON of an answer; what stands between us and ComfyUI may answer in its place."""
        try:
            return json.loads(content)
        except ValueError as error:
            raise self.failure(f"{request} was answered with {status} and no JSON, so not by ComfyUI") from error

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

    def cancel(self, prompt_id):
        """Takes a prompt out of the queue, or interrupts it where it runs; others go on."""
        with suppress(OSError, ServerError):
            self.request("POST", "/queue", {"delete": [prompt_id]})
            self.request("POST", "/interrupt", {"prompt_id": prompt_id})

    def has_input(self, name, subfolder, size):
        """Whether the server's input folder has a file of that name and size."""
        place = urlencode({"filename": name, "subfolder": subfolder, "type": "input"}, quote_via=quote)
        response, _ = self._request("HEAD", f"/view?{place}", None, {})
        return response.status == 200 and response.getheader("Content-Length") == str(size)

    def upload(self, name, file, subfolder):
        """Puts the content of a binary file into the server's input folder; returns the name by which nodes find it."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        boundary = uuid.uuid4().hex
        fields = {"subfolder": subfolder, "type": "input", "overwrite": "true"}
        start = f"--{boundary}\r\nContent-Disposition: form-data; "
        head = "".join(f'{start}name="{field}"\r\n\r\n{value}\r\n' for field, value in fields.items())
        head += f'{start}name="image"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        head, tail = head.encode(), f"\r\n--{boundary}--\r\n".encode()

        def body():
            yield head
            while block := file.read(BLOCK):
                yield block
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        what = f"{name} ({size / 1e6:.0f} MB) cannot be uploaded"
        larger = (
            f"where it is too large for this ComfyUI, start that with --max-upload-size {math.ceil(size / 1e6) + 1}"
        )
        try:
            response, answer = self._request("POST", "/upload/image", body(), headers)
        except (BrokenPipeError, ConnectionResetError) as error:  # so ends what goes on sending after an answer of 413
            raise self.failure(f"{what}, the connection broke off; {larger}") from error
        if response.status != 200:
            more = f"; {larger}" if response.status == 413 else ""
            raise self.failure(f"{what}, the server answers {response.status}{more}")
        stored = self._parsed(answer, "POST /upload/image", response.status)
        return "/".join(part for part in (stored["subfolder"], stored["name"]) if part)

    def download(self, saved):
        """The bytes of a file that an output node reported as {"filename", "subfolder", "type"}."""
        status, content = self.request("GET", "/view?" + urlencode(saved, quote_via=quote))
        if status != 200:
            raise self.failure(f"{saved['filename']} cannot be downloaded, the server answers {status}")
        return content

    def run(self, prompt, on_event=None, longest_silence=600):
        """Queues an API-format prompt and follows it to its end.

        on_event         called with every (type, data) event of this prompt as it arrives
        longest_silence  seconds without any event after which a prompt that runs counts as stuck and is cancelled; None
                         waits as long as the server has it
        Returns a Run; ServerError only when the server itself fails.
        """
        client_id = str(uuid.uuid4())
        patience = longest_silence or ASK_AFTER
        try:
            events = EventStream(self.url, client_id, patience)
        except OSError as error:
            raise self.failure(f"ComfyUI cannot be reached ({error})") from error
        run = None
        try:
            status, content = self.request("POST", "/prompt", {"prompt": prompt, "client_id": client_id})
            answer = self._parsed(content, "POST /prompt", status)
            if status != 200:
                return Run("", "rejected", error=_validation_error(answer))
            run = Run(answer["prompt_id"], "success")
            while (end := _follow(run, events, on_event)) != OVER:
                events.close()  # what fell silent or broke off cannot be read on
                time.sleep(1)  # the server has to notice: it knows a client by its id, and forgets the one that leaves
                events = EventStream(self.url, client_id, patience)
                place = self._place(run)
                if place is None:
                    break
                if place == "queue_running" and end == SILENT and longest_silence:
                    raise self.failure(f"ComfyUI said nothing for {longest_silence} s")
            return self._ended(run, answer)
        except BaseException as error:
            if run:
                self.cancel(run.prompt_id)
            if isinstance(error, OSError):
                raise self.failure(f"ComfyUI ended in the middle of the run ({error})") from error
            raise
        finally:
            events.close()

    def _place(self, run):
        """Which of the server's queues has the prompt, None where it is done."""
        queues = self.get("/queue")
        return next((name for name, items in queues.items() if any(run.prompt_id in item for item in items)), None)

    def _ended(self, run, answer):
        """The run with what the server remembers of it."""
        history = self.get(f"/history/{run.prompt_id}").get(run.prompt_id)
        if history is None:
            raise self.failure("ComfyUI has forgotten the run, as when its queue or history is cleared; run it again")
        for kind, data in (history.get("status") or {}).get("messages", ()):  # events may have been missed
            _note(run, kind, data)
        run.outputs = history["outputs"]
        if answer.get("node_errors"):  # ComfyUI runs what is valid and leaves the rest out
            run.status, run.error = "rejected", _validation_error(answer)
        return run


def _follow(run, events, on_event):
    """Takes the events of a run, and says how they ended."""
    try:
        for kind, data in events:
            if data.get("prompt_id") != run.prompt_id:
                continue
            if on_event:
                on_event(kind, data)
            _note(run, kind, data)
            if kind == "executing" and data["node"]:
                run.executed.append(data["node"])
            elif kind == "executing":  # no node: the end, and the history is written
                return OVER
    except TimeoutError:
        return SILENT
    except OSError:
        pass
    return BROKEN


def _note(run, kind, data):
    if kind == "execution_error":
        run.status, run.error = "error", data
    elif kind == "execution_interrupted":
        run.status = "interrupted"


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
