"""Files with numbers in their names, of which none is written twice.

ComfyUI runs a saving node again whenever a prompt changes, also where what it saves has stayed the same.
"""

import filecmp
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath

from ...fatezero.refusal import bytes_in_words
from .output_name import OutputPlace

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
    size, numbered = path.stat().st_size, re.compile(rf"{re.escape(re.sub(r'_[0-9]+_$', '', path.stem))}_[0-9]+_")
    others = [
        other
        for other in path.parent.glob(f"*{path.suffix}")
        if other != path and numbered.fullmatch(other.stem) and other.stat().st_size == size
    ]
    newest_first = sorted(others, key=lambda other: other.stat().st_mtime, reverse=True)
    return next((other for other in newest_first if filecmp.cmp(path, other, shallow=False)), None)
