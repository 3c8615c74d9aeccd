"""The source's attention kept for the session: a new target reads it, whatever ComfyUI has freed meanwhile.

An attention cache goes with its source run, and ComfyUI frees that when a prompt changes (on 0.30 by default at once).
So an edit leaves a copy of what it has added in the session's folder, a file for each part, under a name that
`digest.py` makes of all that determines the source's rows. The next edit's cache takes these files up: nothing is read
before it is needed, and no memory is kept.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from comfy.model_management import throw_exception_if_processing_interrupted
from safetensors import SafetensorError

from ..refusal import bytes_in_words
from .attention_cache import AttentionCache
from .attention_parts import ENDING, InMemory, OnDisk, Part, read_part, write_part
from .session_folder import ATTENTION, entry_of, make_room, use


def keep_attention(cache: AttentionCache, digest: str) -> str:
    """Writes what a cache holds and the session has not yet; what came of it, in words.

    Args:
        cache: Filled by an edit that has ended.
        digest: Names the source, the model and all else that determines what the cache holds.
    """
    folder = entry_of(ATTENTION, digest)
    new = [part for part in cache.parts if not _file(part, folder).exists() and not _is_gone(part)]
    try:
        make_room(sum(part.size for part in new), folder)
        folder.mkdir(parents=True, exist_ok=True)
        for part in new:
            throw_exception_if_processing_interrupted()
            _write(part, folder)
    except (OSError, SafetensorError) as error:
        return f"Not kept for a new target, since the temp folder cannot keep it ({error})."
    return f"Kept for a new target: {bytes_in_words(cache.bytes.total)} in the temp folder."


def keeps_attention() -> bool:
    """Whether this session has kept any."""
    return entry_of(ATTENTION, "").exists()


def take_up_attention(cache: AttentionCache, digest: str) -> None:
    """Adds to a cache what this session has kept under this name; files that are damaged are made again."""
    folder = entry_of(ATTENTION, digest)
    with suppress(OSError):
        use(folder)
        for file in folder.glob(f"*{ENDING}"):
            try:
                cache.adopt(read_part(file))
            except (OSError, SafetensorError, ValueError):
                file.unlink(missing_ok=True)


def _file(part: Part, folder: Path) -> Path:
    return folder / f"{part.name}{ENDING}"


def _is_gone(part: Part) -> bool:
    return isinstance(part, OnDisk) and not part.file.exists()


def _write(part: Part, folder: Path) -> None:
    if isinstance(part, InMemory):
        write_part(part, folder)
        return
    file = _file(part, folder)
    try:
        file.hardlink_to(part.file)  # the same bytes on the disk
    except OSError:
        shutil.copyfile(part.file, file.with_suffix(".unfinished"))
        file.with_suffix(".unfinished").replace(file)
