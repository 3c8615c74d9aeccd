"""How a picture is to be turned and mirrored, from what cameras write beside it."""

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av

# a, b, c, d of the matrix that takes a pixel's (x, y), y downwards, to (a x + c y, b x + d y)
Orientation = tuple[int, int, int, int]
UPRIGHT: Orientation = (1, 0, 0, 1)

_EXIF_TAG = 0x0112
_BY_EXIF: dict[int, Orientation] = {  # EXIF 2.32, 4.6.4
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
_BY_QUARTER_TURNS: list[Orientation] = [UPRIGHT, _BY_EXIF[8], _BY_EXIF[3], _BY_EXIF[6]]


def frame_orientation(frame: "av.VideoFrame") -> Orientation:
    """By the frame's display matrix (ISO 14496-12, 8.5.2), rounded to one of the eight that turn and mirror."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know another of the frame's side data: the angle, without mirroring, is left
        return _BY_QUARTER_TURNS[round(frame.rotation / 90) % 4]
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return 0, _sign(b), _sign(c), 0
    return _sign(a), 0, 0, _sign(d)


def photo_orientation(image: Any) -> Orientation:
    """By the EXIF data of an opened Pillow image."""
    return _BY_EXIF.get(image.getexif().get(_EXIF_TAG, 1), UPRIGHT)


def _sign(number: int) -> int:
    return -1 if number < 0 else 1


def is_turned(turn: Orientation) -> bool:
    """Whether width and height change places."""
    return turn[0] == 0


def oriented(pixels: np.ndarray, turn: Orientation) -> np.ndarray:
    """Pixels [H, W, ...] turned and mirrored; a view."""
    a, b, c, d = turn
    if is_turned(turn):
        pixels = pixels.swapaxes(0, 1)
    flip_x, flip_y = (c < 0, b < 0) if is_turned(turn) else (a < 0, d < 0)
    return pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
