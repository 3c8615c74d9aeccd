"""Success that looks where: is each thing of the edited scene at its own place, as the program draws it?

A thing stands where the judge reads its shape and colour at the middle of its true place, and where its colour covers
that place: intersection over union of at least IOU. What too little can be seen of, behind another thing or beyond the
frame, is not asked for.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fatezero_pack.demo import world
from fatezero_pack.demo.pixel_judge import color_labels

from .cases import Case
from .judge.network import Judge

LOCATED = {
    "located": (
        "share of frames, of those that show the changed things whole, in which every thing of the edited scene is at "
        "its own place, what was taken away is gone, and ground and style are the edited scene's",
        "%",
        True,
    ),
    "iou": ("intersection over union of where the changed things' colour is and where it should be", "", True),
    "iou_kept": ("the same of the things that are kept", "", True),
}
IOU = 0.5  # a circle that should be a square has 0.8, a thing half beside its place 0.3
SEEN, WHOLE = 0.6, 0.9  # shares of a thing in sight: enough to ask where it is; enough to ask for its shape
GONE = 0.2  # share of a removed thing's place that may have its colour
CELL = 16  # pixels of one place of the judge's last maps


@dataclass(frozen=True)
class Place:
    """A thing in one frame: `mask` bool [H, W], where it can be seen; `seen`: that part's share of the whole thing."""

    thing: world.Thing
    mask: np.ndarray
    seen: float


@dataclass(frozen=True)
class Maps:
    """What the judge sees at each of its places of one frame: probabilities [h, w], [8, h, w] and [6, h, w]."""

    thing: torch.Tensor
    color: torch.Tensor
    shape: torch.Tensor


def located(case: Case, clip: torch.Tensor, judge: Judge) -> dict[str, float]:
    """All of LOCATED for a clip [n, H, W, 3] of 0..1; NaN where nothing is asked for, as overlaps in a style."""
    reading = judge.read(clip)
    ground, style = list(world.GROUNDS).index(case.target.ground), world.STYLES.index(case.target.style)
    right = reading.style.argmax(1) == style
    if case.target.style != "pencil sketch":  # where the judge cannot tell most grounds
        right &= reading.ground.argmax(1) == ground
    changed, kept, success = [], [], []
    frames = zip(case.scenes(case.source), case.scenes(case.target), clip, maps_of(judge, clip), right.tolist())
    for source, target, picture, maps, scene_right in frames:
        labels = color_labels(255 * picture.numpy(), target.ground)
        there = places(target, case.height, case.width)
        removed = places(source, case.height, case.width)[len(there) :]
        counts = True
        for index, place in enumerate(there):
            value = overlap(place, there, labels) if asked(place) and not target.style else math.nan
            same = index < len(source.things) and alike(case, index)
            (kept if same else changed).append(value)
            counts = counts and (same or place.seen >= WHOLE)
            scene_right = scene_right and (not asked(place) or stands(place, value, maps, target.style))
        scene_right = scene_right and all(gone(place, labels) for place in removed if asked(place))
        success.append(100.0 * scene_right if counts else math.nan)
    return {"located": mean_of(success), "iou": mean_of(changed), "iou_kept": mean_of(kept)}


def maps_of(judge: Judge, clip: torch.Tensor) -> list[Maps]:
    """The judge's maps of each frame."""
    with torch.no_grad():
        _, seen = judge.look(judge.maps(clip)[-1])
    thing, color, shape = seen.split((1, len(judge.colors), len(judge.shapes)), 1)
    return [Maps(*of_frame) for of_frame in zip(thing[:, 0].sigmoid(), color.softmax(1), shape.softmax(1))]


def places(scene: world.Scene, height: int, width: int) -> list[Place]:
    """Where each thing can be seen; things are drawn in order, so later ones hide earlier ones."""
    hidden, found = np.zeros((height, width), bool), []
    for thing in reversed(scene.things):
        covered = world.thing_mask(thing, height, width) > 0.5
        outline = world.outline(thing.shape).astype(np.float32) * thing.r * height
        found.append(Place(thing, covered & ~hidden, float((covered & ~hidden).sum() / cv2.contourArea(outline))))
        hidden |= covered
    return found[::-1]


def asked(place: Place) -> bool:
    return place.seen >= SEEN


def alike(case: Case, index: int) -> bool:
    """Whether the edit leaves a thing as it is."""
    return case.source.things[index] == case.target.things[index]


def overlap(place: Place, others: list[Place], labels: np.ndarray) -> float:
    """Intersection over union of the place and of its thing's colour. labels: as of `color_labels`."""
    shown = shown_as(place, others, labels)
    return float((shown & place.mask).sum() / (shown | place.mask).sum())


def shown_as(place: Place, others: list[Place], labels: np.ndarray) -> np.ndarray:
    """Where a thing's colour is, bool [H, W]; of two things of one colour, each has the pixels nearest to it."""
    thing, (height, width) = place.thing, labels.shape
    rows, columns = np.mgrid[0:height, 0:width] + 0.5

    def away(other: world.Thing) -> np.ndarray:
        return np.hypot(columns - other.x * width, rows - other.y * height) / (other.r * height)

    shown = labels == list(world.COLORS).index(thing.color)
    for other in others:
        if other is not place and other.thing.color == thing.color:
            shown &= away(thing) <= away(other.thing)
    return shown


def stands(place: Place, iou: float, maps: Maps, style: str) -> bool:
    """Whether a thing is at its place. iou: NaN in a style, where colours say little of the place."""
    if iou < IOU:
        return False
    if place.seen < WHOLE:
        return True
    thing, (height, width) = place.thing, place.mask.shape
    rows, columns = (np.arange(size) * CELL + (CELL - 1) / 2 for size in maps.thing.shape)
    away = np.hypot(columns - thing.x * width, rows[:, None] - thing.y * height)
    middle = torch.from_numpy(away < max(0.5 * thing.r * height, CELL / math.sqrt(2) + 0.1))
    probability = maps.thing * maps.shape[world.SHAPES.index(thing.shape)]
    if style != "pencil sketch":
        probability = probability * maps.color[list(world.COLORS).index(thing.color)]
    return bool((probability[middle] > 0.5).any())


def gone(place: Place, labels: np.ndarray) -> bool:
    """Whether a thing is no longer where it was."""
    return float((labels[place.mask] == list(world.COLORS).index(place.thing.color)).mean()) < GONE


def mean_of(values: list[float]) -> float:
    values = [value for value in values if not math.isnan(value)]
    return float(np.mean(values)) if values else math.nan
