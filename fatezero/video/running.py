"""What a run hears from ComfyUI and tells it: cancel and progress.

A preview that is made beside a run has neither: it must not take the run's cancel for its own, nor move its bar. What
belongs to no run needs no ComfyUI, either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_BESIDE: ContextVar[bool] = ContextVar("fatezero_beside_a_run", default=False)


@contextmanager
def beside_runs() -> Iterator[None]:
    """What is done within, in this thread, belongs to no run."""
    token = _BESIDE.set(True)
    try:
        yield
    finally:
        _BESIDE.reset(token)


def heed_cancel() -> None:
    """Ends the run where ComfyUI was told to cancel it."""
    if not _BESIDE.get():
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()


class Progress:
    """The bar of the running node."""

    def __init__(self, total: int):
        self._bar: Any = None
        if not _BESIDE.get():
            from comfy.utils import ProgressBar

            self._bar = ProgressBar(total)

    def step(self) -> None:
        """One of the total is done."""
        if self._bar is not None:
            self._bar.update(1)
