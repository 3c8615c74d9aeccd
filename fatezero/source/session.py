"""Runs kept for the session, so that a new target does not invert the clip again.

ComfyUI's own cache cannot know that only the target changed: the source prompt comes out of the same node. So a run is
named by its content (`digest.py`). While ComfyUI holds the run, it is found in memory. Once ComfyUI has freed it (on
0.30 by default as soon as the next prompt runs), it is found in the session's folder. Nothing is kept alive here: the
table holds weak references only. `kept_attention.py` and `tuning/kept_tuning.py` keep theirs in the same way.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

from ..network.option_keys import TOKENS
from ..refusal import Refusal
from .session_folder import RUNS, entry_of, made_once, put, use
from .source_file import read_source, write_source
from .source_run import SourceRun

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
                (entry_of(RUNS, self.digest) / DETAILS).write_text(json.dumps(known), encoding="utf-8")
        return replace(self, details=known)


def run_once(
    reuse: bool, digest: Callable[[], str], conditioning: list, make: Callable[[], KeptRun]
) -> tuple[KeptRun, str | None]:
    """A run that this session has made before, or else a new one, which is kept; see `made_once`.

    Args:
        reuse, digest, make: As for `made_once`.
        conditioning: The source CONDITIONING of the run.
    """
    return made_once(reuse, digest, lambda name: find(name, conditioning), make, keep)


def find(digest: str, conditioning: list) -> KeptRun | None:
    """The run of this name, or None when it was never made, or neither lives nor lies in the temp folder.

    Args:
        digest: Names the run by all that determines it.
        conditioning: The source CONDITIONING of the run that is asked for. It has the content of the kept one; files
            cannot hold all of it (a ControlNet).
    """
    entry = entry_of(RUNS, digest)
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


def keep(digest: str, made: KeptRun) -> tuple[KeptRun, str | None]:
    """Keeps a run for the session; returns it with its name, and what stood against it, in words, or None."""
    if not made.as_planned:
        return made, "made anew whenever a prompt changes, since memory ran out on the way"
    named = replace(made, digest=digest)

    def write(folder: Path) -> None:
        write_source(str(folder / RUN), replace(made.run, conditioning=_plain(made.run.conditioning)))
        (folder / DETAILS).write_text(json.dumps(made.details), encoding="utf-8")

    try:
        put(entry_of(RUNS, digest), made.run.trajectory.nbytes + made.run.word_maps.nbytes, write)
    except (Refusal, OSError) as error:
        return named, f"made anew whenever a prompt changes, since the temp folder cannot keep it ({error})"
    _living[digest] = made.run
    return named, None


def _plain(conditioning: list) -> list:
    """The conditioning without what a file cannot hold; `find` is given it anew."""
    ((embedding, options),) = conditioning
    return [[embedding, {name: value for name, value in options.items() if name == TOKENS}]]
