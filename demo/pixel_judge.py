"""Says what a plain picture of the world shows, by measuring its pixels, to see whether a model follows its prompt.

Pictures are 128 pixels high; reduce larger ones.
"""

from functools import lru_cache

import cv2
import numpy as np

from .world import COLORS, GROUNDS, SHAPES, Thing, ground_image, thing_mask


@lru_cache
def ground_color(ground: str) -> np.ndarray:
    """The mean RGB colour (3,) of a ground, 0..255."""
    return np.mean([ground_image(ground, seed, 0).mean((0, 1)) for seed in range(20)], 0)


def judge_ground(image: np.ndarray) -> str:
    """The ground whose mean colour is nearest to that of the picture's border; image is uint8 RGB (H, W, 3)."""
    border = np.concatenate(
        [
            image[:12].reshape(-1, 3),
            image[-12:].reshape(-1, 3),
            image[:, :12].reshape(-1, 3),
            image[:, -12:].reshape(-1, 3),
        ]
    )
    return min(GROUNDS, key=lambda ground: np.linalg.norm(border.mean(0) - ground_color(ground)))


def color_mask(image: np.ndarray, color: str, ground: str) -> np.ndarray:
    """Pixels nearer to a thing's colour than to the ground's, largest connected piece: uint8 (H, W) of 0 and 1."""
    light = np.linspace(1.08, 0.86, len(image))[:, None, None]
    pixels = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    to_color = np.linalg.norm(pixels - np.clip(np.array(COLORS[color]) * light, 0, 255), axis=2)
    to_ground = np.linalg.norm(pixels - ground_color(ground), axis=2)
    mask = ((to_color < to_ground) & (to_color < 110)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    return (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8) if count > 1 else mask


def color_labels(image: np.ndarray, ground: str) -> np.ndarray:
    """The number in COLORS of each pixel's colour, -1 on the ground: int (H, W)."""
    light = np.linspace(1.08, 0.86, len(image))[:, None, None]
    lit = [np.clip(np.array(rgb) * light, 0, 255) for rgb in COLORS.values()]
    shown = np.stack([np.linalg.norm(image - color, axis=2) for color in lit])
    foreground = shown.min(0) + 15 < np.linalg.norm(image - ground_color(ground), axis=2)
    foreground &= shown.min(0) < 70
    foreground = cv2.morphologyEx(foreground.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0
    return np.where(foreground, shown.argmin(0), -1)


def judge_color(image: np.ndarray, ground: str) -> str | None:
    """The colour of the thing, None where there is none of at least 200 pixels."""
    votes = np.bincount(color_labels(image, ground).ravel() + 1, minlength=len(COLORS) + 1)[1:]
    return list(COLORS)[votes.argmax()] if votes.max() >= 200 else None


def judge_things(image: np.ndarray, ground: str) -> list[tuple[str, str | None]]:
    """The colour and shape of every thing of at least 200 pixels, each one connected piece of its colour."""
    labels, things = color_labels(image, ground), []
    for number, color in enumerate(COLORS):
        count, pieces = cv2.connectedComponents((labels == number).astype(np.uint8))
        masks = [(pieces == piece).astype(np.uint8) for piece in range(1, count)]
        things += [(color, judge_shape(mask)[0]) for mask in masks if mask.sum() >= 200]
    return things


def judge_shape(mask: np.ndarray) -> tuple[str | None, float]:
    """The shape that overlaps a mask best when moved, scaled and turned to fit, and the intersection over union.

    `mask` is (H, W) of 0 and 1; (None, 0) where fewer than 200 pixels are set.
    """
    area = int(mask.sum())
    if area < 200:
        return None, 0.0
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    best = (None, 0.0)
    for shape in SHAPES:
        for angle in np.linspace(-0.35, 0.35, 9):
            trial = thing_mask(Thing("red", shape, 0.5, 0.5, 0.25, angle), height, width)
            r = 0.25 * (area / trial.sum()) ** 0.5
            y, x = (np.average(axis, weights=trial) for axis in np.mgrid[0:height, 0:width])
            scale = r / 0.25
            x = (columns.mean() - (x - width / 2) * scale + 0.5) / width
            y = (rows.mean() - (y - height / 2) * scale + 0.5) / height
            placed = thing_mask(Thing("red", shape, x, y, r, angle), height, width) > 0.5
            overlap = float((placed & (mask > 0)).sum() / (placed | (mask > 0)).sum())
            best = max(best, (shape, overlap), key=lambda candidate: candidate[1])
    return best
