"""The commands of dev.py."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import webbrowser
from contextlib import contextmanager
from pathlib import Path

from .comfyui_client import ServerError
from .comfyui_server import ComfyUIServer, device_arguments
from .environment import NEWEST, OLDEST, ROOT, InstallError, comfyui, environment
from .existing_comfyui import existing_comfyui
from .import_guard import guard_against
from .lifeline import Lifeline
from .own_imports import missing_imports
from .terminal import Stage
from .workflow_prompt import prompt_from_workflow

PACK = "fatezero"
DEMO = "fatezero_video_edit_demo_color_edit"


def main(usage):
    """Runs the command named on the command line; returns the exit status."""
    parser = _parser(usage)
    options, further = parser.parse_known_args()
    if further and options.command in ("check", "format"):
        parser.error(f"{options.command} takes no further arguments, found {' '.join(further)}")
    for name in ("SIGTERM", "SIGHUP"):  # end like Ctrl-C, so that no server outlives us
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    sys.stdout.reconfigure(errors="replace")  # a terminal may lack a letter of a node's title
    try:
        return COMMANDS[options.command](options, further)
    except (InstallError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130


def _parser(usage):
    parser = argparse.ArgumentParser(
        "dev.py", description=usage, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for name in ("demo", "serve"):
        command = commands.add_parser(name, allow_abbrev=False)
        command.add_argument("--comfyui", type=Path, metavar="PATH", help="an existing ComfyUI to use instead")
        command.add_argument("--python", metavar="PATH", help="the interpreter that ComfyUI runs with")
        command.add_argument("--port", type=int, default=0, metavar="N", help="local port (default: any free one)")
    for name in ("check", "format", "test", "screens", "fuzz", "faults", "soak"):
        commands.add_parser(name, allow_abbrev=False)
    command = commands.add_parser("bench", allow_abbrev=False)
    command.add_argument("--short", action="store_true", help="smaller sizes and fewer rounds, under five minutes")
    command.add_argument(
        "--json",
        type=Path,
        metavar="PATH",
        help="where to write the figures instead of benchmarks/; RESULTS.md then stays as it is",
    )
    command = commands.add_parser("quality", allow_abbrev=False)
    command.add_argument("--short", action="store_true", help="one edit of each kind and no ablations")
    commands.add_parser("batch", allow_abbrev=False, add_help=False)
    command = commands.add_parser("browser", allow_abbrev=False)
    command.add_argument("--pictures", type=Path, metavar="FOLDER", help="for screenshots")
    command.add_argument("--chromium", metavar="PATH", help="the Chromium to drive (default: the system's)")
    command.add_argument("--frontend", type=Path, metavar="FOLDER", help="static files of another frontend package")
    return parser


def demo(options, further):
    """Runs the demo workflow and says where its results lie."""
    with _server("demo", options, further) as server:
        workflow = json.loads((ROOT / "workflows" / f"{DEMO}.json").read_text(encoding="utf-8"))
        try:
            prompt = prompt_from_workflow(workflow, server.object_info())
        except ValueError as error:
            raise server.failure(str(error)) from error
        print(f"Running workflows/{DEMO}.json:", flush=True)
        progress = Progress(prompt)
        run = server.run(prompt, progress)
        if run.status != "success":
            node = progress.titles.get(run.error.get("node_id"), "ComfyUI")
            print(
                f"{node}: {run.error.get('exception_message', run.status).strip()} (log: {server.log})", file=sys.stderr
            )
            return 1
        print("Done. The results:")
        for node, shown in run.outputs.items():
            for saved in (item for items in shown.values() for item in items if isinstance(item, dict)):
                if saved["type"] == "output":
                    print(f"  {progress.titles[node]}: {server.path(saved)}")
        report = server.base / "output" / "report.txt"
        report.write_text(_report(progress, run), encoding="utf-8")
        print(f"  Report: {report}")
    return 0


def serve(options, further):
    """Opens ComfyUI in the browser with the demo workflow loaded, until Ctrl-C."""
    with _server("serve", options, further) as server:
        page = f"{server.url}/?template={DEMO}&source={PACK}"
        print(f"ComfyUI is open at {page}\nCtrl-C stops it.", flush=True)
        webbrowser.open(page)
        while server.process.poll() is None:
            time.sleep(0.5)
        raise server.failure("ComfyUI ended")


def check(_, further):
    """Lint, format, types, imports and what we use of ComfyUI, without running it; returns 0 when all are in order."""
    environment()
    guards = [guard_against(comfyui(version), version) for version in (OLDEST, NEWEST)]
    failed = _run_all(["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], *guards)
    absent = missing_imports(ROOT)
    print("\n".join(absent or ["All imports of our own modules are there."]), flush=True)
    return int(bool(failed or absent))


def format_code(_, further):
    """Rewrites the code as `check` wants it, as far as that can be done by rule; returns the exit status."""
    return _run_all(["ruff", "check", "--fix"], ["ruff", "format"])


def test(_, further):
    """Runs pytest with both ComfyUI versions; returns its exit status.

    In a process per core (each with servers of its own, so at most four), or in one when `further` names files. One
    thread in each: the tests' tensors are so small that torch's threads cost more than they bring.
    """
    python = environment()
    named = any(argument.partition("::")[0].endswith(".py") for argument in further)
    processes = (
        [] if named else ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile", "--no-loadscope-reorder"]
    )
    variables = {"COMFYUI_PATH": comfyui(NEWEST), "COMFYUI_PATH_OLD": comfyui(OLDEST)}
    variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    return _run_module(python, ["pytest", *processes, *further], variables)


def bench(options, further):
    """Measures what inversion and edit cost and writes it to benchmarks/; returns the exit status."""
    python = environment()
    short = ["--short"] if options.short else []
    path = ["--json", str(options.json.resolve())] if options.json else []
    return _run_module(python, ["benchmarks.cost", *short, *path, *further], {"COMFYUI_PATH": comfyui(NEWEST)})


def quality(options, further):
    """Measures how good the edits are and writes it to benchmarks/quality/; returns the exit status."""
    python = environment()
    short = ["--short"] if options.short else []
    return _run_module(python, ["benchmarks.quality", *short, *further], {"COMFYUI_PATH": comfyui(NEWEST)})


def browser(options, further):
    """Runs the tests in ComfyUI's real page; returns their exit status. Further arguments go to pytest."""
    given = {"PICTURES": options.pictures, "FRONTEND": options.frontend}
    variables = {f"FATEZERO_{name}": folder.resolve() for name, folder in given.items() if folder}
    if options.chromium:
        variables["FATEZERO_CHROMIUM"] = os.path.abspath(shutil.which(options.chromium) or options.chromium)
    variables |= {"FATEZERO_BROWSER": "1", "COMFYUI_PATH": comfyui(NEWEST), "OMP_NUM_THREADS": "1"}
    return _run_module(environment(), ["pytest", "tests/test_browser.py", *further], variables)


