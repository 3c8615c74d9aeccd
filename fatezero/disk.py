"""Writing to disk: a file appears when it is complete or not at all; what the disk refuses is said with its remedy."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import psutil

from .refusal import DiskRefusal

UNFINISHED = ".unfinished_"
_DAY = 24 * 3600
_FULL, _CLOSED = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)
_TAKEN = (errno.ENOTDIR, errno.EEXIST)
_REMEDIES = {
    **dict.fromkeys(_FULL, "free space on the disk or choose another output folder"),
    **dict.fromkeys(_CLOSED, "make the folder writable or choose another one"),
    **dict.fromkeys(_TAKEN, "choose another folder, since a file has the name of this one"),
    errno.ENAMETOOLONG: "shorten the name or have fewer folders in it",
}
_WHILE_RESUMING = {
    **dict.fromkeys(_FULL, "free space on the disk or switch 'resume' off"),
    **dict.fromkeys(_CLOSED, "make the folder writable or switch 'resume' off"),
    **dict.fromkeys(_TAKEN, "rename the file that has the name of a folder or switch 'resume' off"),
}


@contextmanager
def explained_disk_errors(what: str, resumes: bool = False) -> Iterator[None]:
    """Turns an OSError within it into a refusal that says what to do.

    Args:
        what: What is being written, as the subject of a sentence.
        resumes: Whether it is only written so that 'resume' can go on with it, in a folder that nobody chose.

    Raises:
        DiskRefusal: Instead of an OSError.
    """
    try:
        yield
    except DiskRefusal:
        raise
    except OSError as error:
        remedies, other = _REMEDIES, "choose another name or output folder"
        if resumes:
            remedies, other = _WHILE_RESUMING, "switch 'resume' off"
        remedy = remedies.get(error.errno or 0, other)
        raise DiskRefusal(f"{what} could not be written ({error.strerror or error}); {remedy}.") from error


@contextmanager
def unfinished_folder(path: str) -> Iterator[str]:
    """A folder beside a file that is to be written, so that the last step is a mere renaming; it goes in any case.

    Args:
        path: Where the finished file will lie.
    """
    with TemporaryDirectory(prefix=f"{UNFINISHED}{os.getpid()}_", dir=os.path.dirname(path)) as folder:
        yield folder


def remove_unfinished(folder: str, seconds: float = 2.0) -> None:
    """Removes what writing has left behind where ComfyUI was killed: older than a day, and of no living process.

    Never raises; what it does not get to is found the next time.

    Args:
        folder: Is looked through with all folders in it, links not followed.
        seconds: Time that it may take.
    """
    end = time.monotonic() + seconds
    for at, folders, _ in os.walk(folder):
        if time.monotonic() > end:
            return
        for name in [name for name in folders if name.startswith(UNFINISHED)]:
            folders.remove(name)
            if _is_abandoned_folder(os.path.join(at, name)):
                shutil.rmtree(os.path.join(at, name), ignore_errors=True)


def is_abandoned(made: float, process: str) -> bool:
    """Whether something unfinished is older than a day and the process that it belongs to has ended.

    Args:
        made: When it was touched last, in seconds since the epoch.
        process: The process's number; another text where it is not known.
    """
    if time.time() - made < _DAY:
        return False
    try:
        return (
            not process.isdecimal() or psutil.Process(int(process)).create_time() > made
        )  # its number was given again
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.Error:
        return False


def _is_abandoned_folder(path: str) -> bool:
    """Of a folder of `unfinished_folder`, which has the number of its process in its name."""
    try:
        made = os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return False
    return is_abandoned(made, os.path.basename(path).removeprefix(UNFINISHED).split("_")[0])
