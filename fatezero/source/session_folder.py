"""The folder in which things are kept for the session: in ComfyUI's temp folder, which ComfyUI empties when it starts
and when it ends. It stays within bounds; what was least recently used goes first.
"""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import folder_paths

from ..network.inspection.model_identity import Unrecognised
from ..refusal import bytes_in_words

FOLDER = Path("fatezero", "session")  # within the temp folder
MOST_BYTES = 4 << 30  # of all that is kept together
SHARE_OF_DISK = 0.25  # of what is free: the temp folder is everyone's
SHARE_OF_TUNINGS = 0.5  # of the bounds, for more than one: inversions would have no room until the session ends
ATTENTION, RUNS, TUNINGS = "attention", "runs", "tunings"  # folders within it
KINDS = (ATTENTION, RUNS, TUNINGS)  # from what is quickest to compute again

Made = TypeVar("Made")


def made_once(
    reuse: bool,
    digest: Callable[[], str],
    find: Callable[[str], Made | None],
    make: Callable[[], Made],
    keep: Callable[[str, Made], tuple[Made, str | None]],
) -> tuple[Made, str | None]:
    """What this session has made before, or else a new one, which is kept.

    Args:
        reuse: Whether a person wants that; else it is made and not kept.
        digest: Names it by all that determines it; may raise Unrecognised.
        find: What has this name, or None.
        make: Makes it.
        keep: Keeps it under its name; what stands for it from then on, and what stood against keeping it, or None.

    Returns:
        It, and a line for the report where there is something to say, or None.
    """
    if not reuse:
        return make(), None
    try:
        name = digest()
    except Unrecognised as reason:
        return make(), f"made anew whenever a prompt changes, since {reason}"
    found = find(name)
    if found is not None:
        return found, "found again: this session made it before, so that nothing had to be computed"
    return keep(name, make())


def entry_of(kind: str, digest: str) -> Path:
    """Where what has this name is kept; kind: one of KINDS."""
    return _folder(kind) / digest


def put(entry: Path, size: int, write: Callable[[Path], None]) -> None:
    """Keeps an entry, which appears whole or not at all, in place of an earlier one.

    Args:
        entry: As of `entry_of`.
        size: Bytes that it will take.
        write: Given an empty folder, writes the files into it.

    Raises:
        OSError: Where there is no room for it.
    """
    unfinished = entry.with_name(f".unfinished_{uuid.uuid4().hex}")
    try:
        make_room(size, entry)
        unfinished.mkdir(parents=True)
        write(unfinished)
        shutil.rmtree(entry, ignore_errors=True)
        unfinished.rename(entry)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def use(entry: Path) -> None:
    """Marks an entry as used: the least recently used goes first."""
    os.utime(entry)


def make_room(size: int, entry: Path) -> None:
    """Drops the least recently used entries until another `size` bytes are within the bounds: first what is quickest to
    compute again, and nothing that takes longer than the entry itself. Tunings beside another one hold half of the
    bounds at most.

    Args:
        size: Bytes.
        entry: The folder that they are for, which stays.

    Raises:
        OSError: Where it is too large to be kept at all.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    entries = {kind: _entries(kind) for kind in KINDS}
    held = sum(its_size for of_kind in entries.values() for its_size in of_kind.values())
    most = min(MOST_BYTES, SHARE_OF_DISK * (shutil.disk_usage(entry.parent).free + held))
    quicker = KINDS[: KINDS.index(entry.parent.name) + 1]
    may_go = {other: its_size for kind in quicker for other, its_size in entries[kind].items() if other != entry}
    tunings = size + sum(may_go[other] for other in entries[TUNINGS] if other in may_go)
    most_for_it = max(0, most - held + sum(may_go.values()))
    if size > most_for_it:
        raise OSError(f"{bytes_in_words(size)} needed, {bytes_in_words(most_for_it)} may be used of the temp folder")
    for other, its_size in may_go.items():
        is_tuning = other in entries[TUNINGS]
        if held + size > most or (is_tuning and tunings > SHARE_OF_TUNINGS * most):
            shutil.rmtree(other, ignore_errors=True)
            held -= its_size
            tunings -= its_size if is_tuning else 0


def _folder(kind: str) -> Path:
    return Path(folder_paths.get_temp_directory()) / FOLDER / kind


def _entries(kind: str) -> dict[Path, int]:
    """The folders of a kind with their bytes, the least recently used first."""
    if not _folder(kind).exists():
        return {}
    entries = sorted((entry for entry in _folder(kind).iterdir() if entry.is_dir()), key=lambda at: at.stat().st_mtime)
    return {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in entries}
