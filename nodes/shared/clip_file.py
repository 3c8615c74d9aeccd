"""The clip that a person chooses on Video Load: a file, a demo clip, or a path inside the input folder."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ...fatezero.refusal import Refusal, shortened
from ...fatezero.video.clip import Clip, Color, Fit, Selection
from ...fatezero.video.formats import is_readable_name
from ...fatezero.video.read import read_file, read_sequence
from .input_file import files_inside, input_path, is_inside

UPLOAD_BUTTON = "image"  # in older workflows, what the button that uploads holds, in place of the widget that came next
_DEMO = "demo/"
_DEMO_CLIPS = Path(__file__).resolve().parents[2] / "demo" / "clips"


@dataclass(frozen=True)
class ClipFile:
    """name: what it is called in messages; paths: the file, or the pictures of a folder in order; is_sequence."""

    name: str
    paths: list[str]
    is_sequence: bool

    def read(self, selection: Selection, fit: Fit, background: Color) -> Clip:
        """Its selected frames; arguments and refusals as of `read_file` and `read_sequence`."""
        if self.is_sequence:
            return read_sequence(self.paths, self.name, selection, fit, background)
        return read_file(self.paths[0], self.name, selection, fit, background)

    def state(self) -> str:
        """Changes when the file or one of the pictures does."""
        facts = [os.stat(path) for path in self.paths]
        return "\n".join(
            f"{path} {fact.st_mtime_ns} {fact.st_size}" for path, fact in zip(self.paths, facts, strict=True)
        )


def clip_names() -> list[str]:
    """What the list on the node offers: the demo clips and what lies in the input folder."""
    return _demo_clips() + _readable(folder_paths.get_input_directory())


def find_clip(file: str, path: str = "") -> ClipFile:
    """The clip that is chosen.

    Args:
        file: A demo clip or a file in the input folder.
        path: Where it is not empty, a file or folder of pictures within the input folder, in place of `file`.

    Raises:
        Refusal: It is not there.
    """
    path = "" if path == UPLOAD_BUTTON else path.strip().strip('"')
    if path:
        return _found_by_path(path)
    found = str(_DEMO_CLIPS / file.removeprefix(_DEMO)) if file in _demo_clips() else input_path(file)
    if found is None:
        raise Refusal(
            f"'file' is {shortened(file)}, which is not in ComfyUI's input folder; upload it or choose another one."
        )
    return ClipFile(os.path.basename(file), [found], False)


def _found_by_path(path: str) -> ClipFile:
    root = folder_paths.get_input_directory()
    whole = os.path.normpath(os.path.join(root, path))
    if "\0" in path or not is_inside(root, whole) or not os.path.exists(whole):
        raise Refusal(
            f"'path' is {shortened(path)}, which is not in ComfyUI's input folder; write a file or folder within it, "
            "such as shots/take 1.mov."
        )
    name = os.path.basename(whole)
    if os.path.isfile(whole):
        return ClipFile(name, [whole], False)
    pictures = sorted(_readable(whole), key=_in_counting_order)
    if not pictures:
        raise Refusal(
            f"'path' is the folder {shortened(path)}, which holds no pictures; write one that does, or a file."
        )
    return ClipFile(f"{name}/", [os.path.join(whole, picture) for picture in pictures], True)


def _in_counting_order(name: str) -> list[tuple[int, str]]:
    """frame9 before frame10, as people count."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def _demo_clips() -> list[str]:
    return [_DEMO + name for name in _readable(_DEMO_CLIPS)]


def _readable(folder: str | os.PathLike) -> list[str]:
    """The videos and pictures in a folder, by their names' endings."""
    return [name for name in files_inside(folder) if is_readable_name(name)]
