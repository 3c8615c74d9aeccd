"""The client beside servers that answer oddly: what fails is a ServerError, and what waits in a queue is waited for."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from tools import comfyui_client
from tools.comfyui_client import ComfyUIClient, ServerError

PROMPT = {"1": {"class_type": "A", "inputs": {}}}
DONE = {"id": {"outputs": {"4": {"text": ["done"]}}, "status": {"messages": []}}}


class FakeComfyUI(ThreadingHTTPServer):
    """answers: {"GET /queue": JSON, (status, bytes) or a list of such, of which the last stays}; asked: all requests;
    events: for each websocket the texts that it sends before it is silent; an end of None closes it."""

    daemon_threads = True

    def __init__(self, answers, events=((),)):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.events, self.asked = answers, list(events), []
        self.over = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()

    @property
    def client(self):
        return ComfyUIClient(f"http://127.0.0.1:{self.server_address[1]}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if not self.path.startswith("/ws"):
            return self.answer()
        self.send_response_only(101)
        self.end_headers()
        events = self.server.events.pop(0) if len(self.server.events) > 1 else self.server.events[0]
        for event in events:
            if event is None:
                self.close_connection = True
                return None
            text = json.dumps(event).encode()
            self.wfile.write(bytes([0x81, 126]) + len(text).to_bytes(2, "big") + text)
        self.server.over.wait(20)
        return None

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def do_HEAD(self):
        self.answer()

    def answer(self):
        request = f"{self.command} {self.path.partition('?')[0]}"
        self.server.asked.append((request, getattr(self, "body", b"")))
        answer = self.server.answers.get(request, {})
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")


def event(kind, **data):
    return {"type": kind, "data": {"prompt_id": "id", **data}}


END = event("executing", node=None)
QUEUED = {"POST /prompt": {"prompt_id": "id"}, "GET /history/id": DONE}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(comfyui_client, "ASK_AFTER", 0.2)
    monkeypatch.setattr(comfyui_client.time, "sleep", lambda seconds: None)


def waiting(place):
    return {"queue_running": [], "queue_pending": [], place: [[1, "id", {}]]}


NOWHERE = {"queue_running": [], "queue_pending": []}


def test_a_run_gives_what_the_history_has():
    with FakeComfyUI(QUEUED, [[event("executing", node="4"), END]]) as server:
        run = server.client.run(PROMPT)
    assert (run.status, run.executed, run.outputs) == ("success", ["4"], {"4": {"text": ["done"]}})


@pytest.mark.parametrize("place", ["queue_pending", "queue_running"])
def test_a_prompt_that_waits_is_waited_for(place):
    queue = [waiting(place)] * 4 + [NOWHERE]
    with FakeComfyUI({**QUEUED, "GET /queue": queue}) as server:
        run = server.client.run(PROMPT, longest_silence=None)
        asked = [request for request, _ in server.asked]
    assert run.outputs == {"4": {"text": ["done"]}} and asked.count("GET /queue") == 5
    assert "POST /queue" not in asked


def test_a_prompt_that_hangs_is_cancelled_where_silence_has_an_end():
    queue = [waiting("queue_pending")] * 3 + [waiting("queue_running")]
    with FakeComfyUI({**QUEUED, "GET /queue": queue}) as server:
        with pytest.raises(ServerError, match="ComfyUI said nothing for 0.1 s"):
            server.client.run(PROMPT, longest_silence=0.1)
        assert len([request for request, _ in server.asked if request == "GET /queue"]) == 4, "while it waited, no"
        assert server.asked[-2:] == [
            ("POST /queue", b'{"delete": ["id"]}'),
            ("POST /interrupt", b'{"prompt_id": "id"}'),
        ]


def test_a_batch_that_is_stopped_leaves_nothing_in_the_queue():
    def stop(*_):
        raise KeyboardInterrupt

    with FakeComfyUI(QUEUED, [[event("executing", node="4")]]) as server:
        with pytest.raises(KeyboardInterrupt):
            server.client.run(PROMPT, on_event=stop)
        assert [request for request, _ in server.asked[-2:]] == ["POST /queue", "POST /interrupt"]


def test_a_run_whose_events_break_off_is_followed_on():
    events = [[event("executing", node="4"), None], [END]]
    with FakeComfyUI({**QUEUED, "GET /queue": waiting("queue_running")}, events) as server:
        assert server.client.run(PROMPT, longest_silence=5).outputs == {"4": {"text": ["done"]}}


def test_an_error_whose_event_was_missed_is_found_in_the_history():
    failed = {"outputs": {}, "status": {"messages": [["execution_error", {"exception_message": "'cfg' is 0."}]]}}
    answers = {**QUEUED, "GET /queue": NOWHERE, "GET /history/id": {"id": failed}}
    with FakeComfyUI(answers, [[None], []]) as server:
        run = server.client.run(PROMPT)
    assert run.status == "error" and run.error["exception_message"] == "'cfg' is 0."


@pytest.mark.parametrize(
    "answers, told",
    [
        ({"POST /prompt": (502, b"<html>Bad Gateway</html>")}, "POST /prompt was answered with 502 and no JSON"),
        ({"GET /history/id": {}}, "ComfyUI has forgotten the run"),
        ({"GET /history/id": (500, b"")}, "GET /history/id was answered with 500"),
    ],
)
def test_an_odd_answer_is_a_server_error(answers, told):
    with FakeComfyUI({**QUEUED, **answers}, [[END]]) as server, pytest.raises(ServerError, match=told):
        server.client.run(PROMPT)


def test_an_answer_that_breaks_off_is_a_server_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")

        threading.Thread(target=answer, daemon=True).start()
        client = ComfyUIClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ServerError, match=r"The answer to GET /view.* broke off \(IncompleteRead\)"):
            client.download({"filename": "a.mp4", "subfolder": "", "type": "output"})


def test_a_file_goes_up_as_it_is():
    with FakeComfyUI({"POST /upload/image": {"subfolder": "batch", "name": "a.mp4"}}) as server:
        assert server.client.upload("a.mp4", BytesIO(b"\0\r\n--content"), "batch") == "batch/a.mp4"
        ((_, body),) = server.asked
    assert b'filename="a.mp4"\r\nContent-Type: application/octet-stream\r\n\r\n\0\r\n--content\r\n--' in body
    assert b'name="subfolder"\r\n\r\nbatch\r\n' in body


def test_a_file_that_is_too_large_says_what_to_do():
    with (
        FakeComfyUI({"POST /upload/image": (413, b"")}) as server,
        pytest.raises(ServerError, match=r"a.mp4 \(3 MB\) cannot .* answers 413; .* --max-upload-size 4 "),
    ):
        server.client.upload("a.mp4", BytesIO(bytes(3_000_000)), "batch")


def test_a_server_is_asked_for_a_file_by_name_and_size():
    with FakeComfyUI({"HEAD /view": [(200, b"1234"), (200, b"123"), (404, b"1234")]}) as server:
        assert [server.client.has_input("a.mp4", "batch", 4) for _ in range(3)] == [True, False, False]
