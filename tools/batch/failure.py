"""Why a row failed, which stops no other row."""

import errno
from dataclasses import dataclass

from fatezero.refusal import Refusal

from ..comfyui_client import ServerError
from .table import BatchError

SENTENCES = (BatchError, Refusal, ServerError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of the disk, which would fail all other rows, too


@dataclass(frozen=True)
class Failure:
    """Why a task failed, in ComfyUI's own words."""

    message: str


def failure_of(error: Exception) -> Failure:
    """What an error says of its row; where it would meet every other row, too, it is raised again."""
    if isinstance(error, OSError) and error.errno in FULL:
        raise error
    return Failure(str(error) if isinstance(error, SENTENCES) else f"{type(error).__name__}: {error}")
