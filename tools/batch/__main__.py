"""Edits from a table, on one ComfyUI or on many machines.

    python dev.py batch edits.csv [--out FOLDER] [--workflow NAME or FILE]

A row of edits.csv (or a line of edits.jsonl) is an edit, a column a field of the workflow: `clip` (a file, relative to
the table), `source prompt`, `target prompt`, `preset`, any other input by its name, or by `Node title.input` where
several nodes have it; `name` is the folder of the results. Rows with one clip and source prompt share an inversion.
Started again, it goes on where it was; a row that fails does not stop the others. summary.csv and index.html tell all.

A clip too long for one run: --split N or --frames N cut it into parts that carry their key frame along, so that the
result is the same to the last of 8 bits; of presets that look at the whole clip it is near to that, and the row has a
note. --shots gives each shot of a film its own key frame. --ray runs the parts and rows on many machines.

A ComfyUI named by its URL keeps what it is sent and what it saves in the folders `batch` of its input and output; they
may be removed once the batch is done.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from ..comfyui_client import ComfyUIClient, ServerError
from ..comfyui_server import ComfyUIServer, device_arguments
from ..environment import NEWEST, ROOT, comfyui
from ..existing_comfyui import existing_comfyui
from ..workflow_prompt import prompt_from_workflow
from .failure import Failure, failure_of
from .join import join
from .local import OneServer, own_folder
from .on_ray import RayWorkers
from .parts import Splitting
from .results import PAGE, TABLE, UNFINISHED, Result, keep
from .summary import check_place, write_summary
from .table import BatchError, read_table
from .tasks import PARTS, Job, Task, in_order, make_job

PREFIX = "fatezero_video_edit_"  # of every template: ComfyUI searches those of packs by file name alone
WORKFLOW = f"{PREFIX}sd15_edit_your_clip"
LOCK = ".lock"  # in the results' folder


def main(arguments=None):
    """Runs the table; returns 0 when all rows are done, 1 when some failed, 2 when nothing could be run."""
    options = _options(arguments)
    try:
        rows = read_table(options.table)
        workflow = _workflow(options.workflow, options.here)
        with _alone_in(options.out), _runner(options) as runner:
            definitions = runner.definitions()
            prompt = _as_prompt(workflow, definitions)
            splitting = Splitting(options.split, options.frames, options.shots)
            here = options.table.resolve().parent
            jobs = [make_job(row, prompt, definitions, here, options.out, splitting) for row in rows]
            failures = run(runner, jobs, options.out)
    except (BatchError, ServerError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # the disk
        print(f"The batch stopped ({error}); what is done stays, start it again to go on.", file=sys.stderr)
        return 2
    notes = {job.row.name: job.note for job in jobs if job.note}
    for name, told in [*notes.items(), *failures.items()]:
        print(f"{name}: {told}", file=sys.stderr)
    print(f"{len(jobs) - len(failures)} of {len(jobs)} edits are done: {options.out / PAGE}, {options.out / TABLE}")
    return int(bool(failures))


def run(runner, jobs: list[Job], out: Path) -> dict[str, str]:
    """Runs what is not done yet; returns {name of a row: why it failed}."""
    failures = {job.row.name: job.problem for job in jobs if job.problem}
    row_of = {task.folder: job for job in jobs for task in job.tasks}
    tasks = in_order([task for job in jobs if not job.done for task in job.tasks if not task.done])
    try:
        for job in jobs:
            if problem := _kept(job, out):
                failures[job.row.name] = problem
        with tqdm(total=len(tasks), unit="part" if any(task.part for task in tasks) else "edit", leave=False) as bar:
            for task, result in runner.run(tasks):
                job = row_of[task.folder]
                if problem := _kept(job, out, task, result):
                    failures[job.row.name] = problem
                bar.update()
                write_summary(out, jobs, failures)
    finally:
        write_summary(out, jobs, failures)
    return failures


def _kept(job: Job, out: Path, task: Task | None = None, result: Result | Failure | None = None) -> str | None:
    """Keeps what a task of the row has given, and joins the parts once all are there; says what went wrong."""
    if isinstance(result, Failure):
        return result.message
    try:
        if task and result:
            keep(result, task.folder, task.key)
        if len(job.tasks) > 1 and not job.done and all(part.done for part in job.tasks):
            _join(job, out)
    except Exception as error:
        return failure_of(error).message
    return None


def _join(job: Job, out: Path) -> None:
    """Puts the parts of a row together."""
    with tempfile.TemporaryDirectory(dir=out, prefix=UNFINISHED) as target:
        joined = join([task.folder for task in job.tasks], [task.part for task in job.tasks], job.graph, Path(target))
        keep(joined, job.folder, job.key)
    shutil.rmtree(out / PARTS / job.row.name)
    with suppress(OSError):  # other rows still have parts
        (out / PARTS).rmdir()


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Holds the folder of the results, which no other batch may write into; what one left that was killed goes."""
    out.mkdir(parents=True, exist_ok=True)
    check_place(out)
    try:
        with FileLock(out / LOCK, timeout=0):
            for left in out.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield
    except Timeout:
        raise BatchError(
            f"Another batch is writing into {out}; wait for it, or name another folder by --out."
        ) from None


