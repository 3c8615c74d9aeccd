"""Draws the pack's pictures for the Comfy Registry: the demo world's red circle on its way to a blue star.

python -m tools.draw_icon writes docs/icon.png (400 x 400) and docs/banner.png (21:9). It needs OpenCV and NumPy.
"""

import math
from pathlib import Path

import cv2
import numpy as np

from demo.world import COLORS, outline

DOCS = Path(__file__).resolve().parent.parent / "docs"
SKY, HILL = np.array([226, 240, 250]), np.array([112, 176, 96])
OVERSAMPLE = 4
FRAMES = 6  # of the banner


def main():
    """Writes both pictures."""
    DOCS.mkdir(exist_ok=True)
    write("icon", icon(400))
    write("banner", banner(1260, 540))


def icon(size: int) -> np.ndarray:
    """One thing that is the circle on the left and the star on the right, RGB uint8 [size, size, 3]."""
    circle, star = ground(size, size), ground(size, size)
    place = (0.5 * size, 0.5 * size)
    draw_thing(circle, 0.0, *place, 0.34 * size)
    draw_thing(star, 1.0, *place, 0.34 * size)
    middle = size // 2
    picture = np.concatenate([circle[:, :middle], star[:, middle:]], axis=1)
    picture[:, middle - size // 100 : middle + size // 100] = 255
    return picture


def banner(width: int, height: int) -> np.ndarray:
    """The frames of one clip, in which the thing hops over the hill and turns, RGB uint8 [height, width, 3]."""
    picture, frame = ground(height, width), width // FRAMES
    for index in range(FRAMES):
        change = index / (FRAMES - 1)
        y = (0.56 - 0.24 * math.sin(math.pi * change)) * height
        draw_thing(picture, change, (index + 0.5) * frame, y, 0.36 * frame)
    for edge in range(frame, width, frame):
        picture[:, edge - 4 : edge + 4] = 255
    return picture


def ground(height: int, width: int) -> np.ndarray:
    """A sky above a green hill, RGB uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    top = height * (0.62 + 0.5 * (x / width - 0.5) ** 2)
    hill = np.clip(y + 0.5 - top, 0, 1)[..., None]
    return np.round(SKY * (1 - hill) + HILL * hill).astype(np.uint8)


def draw_thing(picture: np.ndarray, change: float, x: float, y: float, radius: float) -> None:
    """Draws the thing into a picture, in place.

    Args:
        picture: RGB uint8 [height, width, 3].
        change: How far the circle has become the star, 0..1; the colour goes along.
        x: Its centre, in pixels.
        y: Its centre, in pixels.
        radius: In pixels.
    """
    height, width = picture.shape[:2]
    points = (1 - change) * around(outline("circle")) + change * around(outline("star"))
    points = (points * radius + [x, y]) * OVERSAMPLE
    mask = np.zeros((height * OVERSAMPLE, width * OVERSAMPLE), np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255
    color = (1 - change) * np.array(COLORS["red"]) + change * np.array(COLORS["blue"])
    picture[:] = np.round(picture * (1 - mask) + color * mask)


def around(corners: np.ndarray, count: int = 360) -> np.ndarray:
    """Points [count, 2] on an outline around the origin, one for each direction, so that two outlines can be mixed."""
    directions = np.linspace(-math.pi, math.pi, count, endpoint=False)
    edges = np.concatenate([np.linspace(a, b, 200) for a, b in zip(corners, np.roll(corners, -1, axis=0))])
    turns, radii = np.arctan2(edges[:, 1], edges[:, 0]), np.hypot(edges[:, 0], edges[:, 1])
    order = np.argsort(turns)
    radii = np.interp(directions, turns[order], radii[order], period=2 * math.pi)
    return np.stack([np.cos(directions), np.sin(directions)], axis=1) * radii[:, None]


def write(name: str, picture: np.ndarray) -> None:
    """Writes a picture into docs/."""
    cv2.imwrite(str(DOCS / f"{name}.png"), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
