"""Shapes of tensors as text: "N+1 n c h w" names the size of each axis."""

from collections.abc import Sequence


def match_axes(axes: str, shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Whether a shape has the axes of a text.

    Args:
        axes: One word for each axis: a name, a name and a number to add to it, a number, or two of these with "|"
            between them, of which one must fit.
        shape: Of the tensor.
        sizes: The sizes known by name; a name met for the first time is added.

    >>> sizes = {"N": 3}
    >>> match_axes("N+1 n 1|n", (4, 2, 2), sizes), sizes
    (True, {'N': 3, 'n': 2})
    >>> match_axes("n", (5,), sizes)
    False
    """
    words = axes.split()
    return len(words) == len(shape) and all(
        any(_fits(axis, size, sizes) for axis in word.split("|")) for word, size in zip(words, shape)
    )


def _fits(axis: str, size: int, sizes: dict[str, int]) -> bool:
    if axis.isdigit():
        return size == int(axis)
    name, _, more = axis.partition("+")
    return size == sizes.setdefault(name, size - int(more or 0)) + int(more or 0)
