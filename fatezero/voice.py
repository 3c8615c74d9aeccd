"""How a run speaks to the person: what it shows on its node, and whose name stands before its refusals."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from .refusal import speaking


class Voice:
    """The voice of one node, also for what it leaves on a model and what then runs inside another node.

    text: what was told last, for a report after the run.
    """

    def __init__(self, name: str | None = None, show: Callable[[str], None] | None = None, notes: Sequence[str] = ()):
        """name: the node's display name, None for refusals without one; show: shows a text on the node; notes: lines
        that are shown above every text."""
        self.name, self.show, self.notes = name, show, tuple(notes)
        self.text = ""
        self.shown: str | None = None  # in this run

    def tell(self, text: str) -> None:
        """Shows a text in place of what stood there before."""
        if text != self.shown and self.show is not None:
            self.show("\n".join([*self.notes, text]))
        self.text = self.shown = text

    @property
    def report(self) -> str:
        """All that was told last, for a node's result: what is told on the way goes with the page."""
        return "\n".join([*self.notes, self.text]).strip()

    def end_run(self) -> None:
        """The next run shows all again: it may be for a page that was opened since, or for another one."""
        self.shown = None

    def signing(self) -> AbstractContextManager[None]:
        """Within it, refusals are signed with the node's name."""
        return nullcontext() if self.name is None else speaking(self.name)