def screens(_, further):
    """Makes the pictures in docs/screens anew; returns the exit status."""
    return _run_module(environment(), ["tools.screens", *further])


def batch(_, further):
    """Edits from a table, see tools/batch; returns the exit status."""
    return _run_module(environment(), ["tools.batch", "--from", Path.cwd(), *further])


def robustness(options, further):
    """Runs a command of benchmarks/robustness with both ComfyUI versions; returns its exit status."""
    python = environment()
    variables = {"COMFYUI_PATH": comfyui(NEWEST), "COMFYUI_PATH_OLD": comfyui(OLDEST), "OMP_NUM_THREADS": "1"}
    return _run_module(python, ["benchmarks.robustness", options.command, *further], variables)


COMMANDS = {
    "demo": demo,
    "serve": serve,
    "check": check,
    "format": format_code,
    "test": test,
    "bench": bench,
    "quality": quality,
    "batch": batch,
    "browser": browser,
    "screens": screens,
    "fuzz": robustness,
    "faults": robustness,
    "soak": robustness,
}


def _run_all(*modules):
    """Runs each of the modules, also when one before it fails; returns 0 when none did, else 1."""
    python = environment()
    statuses = [_run_module(python, module) for module in modules]
    return int(any(statuses))


def _run_module(python, arguments, variables=None):
    """Runs `python -m` in this folder, with further environment variables; returns its exit status."""
    variables = {name: str(value) for name, value in (variables or {}).items()}
    with Lifeline() as lifeline:
        command = lifeline.command(python, "-m", *arguments)
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables})
        try:
            return process.wait()
        except SystemExit:  # a signal to us alone; Ctrl-C has reached the child by itself
            process.send_signal(signal.SIGINT)
            raise
        finally:
            try:
                process.wait(timeout=60)  # it is stopping what it started
            finally:
                process.kill()


class Progress:
    """Prints each node as it runs, with a bar for its steps; afterwards `seconds` holds each node's time by title."""

    def __init__(self, prompt):
        self.titles = {node: entry["_meta"]["title"] for node, entry in prompt.items()}
        self.seconds = {}
        self.stage = None

    def __call__(self, kind, data):
        if kind == "executing":
            self.finish()
            if data["node"]:
                self.stage = Stage(self.titles[data["display_node"]])
        elif kind == "progress" and self.stage:
            self.stage.bar(data["value"], data["max"])

    def finish(self):
        if self.stage:
            self.stage.end()
            self.seconds[self.stage.what] = self.seconds.get(self.stage.what, 0) + self.stage.seconds
        self.stage = None


def _report(progress, run):
    """The seconds of each node, and the texts that nodes show, such as the alignment and the reconstruction error."""
    lines = [f"{DEMO}, {sum(progress.seconds.values()):.1f} s", ""]
    lines += [f"{seconds:8.1f} s  {title}" for title, seconds in progress.seconds.items()]
    for node, shown in run.outputs.items():
        for text in shown.get("text", ()):
            lines += ["", f"{progress.titles[node]}:", text]
    return "\n".join(lines) + "\n"


@contextmanager
def _server(name, options, further):
    """A running server for demo or serve: of our own ComfyUI, or of the one named by --comfyui."""
    if options.comfyui:
        folder, python = existing_comfyui(options.comfyui, options.python)
    elif options.python:
        raise ServerError("--python names the interpreter of an existing ComfyUI; name that by --comfyui as well.")
    else:
        python, folder = environment(), comfyui(NEWEST)
    device, base = device_arguments(python), ROOT / ".run" / name
    models = folder / "models" if options.comfyui else None
    server = ComfyUIServer(folder, python, base, {PACK: ROOT}, [*device, *further], options.port, models)
    try:
        with Stage("Starting ComfyUI" + (" on the CPU" if device else "")):
            server.start()
        yield server
    finally:
        server.stop()
