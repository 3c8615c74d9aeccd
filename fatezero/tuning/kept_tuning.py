"""Tunings kept for the session, so that a new target prompt does not tune the model again.

As `source.session` keeps inversions: named by their content, found in memory while ComfyUI holds the tuned model, and
else in the session's folder. The table holds weak references only.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from ..refusal import Refusal
from ..source.session_folder import TUNINGS, entry_of, made_once, put, use
from .tuned_file import read_tuned, write_tuned
from .tuned_state import TunedState

STATE, DETAILS = "state.safetensors", "details.json"

_living: WeakValueDictionary[str, TunedState] = WeakValueDictionary()


@dataclass(frozen=True)
class KeptTuning:
    """What a tuning left behind, and plain JSON of how it went."""

    state: TunedState
    details: dict


def tuned_once(reuse: bool, digest: Callable[[], str], make: Callable[[], KeptTuning]) -> tuple[KeptTuning, str | None]:
    """A tuning that this session has made before, or else a new one, which is kept; arguments as for `made_once`."""
    return made_once(reuse, digest, _find, make, _keep)


def _find(digest: str) -> KeptTuning | None:
    """The tuning of this name, or None when it was never made, or neither lives nor lies in the session's folder."""
    entry = entry_of(TUNINGS, digest)
    try:
        details = json.loads((entry / DETAILS).read_text(encoding="utf-8"))
        state = _living.get(digest) or read_tuned(str(entry / STATE))
    except (Refusal, OSError, ValueError):  # never written, or dropped, or damaged: then it is made again
        return None
    with suppress(OSError):
        use(entry)
    _living[digest] = state
    return KeptTuning(state, details)


def _keep(digest: str, made: KeptTuning) -> tuple[KeptTuning, str | None]:
    """Keeps a tuning for the session; returns it, and what stood against it, in words, or None."""

    def write(folder: Path) -> None:
        write_tuned(str(folder / STATE), made.state)
        (folder / DETAILS).write_text(json.dumps(made.details), encoding="utf-8")

    try:
        put(entry_of(TUNINGS, digest), sum(tensor.nbytes for tensor in made.state.tensors.values()), write)
    except (Refusal, OSError) as error:
        return made, f"made anew whenever a prompt changes, since the temp folder cannot keep it ({error})"
    _living[digest] = made.state
    return made, None
