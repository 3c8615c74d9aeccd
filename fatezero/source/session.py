"""Runs kept for the session, so that a new target does not invert the clip again.

ComfyUI's own cache cannot know that only the target changed: the source prompt comes out of the same node. So a run is
named by its content (`digest.py`). While ComfyUI holds the run, it is found in memory. Once ComfyUI has freed it (on
0.30 by default as soon as the next prompt runs), it is found in ComfyUI's temp folder, which ComfyUI empties when it
starts and when it ends. Nothing is kept alive here: the table holds weak references only. `kept_attention.py` keeps the
source's attention in the same way.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

import folder_paths

from ..network.inspection.model_identity import Unrecognised
from ..network.option_keys import TOKENS
from ..refusal import Refusal, bytes_in_words
from .source_file import read_source, write_source
from .source_run import SourceRun

FOLDER = Path("fatezero", "session")  # within the temp folder
MOST_BYTES = 4 << 30  # of all that is kept together
SHARE_OF_DISK = 0.25  # of what is free: the temp folder is everyone's
RUNS, ATTENTION = "runs", "attention"  # folders within it
RUN, DETAILS = "run.safetensors", "details.json"

_living: WeakValueDictionary[str, SourceRun] = WeakValueDictionary()


@dataclass(frozen=True)
class KeptRun:
    """A run and what its report says beyond the run itself.

    details: plain JSON; digest: its name, None where it has none; as_planned: whether it was made as its name says, and
    not in smaller parts since memory ran out.
    """

    run: SourceRun
    details: dict = field(default_factory=dict)
    digest: str | None = None
    as_planned: bool = True

    def with_details(self, **details) -> "KeptRun":
        """The same run with more to report, which is kept too."""
        known = {**self.details, **details}
        if self.digest is not None:
            with suppress(OSError):  # not on disk: then it is told this once
                (_entry(self.digest) / DETAILS).write_text(json.dumps(known), encoding="utf-8")
        return replace(self, details=known)


def made_once(reuse: bool, digest: Callable[[], str], conditioning: list, make: Callable[[], KeptRun]):
    """A run that this session has made before, or else a new one, which is kept.

    Args:
        reuse: Whether a person wants that; else the run is made and not kept.
        digest: Names the run by all that determines it; may raise Unrecognised.
        conditioning: The source CONDITIONING of the run.
        make: Makes it.

    Returns:
        The KeptRun, and a line for the report where there is something to say, or None.
    """
    if not reuse:
        return make(), None
    try:
        name = digest()
    except Unrecognised as reason:
        return make(), f"made anew whenever a prompt changes, since {reason}"
    found = find(name, conditioning)
    if found is not None:
        return found, "found again: this session made it before, so that nothing had to be computed"
    made = make()
    if not made.as_planned:
        return made, "made anew whenever a prompt changes, since memory ran out on the way"
    made = replace(made, digest=name)
    problem = keep(name, made)
    return made, problem


def find(digest: str, conditioning: list) -> KeptRun | None:
    """The run of this name, or None when it was never made, or neither lives nor lies in the temp folder.

    Args:
        digest: Names the run by all that determines it.
        conditioning: The source CONDITIONING of the run that is asked for. It has the content of the kept one; files
            cannot hold all of it (a ControlNet).
    """
    entry = _entry(digest)
    try:
        details = json.loads((entry / DETAILS).read_text(encoding="utf-8"))
        run = _living.get(digest) or _read(entry, conditioning)
    except (Refusal, OSError, ValueError):  # never written, or dropped, or damaged: then it is made again
        return None
    with suppress(OSError):
        use(entry)
    _living[digest] = run
    return KeptRun(run, details, digest)


def _read(entry: Path, conditioning: list) -> SourceRun:
    """A run from disk, with what a file does not hold: the whole conditioning, and the weights of its words."""
    ((_, options),) = conditioning
    return replace(read_source(str(entry / RUN)), conditioning=conditioning, tokens=options.get(TOKENS))


def keep(digest: str, made: KeptRun) -> str | None:
    """Keeps a run for the session; returns what stood against it, in words, or None."""
    entry = _entry(digest)
    unfinished = entry.with_name(f".unfinished_{uuid.uuid4().hex}")
    try:
        make_room(made.run.trajectory.nbytes + made.run.word_maps.nbytes, entry)
        unfinished.mkdir(parents=True)
        write_source(str(unfinished / RUN), replace(made.run, conditioning=_plain(made.run.conditioning)))
        (unfinished / DETAILS).write_text(json.dumps(made.details), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        unfinished.rename(entry)
    except (Refusal, OSError) as error:
        return f"made anew whenever a prompt changes, since the temp folder cannot keep it ({error})"
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _living[digest] = made.run
    return None


def attention_folder(digest: str) -> Path:
    """Where the session keeps the source's attention of this name."""
    return _folder(ATTENTION) / digest


def use(entry: Path) -> None:
    """Marks an entry as used: the least recently used goes first."""
    os.utime(entry)


def _entry(digest: str) -> Path:
    return _folder(RUNS) / digest


def _folder(kind: str) -> Path:
    return Path(folder_paths.get_temp_directory()) / FOLDER / kind


def _plain(conditioning: list) -> list:
    """The conditioning without what a file cannot hold; `find` is given it anew."""
    ((embedding, options),) = conditioning
    return [[embedding, {name: value for name, value in options.items() if name == TOKENS}]]


def make_room(size: int, entry: Path) -> None:
    """Drops the least recently used entries until another `size` bytes are within the bounds: attention first, which is
    quick to compute again, and runs for nothing but a run.

    Args:
        size: Bytes.
        entry: The folder that they are for, which stays.

    Raises:
        OSError: Where it is too large to be kept at all.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    attention, runs = _entries(ATTENTION), _entries(RUNS)
    held = sum([*attention.values(), *runs.values()])
    most = min(MOST_BYTES, SHARE_OF_DISK * (shutil.disk_usage(entry.parent).free + held))
    may_go = {**attention, **(runs if entry.parent == _folder(RUNS) else {})}
    may_go.pop(entry, None)
    most_for_it = max(0, most - held + sum(may_go.values()))
    if size > most_for_it:
        raise OSError(f"{bytes_in_words(size)} needed, {bytes_in_words(most_for_it)} may be used of the temp folder")
    for other, its_size in may_go.items():
        if held + size <= most:
            return
        shutil.rmtree(other, ignore_errors=True)
        held -= its_size


def _entries(kind: str) -> dict[Path, int]:
    """The folders of a kind with their bytes, the least recently used first."""
    if not _folder(kind).exists():
        return {}
    entries = sorted((entry for entry in _folder(kind).iterdir() if entry.is_dir()), key=lambda at: at.stat().st_mtime)
    return {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in entries}
