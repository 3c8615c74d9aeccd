"""How the things and the ground of a scene move from a frame to the next."""

import cv2
import numpy as np

from fatezero_pack.demo import world


def motion(first: world.Scene, second: world.Scene, height: int, width: int):
    """Where each pixel of a frame lies in the next one, (x, y) float32 [H, W, 2], and where that can be seen in both,
    bool [H, W]: inside the frame, on the same thing or on the ground, two pixels from any edge."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    drift = ground_place(second, height, width) - ground_place(first, height, width)
    places = np.stack([columns - drift, rows], axis=2)
    labels, following_labels = (thing_labels(scene, height, width) for scene in (first, second))
    for index, (thing, moved) in enumerate(zip(first.things, second.things), start=1):
        on_thing = labels == index
        places[on_thing] = carried(thing, moved, height, width)[on_thing]
    near = np.clip(np.round(places), 0, [width - 1, height - 1]).astype(int)
    visible = following_labels[near[..., 1], near[..., 0]] == labels
    visible &= (labels >= 0) & ((places >= 0) & (places <= [width - 1, height - 1])).all(axis=2)
    return places.astype(np.float32), visible


def carried(thing: world.Thing, moved: world.Thing, height: int, width: int) -> np.ndarray:
    """Where each pixel, were it the thing's, lies when that has moved and turned, (x, y) float32 [H, W, 2]."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    turn, x, y = moved.angle - thing.angle, columns - thing.x * width, rows - thing.y * height
    turned = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    middle = moved.x * width - 0.5, moved.y * height - 0.5
    return (np.stack(turned, axis=2) + middle).astype(np.float32)


def ground_place(scene: world.Scene, height: int, width: int) -> float:
    """How far a frame's ground has moved to the left, in pixels; see `world.ground_image` and `world.render`."""
    detail = min(height, width) // world.SIZE
    drawn = detail if detail < 2 else 2 * detail  # pixels per unit in which it is drawn, and reduced from twice SIZE on
    return int(round(scene.shift * drawn)) % (32 * drawn) * detail / drawn


def thing_labels(scene: world.Scene, height: int, width: int) -> np.ndarray:
    """Which thing each pixel shows: 1, 2, ... for things, 0 for the ground, -1 within two pixels of an edge."""
    labels = np.zeros((height, width), np.int16)
    for index, thing in enumerate(scene.things, start=1):
        labels[world.thing_mask(thing, height, width) > 0.5] = index
    kernel = np.ones((5, 5), np.uint8)
    edges = cv2.dilate(labels, kernel) != cv2.erode(labels, kernel)
    return np.where(edges, -1, labels)
