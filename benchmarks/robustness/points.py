"""The places at which a node can fail from outside, files and models, and how one of them is made to."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

FILES, MODELS = "files", "models"

# What Python tells of files (sys.addaudithook). Removing is left out: what cannot be removed stays, whoever tries.
_EVENTS = {"open", "os.mkdir", "os.rename", "os.listdir", "os.scandir", "tempfile.mkdtemp"}
_REMOVING = {"rmtree", "_rmtree_safe_fd", "_rmtree_unsafe", "_rmtree_safe_fd_step", "cleanup", "remove_abandoned"}


class Points:
    """Counts the calls that a node makes on files of some folders and on models, and makes one of them fail.

    folders: whose files count. One object for the process, since what listens to Python stays for good.
    """

    def __init__(self, folders: list[str]):
        self.folders = tuple(folders)
        self.kind: str | None = None
        self.met, self.at = 0, 0
        self.fail: Callable[[], None] = lambda: None
        self.full: str | None = None
        sys.addaudithook(self._listen)

    @contextmanager
    def failing(self, kind: str, at: int, fail: Callable[[], None]) -> Iterator[None]:
        """Within it, the call number `at` (from 1; 0: none) of a kind calls `fail`; `met` counts them all."""
        self.kind, self.met, self.at, self.fail = kind, 0, at, fail
        try:
            yield
        finally:
            self.kind, self.fail = None, lambda: None

    @contextmanager
    def full_folder(self, folder: str) -> Iterator[None]:
        """Within it, nothing can be written into a folder."""
        self.full = folder
        try:
            yield
        finally:
            self.full = None

    def watch(self, module: torch.nn.Module) -> None:
        """Counts the calls of a model from now on."""
        module.register_forward_pre_hook(lambda *_: self._meet(MODELS))

    def _meet(self, kind: str) -> None:
        if kind != self.kind:
            return
        self.met += 1
        if self.met == self.at:
            self.kind = None  # what happens on the way out is not counted
            self.fail()

    def _listen(self, event: str, arguments: tuple) -> None:
        if event not in _EVENTS or (self.kind is None and self.full is None):
            return
        path = next((os.fspath(value) for value in arguments if isinstance(value, (str, os.PathLike))), "")
        if self.full is not None and path.startswith(self.full) and _is_written(event, arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if path.startswith(self.folders) and not _is_removing():
            self._meet(FILES)


def _is_written(event: str, arguments: tuple) -> bool:
    if event == "open":
        return bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in ("os.mkdir", "os.rename", "tempfile.mkdtemp")


def _is_removing() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in _REMOVING:
            return True
        frame = frame.f_back
    return False
