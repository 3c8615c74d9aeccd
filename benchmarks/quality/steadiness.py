"""Does a thing keep its size and its shape from frame to frame? All things of the world do."""

import math

import cv2
import numpy as np
import torch

from fatezero_pack.demo.pixel_judge import color_labels

from .cases import Case
from .located import WHOLE, alike, mean_of, places, shown_as
from .motion import carried

STEADINESS = {
    "area_change": (
        "standard deviation over the frames of a changed thing's area, in % of its mean; the true one keeps its area",
        "%",
        False,
    ),
    "outline_change": (
        "1 - intersection over union of a changed thing and of itself in the next frame, moved back as it truly moves",
        "%",
        False,
    ),
}
THERE = 0.25  # mean area, as a share of the true one, from which a thing is there at all


def steadiness(case: Case, clip: torch.Tensor) -> dict[str, float]:
    """All of STEADINESS for a clip [n, H, W, 3] of 0..1; NaN in a style, and where no changed thing is there."""
    kept = range(len(case.source.things))
    changed = [index for index in range(len(case.target.things)) if index not in kept or not alike(case, index)]
    seen = [outlines(case, clip, index) for index in changed if not case.target.style]
    there = [(index, masks, areas) for index, (masks, areas) in zip(changed, seen) if mean_of(areas) >= THERE]
    return {
        "area_change": mean_of([area_change(areas) for _, _, areas in there]),
        "outline_change": mean_of([outline_change(case, index, masks) for index, masks, _ in there]),
    }


def outlines(case: Case, clip: torch.Tensor, index: int) -> tuple[list[np.ndarray | None], list[float]]:
    """Where a thing's colour is in each frame, bool [H, W], and how much that is of its true area; None and NaN where
    it is not whole in sight."""
    masks, areas = [], []
    for scene, picture in zip(case.scenes(case.target), clip):
        there = places(scene, case.height, case.width)
        whole = there[index].seen >= WHOLE
        mask = shown_as(there[index], there, color_labels(255 * picture.numpy(), scene.ground)) if whole else None
        masks.append(mask)
        areas.append(math.nan if mask is None else float(mask.sum() / there[index].mask.sum()))
    return masks, areas


def area_change(areas: list[float]) -> float:
    """In % of the mean, over the frames that are not NaN; NaN for fewer than two."""
    known = [area for area in areas if not math.isnan(area)]
    return 100 * float(np.std(known) / np.mean(known)) if len(known) > 1 else math.nan


def outline_change(case: Case, index: int, masks: list[np.ndarray | None]) -> float:
    """In %, over neighbouring frames that both show the thing whole; NaN without any."""
    things = [scene.things[index] for scene in case.scenes(case.target)]
    changes = []
    for thing, moved, now, following in zip(things, things[1:], masks, masks[1:]):
        if now is None or following is None or not (now | following).any():
            continue
        way = carried(thing, moved, case.height, case.width)
        back = cv2.remap(following.astype(np.float32), way[..., 0], way[..., 1], cv2.INTER_LINEAR) > 0.5
        changes.append(100 * (1 - float((now & back).sum() / (now | back).sum())))
    return mean_of(changes)
