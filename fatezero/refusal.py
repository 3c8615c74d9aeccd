"""How the pack says no: one sentence, raised without a node's name and signed by the node that the person sees."""

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 60  # letters of what a person typed, in a sentence


class Refusal(ValueError):
    """What cannot work: names the input, what was found, what was expected and what to do, in the words on the node.

    `fatezero/` raises it without the name of a node, since many nodes may reach the same check; `speaking` signs it.
    """

    __module__ = "fatezero"  # in ComfyUI's error report this stands before the sentence, in place of this file's path
    signed = False

    def __init_subclass__(cls, **named) -> None:
        super().__init_subclass__(**named)
        cls.__module__ = Refusal.__module__


class DiskRefusal(Refusal, OSError):
    """A refusal because a file or folder cannot be read or written."""


@contextmanager
def speaking(node: str) -> Iterator[None]:
    """Puts a node's name before every refusal that leaves the block, unless one stands there already.

    Used as a decorator of a node's `execute`, and around what a node has left on a model and runs inside another
    node, such as a KSampler.

    Args:
        node: The display name of the node.
    """
    try:
        yield
    except Refusal as refusal:
        if not refusal.signed:
            refusal.signed = True
            refusal.args = (f"{node}: {refusal}",)
        raise


def counted(count: float, noun: str) -> str:
    """A number and the English noun after it.

    >>> [counted(count, "step") for count in (0, 1, 2, 29.97)]
    ['0 steps', '1 step', '2 steps', '29.97 steps']
    """
    number = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{number} {noun}{'' if count == 1 else 's'}"


def bytes_in_words(size: float) -> str:
    """A number of bytes for a person to read.

    >>> [bytes_in_words(size) for size in (0, 8_640, 999_900, 1_500_000, 14.7e9)]
    ['0.0 kB', '8.6 kB', '999.9 kB', '1.5 MB', '14.7 GB']
    """
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def shortened(text: object) -> str:
    """What a person typed, as a part of a sentence: on one line, its end left out where it is long."""
    line = " ".join(str(text).splitlines())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
