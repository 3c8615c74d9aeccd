"""Runs kept for the session, so that a new target does not invert the clip again.

ComfyUI's own cache cannot know that only the target changed: the source prompt comes out of the same node. So a run is
named by its content (`digest.py`). While ComfyUI holds the run, it is found in memory, with its attention cache. After
that it is found in ComfyUI's temp folder, which ComfyUI empties when it starts and when it ends. Nothing is kept alive
here: the table holds weak references only.
"""

import json
import logging
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

import folder_paths

from ..refusal import Refusal
from .source_file import read_source, write_source
from .source_run import SourceRun

FOLDER = Path("fatezero", "session")  # within the temp folder
MOST_BYTES = 4 << 30  # of all kept runs together
SHARE_OF_DISK = 0.25  # of what is free: the temp folder is everyone's
RUN, DETAILS = "run.safetensors", "details.json"

_living: WeakValueDictionary[str, SourceRun] = WeakValueDictionary()


@dataclass(frozen=True)
class KeptRun:
    """A run that was made before in this session, and what its report said beyond the run itself (plain JSON)."""

    run: SourceRun
    details: dict = field(default_factory=dict)


def find(digest: str, conditioning: list) -> KeptRun | None:
    """The run of this name, or None when it was never made, or neither lives nor lies in the temp folder.

    Args:
        digest: Names the run by all that determines it.
        conditioning: The source CONDITIONING of the run that is asked for. It has the content of the kept one; files
            cannot hold all of it (a ControlNet).
    """
    entry = _entry(digest)
    details = _read_details(entry)
    living = _living.get(digest)
    if living is not None:
        return KeptRun(living, details)
    try:
        run = replace(read_source(str(entry / RUN)), conditioning=conditioning)
    except (Refusal, OSError):  # never written, or dropped, or damaged: then it is made again
        return None
    with suppress(OSError):
        os.utime(entry)  # the least recently used goes first
    _living[digest] = run
    return KeptRun(run, details)


def keep(digest: str, run: SourceRun, details: dict) -> None:
    """Keeps a run for the session; a full or read-only disk is logged, never an error.

    Args:
        digest: Names the run by all that determines it.
        run: The run. Only a weak reference to it is held.
        details: What the report says beyond the run, as plain JSON.
    """
    _living[digest] = run
    entry = _entry(digest)
    unfinished = entry.with_name(f".unfinished_{uuid.uuid4().hex}")
    try:
        _make_room(entry.parent, run.trajectory.nbytes + run.word_maps.nbytes)
        unfinished.mkdir(parents=True)
        write_source(str(unfinished / RUN), replace(run, conditioning=_plain(run.conditioning)))
        (unfinished / DETAILS).write_text(json.dumps(details), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        unfinished.rename(entry)
    except (Refusal, OSError) as error:
        logging.warning("FateZero: this run is not kept for the session (%s); it is made again when needed.", error)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def add_details(digest: str, details: dict) -> None:
    """Adds to what is known of a kept run; does nothing where it is not on disk."""
    entry = _entry(digest)
    with suppress(OSError):
        known = _read_details(entry)
        (entry / DETAILS).write_text(json.dumps({**known, **details}), encoding="utf-8")


def _entry(digest: str) -> Path:
    return Path(folder_paths.get_temp_directory()) / FOLDER / digest


def _read_details(entry: Path) -> dict:
    try:
        return json.loads((entry / DETAILS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _plain(conditioning: list) -> list:
    """The conditioning without what a file cannot hold; `find` is given it anew."""
    ((embedding, options),) = conditioning
    return [[embedding, {name: value for name, value in options.items() if name == "fatezero_tokens"}]]


def _make_room(folder: Path, size: int) -> None:
    """Drops the least recently used runs until another of `size` bytes is within the bounds.

    Raises:
        OSError: Where it is too large to be kept at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: entry.stat().st_mtime)
    sizes = {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in entries}
    held = sum(sizes.values())
    most = min(MOST_BYTES, SHARE_OF_DISK * (shutil.disk_usage(folder).free + held))
    if size > most:
        raise OSError(f"{size / 1e6:.0f} MB needed, {most / 1e6:.0f} MB may be used of the temp folder")
    for entry in entries:
        if held + size <= most:
            return
        shutil.rmtree(entry, ignore_errors=True)
        held -= sizes[entry]
