"""Which size a clip gets: on the model's grid, near what was asked for, and with as little cut off as can be."""

import math
from collections.abc import Iterable

Size = tuple[int, int]  # (width, height) in pixels

# Pixels that the models of a family were trained with.
FAMILIES = {
    "SD 1.x": 512 * 512,
    "SD 2.x": 768 * 768,
    "SDXL": 1024 * 1024,
    "Wan": 832 * 480,
    "LTX-Video": 768 * 512,
    "demo model": 128 * 128,
    "large demo model": 256 * 256,
}
LITTLE = 0.03  # a share of the picture that nobody misses: so much may be cut off before another size is looked for
_LEAST_AREA, _MOST_AREA = 0.5, 1.1  # of a family's pixels: what its size may have, so that the aspect can be kept
# Below, the demo model's things are too small: clips of 96x168 do not become noise, of 128x224 they do in 10 steps.
_LEAST_SIDE = {"demo model": 128}


def cut(source: Size, target: Size) -> float:
    """The share of a picture that is cut off where it is scaled to cover a size of another aspect.

    >>> cut((1280, 720), (512, 288)), round(cut((1280, 720), (512, 512)), 4)
    (0.0, 0.4375)
    """
    aspects = (source[0] * target[1], target[0] * source[1])
    return 1 - min(aspects) / max(aspects)


def size_of_side(source: Size, size: Size, grid: int) -> Size:
    """The size of which one side is asked for: the other takes the multiple of the grid at which least is cut off.

    Where that is still more than `LITTLE`, the side that was asked for may move by one step of the grid, if it helps.

    Args:
        source: The clip's size.
        size: The side, and 0 for the other.
        grid: Both become multiples of this.

    >>> size_of_side((1280, 720), (512, 0), 8), size_of_side((1280, 720), (512, 0), 64)
    ((512, 288), (576, 320))
    """
    turned = not size[0]
    asked = max(grid, max(size) // grid * grid)
    long, short = source[::-1] if turned else source
    exact = _least_cut((long, short), _sizes([asked], (long, short), grid))
    best = exact
    if cut((long, short), exact) > LITTLE:
        near = _least_cut((long, short), _sizes([asked - grid, asked + grid], (long, short), grid))
        best = near if cut((long, short), near) <= LITTLE else exact
    return best[::-1] if turned else best


def size_of_family(source: Size, family: str, grid: int) -> Size:
    """The size with about as many pixels as a family of models was trained with, in the clip's own aspect.

    Args:
        source: The clip's size.
        family: One of `FAMILIES`.
        grid: Both sides become multiples of this.

    Returns:
        The nearest in pixels of those at which at most `LITTLE` is cut off; where there is none, the one at which
        least is. No side is below the family's least.

    >>> size_of_family((1280, 720), "SD 1.x", 64), size_of_family((512, 512), "SD 1.x", 64)
    ((576, 320), (512, 512))
    """
    side = _LEAST_SIDE.get(family, 0)
    area = max(FAMILIES[family], side * side * max(source) // min(source))
    widths = range(grid, math.isqrt(4 * area) + grid, grid)
    fitting = [
        size
        for size in _sizes(widths, source, grid)
        if _LEAST_AREA * area <= size[0] * size[1] <= max(_MOST_AREA * area, grid * grid) and min(size) >= side
    ]
    good = [size for size in fitting if cut(source, size) <= LITTLE]
    if not good:
        return _least_cut(source, fitting or _sizes(widths, source, grid))
    return min(good, key=lambda size: abs(math.log(size[0] * size[1] / area)))


def _sizes(widths: Iterable[int], source: Size, grid: int) -> list[Size]:
    """For each width the two heights on the grid around the one that keeps the aspect."""
    found = []
    for width in widths:
        below = int(width * source[1] / source[0] / grid) * grid
        found += [(width, height) for height in (below, below + grid) if width > 0 and height > 0]
    return found


def _least_cut(source: Size, sizes: Iterable[Size]) -> Size:
    return min(sizes, key=lambda size: cut(source, size))
