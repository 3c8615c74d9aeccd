"""What Video Load makes of a row's clip, by Video Load's own code, which here runs beside ComfyUI."""

from pathlib import Path
from typing import Any

from fatezero.refusal import Refusal
from fatezero.video.clip import Selection
from fatezero.video.measure import Measured, measure_file, measured_sound
from fatezero.video.running import beside_runs

from .graph import title
from .table import BatchError

NUMBERS = ("start", "count", "every_nth")


def measured(path: Path, loader: dict) -> Measured:
    """The frames that a Video Load takes of a clip.

    Args:
        path: The clip.
        loader: The node in the prompt.

    Raises:
        BatchError: It takes none, or its numbers are not known before it runs.
    """
    selection = _selection(loader)
    try:
        with beside_runs():
            return measure_file(str(path), path.name, selection)
    except Refusal as refusal:
        raise BatchError(f"{title(loader)}: {refusal}") from refusal


def sound_of(path: Path, loader: dict) -> dict[str, Any] | None:
    """What a Video Load gives as sound of a clip, ComfyUI's AUDIO; None if there is none."""
    frames = measured(path, loader)
    with beside_runs():
        return measured_sound(str(path), path.name, frames)


def _selection(loader: dict) -> Selection:
    for name in NUMBERS:
        value, shown = loader["inputs"].get(name), name.replace("_", " ")
        if not isinstance(value, int):
            found = "connected to another node" if isinstance(value, list) else f"{value!r}"
            raise BatchError(
                f"{title(loader)}: '{shown}' is {found}, so the clip cannot be cut before it runs; write a number, on "
                "the node or in a column of the table."
            )
    return Selection(**{name: loader["inputs"][name] for name in NUMBERS})
