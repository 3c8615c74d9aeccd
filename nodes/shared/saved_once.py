"""Files with numbers in their names, of which none is written twice.

ComfyUI runs a saving node again whenever a prompt changes, also where what it saves has stayed the same.
"""

import os
import re
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePath

from ...fatezero.refusal import bytes_in_words
from .output_name import OutputPlace

BLOCK = 1 << 20  # bytes
NOT_AGAIN = "not written again: this file holds the same already"


def save_once(place: OutputPlace, ending: str, write: Callable[[str], None]) -> str:
    """Writes a file, unless one of the same prefix holds the same.

    Args:
        place: Where the next file of the prefix goes.
        ending: Of its name, with the dot.
        write: Given the path, writes the file.

    Returns:
        Its name within ComfyUI's folder and its size, in lines.
    """
    path = Path(place.folder, place.name + ending)
    write(str(path))
    kept = _twin(path)
    if kept is not None:
        os.remove(path)
    shown = PurePath(place.subfolder, (kept or path).name).as_posix()
    return "\n".join([shown, bytes_in_words(os.path.getsize(kept or path)), *([NOT_AGAIN] if kept else [])])


def _twin(path: Path) -> Path | None:
    """The newest other file of the same prefix with the same content, or None."""
    numbered = re.compile(rf"{re.escape(re.sub(r'_[0-9]+_$', '', path.stem))}_[0-9]+_")
    named = [other for other in path.parent.glob(f"*{path.suffix}") if other != path and numbered.fullmatch(other.stem)]
    others = {other: other.stat() for other in named if other.is_file()}  # a link may lead nowhere
    newest_first = sorted(others, key=lambda other: others[other].st_mtime, reverse=True)
    size = path.stat().st_size
    return next((other for other in newest_first if others[other].st_size == size and _same(path, other)), None)


def _same(one: Path, other: Path) -> bool:
    """Whether two files of one size hold the same; filecmp would remember answers by times, which may be coarse."""
    try:
        with one.open("rb") as first, other.open("rb") as second:
            blocks = (iter(partial(file.read, BLOCK), b"") for file in (first, second))
            return all(a == b for a, b in zip_longest(*blocks))
    except OSError:
        return False
