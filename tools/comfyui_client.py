"""A client for the HTTP and websocket API of a ComfyUI server. Standard library only.

dev.py runs the demo with it and tests/server_fixtures.py the tests, so both talk to ComfyUI in one way.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import uuid
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit


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
        return self._request(method, path, content, {"Content-Type": "application/json"} if content else {})

    def _request(self, method, path, content, headers):
        """http.client, as urllib would send local requests to a configured proxy."""
        where = urlsplit(self.url)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(where.hostname, where.port, timeout=60)
        try:
            connection.request(method, where.path + path, content, headers)
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

    def upload(self, name, content, subfolder):
        """Puts the bytes `content` into the server's input folder; returns the name by which nodes find it."""
        boundary = uuid.uuid4().hex
        fields = {"subfolder": subfolder, "type": "input", "overwrite": "true"}
        parts = [f'name="{field}"\r\n\r\n{value}'.encode() for field, value in fields.items()]
        parts.append(
            f'name="image"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode() + content
        )
        body = b"".join(f"--{boundary}\r\nContent-Disposition: form-data; ".encode() + part + b"\r\n" for part in parts)
        body += f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, answer = self._request("POST", "/upload/image", body, headers)
        if status != 200:
            raise self.failure(f"{name} cannot be uploaded, the server answers {status}")
        stored = json.loads(answer)
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
        longest_silence  seconds without any event after which the server counts as stuck
        Returns a Run; ServerError only when the server itself fails.
        """
        client_id = str(uuid.uuid4())
        try:
            events = EventStream(self.url, client_id, longest_silence)
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
