"""The 'filename prefix' of nodes that write into ComfyUI's output folder."""

import os
import re
from datetime import datetime
from pathlib import PurePath
from typing import NamedTuple

import folder_paths

from ...fatezero.compat import io
from ...fatezero.disk import UNFINISHED, explained_disk_errors
from ...fatezero.refusal import DiskRefusal, Refusal, shortened
from .input_file import is_inside

_LONGEST = 200  # bytes of a name; systems allow 255, and a number and an ending are added
_MOST_FOLDERS = 32
_EXPECTED = "expected a name, with folders before it if wanted, inside ComfyUI's output folder."


class OutputPlace(NamedTuple):
    """Where to write: the folder, the file's name without its ending, and the folder within ComfyUI's output folder."""

    folder: str
    name: str
    subfolder: str


def prefix_problem(prefix: str) -> str | None:
    """What is wrong with a prefix, in one sentence, or None; can be asked before anything runs."""
    prefix = dated(prefix, datetime.now())
    return _name_problem(prefix) or _folder_problem(prefix, folder_paths.get_output_directory())


def dated(prefix: str, now: datetime) -> str:
    """A prefix with its %date:...% written out. ComfyUI's page does that for ComfyUI's own nodes alone.

    >>> dated("%date:yyyy-MM-dd%/at %date:h.mm%", datetime(2026, 3, 4, 5, 6))
    '2026-03-04/at 5.06'
    """
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def number(found: re.Match) -> str:
        letters = found[0]
        return f"{now.year}"[-len(letters) :] if letters[0] == "y" else f"{numbers[letters[0]]:0{len(letters)}}"

    def date(found: re.Match) -> str:
        return re.sub(r"yyyy|yy|dd?|MM?|hh?|mm?|ss?", number, found[1])

    return re.sub(r"%date:([^%]+)%", date, prefix) if isinstance(prefix, str) else prefix


def _name_problem(prefix: str) -> str | None:
    if not isinstance(prefix, str):
        return f"'filename prefix' is of the type {type(prefix).__name__}; {_EXPECTED}"
    try:
        longest = max(len(part) for part in prefix.encode().replace(b"\\", b"/").split(b"/"))
    except UnicodeEncodeError as error:
        wrong = prefix[error.start].encode("unicode_escape").decode()
        return f"'filename prefix' has the character {wrong}, which no file name can have; leave it out."
    path = PurePath(prefix)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in prefix:
        return f"'filename prefix' is '{shortened(prefix)}'; {_EXPECTED}"
    if any(part.startswith(UNFINISHED) for part in path.parts):
        return f"'filename prefix' has a name that begins with {UNFINISHED}, as what is removed later; choose another."
    if longest > _LONGEST:
        return f"'filename prefix' has a name of {longest} bytes; shorten it to {_LONGEST} or fewer."
    if len(path.parts) - 1 > _MOST_FOLDERS:
        return f"'filename prefix' has {len(path.parts) - 1} folders in it; shorten it to {_MOST_FOLDERS} or fewer."
    return None


def _folder_problem(prefix: str, output: str) -> str | None:
    """What stands in the way on the disk; names with ComfyUI's tokens such as %width% are not known yet."""
    path = PurePath(prefix)
    for index in range(1, len(path.parts)):
        folder = os.path.join(output, *path.parts[:index])
        name = "/".join(path.parts[:index])
        if not is_inside(output, folder):
            return f"'filename prefix' leads out of the output folder by the link '{name}'; choose another folder."
        if os.path.exists(folder) and not os.path.isdir(folder):
            return f"'filename prefix' has the folder '{name}', but that is a file; choose another folder."
    return None


def output_place(prefix: str, width: int, height: int, root: io.FolderType = io.FolderType.output) -> OutputPlace:
    """Where the next file of a prefix goes; makes the folder.

    Args:
        prefix: As on the node, with ComfyUI's tokens such as %width%.
        width, height: For the tokens %width% and %height%, in pixels.
        root: The folder of ComfyUI's that it lies in: output or temp.

    Raises:
        Refusal: The prefix is wrong, or the disk refuses.
    """
    prefix = dated(prefix, datetime.now())
    problem = _name_problem(prefix)
    if problem:
        raise Refusal(problem)
    base = folder_paths.get_directory_by_type(root.value)
    problem = _folder_problem(prefix, base)
    if problem:
        raise DiskRefusal(problem)
    with explained_disk_errors(prefix):
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, base, width, height)
    return OutputPlace(folder, f"{name}_{counter:05}_", subfolder)
