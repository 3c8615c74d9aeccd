"""Texts of our objects that never raise.

ComfyUI writes the inputs of a failed node into its error report. An error while it does so ends its worker thread, and
every later prompt waits for good.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)


def readable(kind: Class) -> Class:
    """Class decorator: where an object's text cannot be made, it says so instead of raising.

    For what travels between nodes, whatever its fields hold. Stands above @dataclass, whose texts it wraps too.
    """
    for name in ("__str__", "__repr__"):
        setattr(kind, name, _never_raising(getattr(kind, name)))
    return kind


def _never_raising(text: Callable[[Any], str]) -> Callable[[Any], str]:
    @wraps(text)
    def safely(self) -> str:
        try:
            return text(self)
        except Exception:
            return f"a {type(self).__name__} with defects"

    return safely
