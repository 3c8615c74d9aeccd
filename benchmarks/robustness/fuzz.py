"""Fuzz: each node of the pack in a real server, given what no one should send; who says what is wrong?"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tools.comfyui_client import ServerError
from tools.comfyui_server import ComfyUIServer

from .bad_files import forged, good_clips, spoilt_bytes, write_forged
from .bad_inputs import only, spoilt
from .graph import NODES, Prompt, first_run, whole_graph
from .memory import peak_since
from .outcomes import UNCLEAR, Counts, outcome
from .servers import NEW, server_of

SECONDS, MEGABYTES = 120, 700  # that an input may take; machines that are busy with other things are slow
EACH = 10  # inputs of a node or a format in one go
ARGUMENTS = ("--cache-lru", "100")  # what comes before the node that is tried runs once


def fuzz(minutes: float, number: int = 0) -> list[str]:
    """Tries inputs and files for so many minutes; prints and returns the table in Markdown, a node a line.

    Args:
        minutes: How long; each node and format has its turn at least once.
        number: The seed of the first turn; the next ones follow it.
    """
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder, server_of(NEW, Path(folder), *ARGUMENTS) as server:
        fuzzer = Fuzzer(server)
        while True:
            fuzzer.inputs_in_turn(EACH, number)
            fuzzer.files_in_turn(EACH, number)
            print(f"seed {number}: {fuzzer.counts.tried} tried, {len(fuzzer.counts.unclear)} kinds unclear", flush=True)
            number += 1
            if time.monotonic() > end:
                break
    for message, tried in fuzzer.counts.unclear.items():
        print(f"\nunclear: {message}\n  with {tried}")
    rows = fuzzer.counts.table()
    print("\n" + "\n".join(rows))
    return rows


class Fuzzer:
    """A running server with its graph, the good files to spoil, and what was seen so far.

    server: started; it is started again where an input has ended it.
    """

    def __init__(self, server: ComfyUIServer):
        self.server, self.counts = server, Counts()
        self.information = server.object_info()
        self.graph = whole_graph(self.information)
        self.names = {
            kind: node["display_name"] for kind, node in self.information.items() if kind.startswith("FateZero")
        }
        self.files = self._good_files()

    def inputs_in_turn(self, examples: int, number: int) -> None:
        """So many prompts with bad inputs for each node; number: the seed."""
        for node, (kind, _) in NODES.items():
            if kind in self.names:
                self._try(
                    spoilt(self.graph, self.information, node),
                    examples,
                    number,
                    lambda drawn, kind=kind: self._send(self.names[kind], *drawn),
                )

    def files_in_turn(self, examples: int, number: int) -> None:
        """So many spoilt files of each format; number: the seed."""
        for good in self.files["clips"]:
            self._try(spoilt_bytes(good.read_bytes()), examples, number, self._opener("load", good.suffix))
        for node in ("load source", "load tuned"):
            good = self.files[node]
            self._try(forged(good), 2 * examples, number, self._opener(node, good.suffix))
            self._try(spoilt_bytes(good.read_bytes()), examples, number, self._opener(node, good.suffix))
        self._try(spoilt_bytes(self.files["bin"].read_bytes()), examples, number, self._opener("load tuned", ".bin"))

    def _try(self, inputs: st.SearchStrategy, examples: int, number: int, send: Callable[[Any], None]) -> None:
        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs)
        def batch(drawn):
            send(drawn)

        batch()

    def _opener(self, node: str, ending: str) -> Callable[[Any], None]:
        """What writes a spoilt file, opens it by a node and goes on with it."""
        name = f"spoilt{ending}"
        folder = self.server.base / ("models/fatezero" if node == "load tuned" else "input")
        folder.mkdir(parents=True, exist_ok=True)

        def open_it(drawn: Any) -> None:
            if isinstance(drawn, bytes):
                (folder / name).write_bytes(drawn)
            else:
                write_forged(folder / name, *drawn)
            prompt = self._opening(node, name)
            kind = prompt[node]["class_type"]
            told = {"file": name, "sent": repr(drawn if isinstance(drawn, bytes) else drawn[1])}
            if self._send(f"{self.names[kind]}: {ending[1:]}", prompt, told) == UNCLEAR:
                self._keep(folder / name)
            (folder / name).unlink()

        return open_it

    def _opening(self, node: str, name: str) -> Prompt:
        if node == "load":
            graph = {**self.graph, "load": json.loads(json.dumps(self.graph["load"]))}
            graph["load"]["inputs"]["file"] = name
            return only(graph, "load")
        kind = {"load source": "FateZeroLoadSource", "load tuned": "FateZeroLoadTuned"}[node]
        model = ["inflate" if node == "load source" else "demo", 0]
        graph = json.loads(json.dumps(self.graph))
        graph[node] = {"class_type": kind, "inputs": {"model": model, "file": name}}
        if node == "load source":
            graph["edit"]["inputs"]["source"] = [node, 1]
            return only(graph, "edit")
        graph["ksampler"]["inputs"] |= {"model": [node, 0], "latent_image": ["encode", 0], "steps": 1}
        return only(graph, "ksampler")

    def _send(self, row: str, prompt: Prompt, told: dict[str, Any]) -> str:
        """Runs a prompt, counts what became of it, and returns that."""
        begin = time.monotonic()
        try:
            with peak_since(self.server.process.pid) as peak:
                run = self.server.run(prompt, longest_silence=2 * SECONDS)
            result, message = outcome(run, list(self.names.values())), run.error.get("exception_message", "")
            took = time.monotonic() - begin
            if took > SECONDS or peak.megabytes > MEGABYTES:
                result, message = UNCLEAR, f"{took:.0f} s and {peak.megabytes:.0f} MB, then {run.status} {message}"
        except ServerError as error:
            result, message = UNCLEAR, str(error)
            self.server.stop()
            self.server.start()
        self.counts.add(row, result, message, json.dumps(told, default=str)[:1000])
        if result == UNCLEAR:
            print(f"unclear: {row}: {message.strip()[:200]}", flush=True)
        return result

    def _good_files(self) -> dict[str, Any]:
        """Clips of each format; a source run and a tuned model that the server has saved."""
        base = self.server.base
        run = self.server.run(first_run(self.graph))
        if run.status != "success":
            raise self.server.failure(f"the good graph ended as {run.status}: {run.error}")
        source = _newest(base / "output" / "fatezero", "source_*.safetensors")
        tuned = _newest(base / "output" / "fatezero_tuned", "tuned_*.safetensors")
        good = base / "good"
        good.mkdir(exist_ok=True)
        torch.save(load_file(tuned), good / "good.bin")
        return {"clips": good_clips(good), "load source": source, "load tuned": tuned, "bin": good / "good.bin"}

    def _keep(self, file: Path) -> None:
        """Keeps a file that came out unclear, for the one who looks for the cause."""
        folder = Path(tempfile.gettempdir(), "fatezero_unclear")
        folder.mkdir(exist_ok=True)
        (folder / f"{len(self.counts.unclear)}_{self.counts.tried}{file.suffix}").write_bytes(file.read_bytes())


def _newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