def _options(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "dev.py batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="a .csv or .jsonl file")
    parser.add_argument("--out", type=Path, help="folder of the results (default: the table's name)")
    parser.add_argument(
        "--workflow",
        default=WORKFLOW,
        metavar="NAME",
        help=f"a template, or a file saved by ComfyUI, also one exported for the API (default: {WORKFLOW})",
    )
    parser.add_argument(
        "--comfyui",
        metavar="URL or PATH",
        help="a running ComfyUI with its models and nodes, or the folder of one to start with its models",
    )
    parser.add_argument("--python", metavar="PATH", help="the interpreter of that folder")
    parser.add_argument("--split", type=int, default=1, metavar="N", help="cut each clip into N parts")
    parser.add_argument(
        "--frames", type=int, default=0, metavar="N", help="cut each clip into parts of N frames at most"
    )
    parser.add_argument("--shots", action="store_true", help="a key frame for each shot (needs scenedetect-headless)")
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS", help="run on Ray: on this machine, or on a running cluster"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="of Ray (default: one for each GPU)")
    parser.add_argument("--argument", action="append", default=[], help="a further argument for the ComfyUI to start")
    parser.add_argument("--from", type=Path, default=Path(), dest="here", help=argparse.SUPPRESS)  # dev.py's own folder
    options = parser.parse_args(arguments)
    options.table = options.here / options.table
    options.out = (options.here / (options.out or options.table.with_suffix(""))).resolve()
    if re.fullmatch(r"[\w.-]+:\d+", options.comfyui or ""):
        options.comfyui = f"http://{options.comfyui}"
    if options.comfyui and not _is_url(options.comfyui):
        options.comfyui = str(options.here / options.comfyui)
    if options.python and Path(options.python).parent != Path():  # a bare name is a command
        options.python = str(options.here / options.python)
    if options.split < 1 or options.frames < 0 or options.workers < 0:
        parser.error("--split needs 1 or more, --frames and --workers 0 or more")
    return options


def _is_url(comfyui: str) -> bool:
    return comfyui.startswith(("http://", "https://"))


def _workflow(name: str, here: Path = Path()) -> dict:
    """A template by its name, or a file; here: the folder where a relative path begins."""
    names = (name, f"{PREFIX}{name}")  # the second for names of version 0.1.0, which lacked it
    paths = (ROOT / "workflows" / f"{template}.json" for template in names)
    path = next(filter(Path.is_file, paths), here / name)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        templates = ", ".join(sorted(template.stem for template in (ROOT / "workflows").glob("*.json")))
        raise BatchError(f"--workflow {name} cannot be read ({error}); name a file or one of {templates}.") from None


def _as_prompt(workflow: dict, definitions: dict) -> dict:
    """The prompt of a workflow, or of one that was exported for the API, whose nodes may lack their titles."""
    if not isinstance(workflow, dict) or not workflow:
        raise BatchError("--workflow names no workflow; name a file that ComfyUI has saved, or exported for the API.")
    if "nodes" in workflow:
        return prompt_from_workflow(workflow, definitions)
    for node, entry in workflow.items():
        if not isinstance(entry, dict) or entry.get("class_type") not in definitions:
            raise BatchError(f"Node {node} of the workflow is none that this server has; open it there to see why.")
        shown = definitions[entry["class_type"]]["display_name"]
        entry["_meta"] = {"title": entry.get("_meta", {}).get("title") or shown}
    return workflow


def _runner(options) -> OneServer | RayWorkers:
    """What runs the tasks: one server or workers on Ray."""
    if options.comfyui and _is_url(options.comfyui):
        if options.ray is not None:
            raise BatchError("--ray starts a ComfyUI for each worker; name its folder by --comfyui, not a URL.")
        return OneServer(ComfyUIClient(options.comfyui))
    if options.comfyui and not options.ray:
        folder, python = existing_comfyui(options.comfyui, options.python)
    else:  # our own, or one that lies on the machines of a cluster
        folder, python = Path(options.comfyui or comfyui(NEWEST)), options.python or sys.executable
    if options.ray is not None:
        return RayWorkers(folder, str(python), options.argument, options.ray or None, options.workers)
    base, arguments = own_folder(ROOT / ".run"), [*device_arguments(python), *options.argument]
    return OneServer(ComfyUIServer(folder, python, base, {"fatezero": ROOT}, arguments, models=folder / "models"))


if __name__ == "__main__":
    sys.exit(main())
