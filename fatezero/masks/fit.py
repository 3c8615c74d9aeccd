"""A mask or boxes of the original footage, brought to the frames that were taken from it."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from ..refusal import Refusal
from ..video.clip import ClipFit
from ..video.frames import place
from .mask_pictures import is_stretched

Boxes = list[list[tuple[int, int, int, int]]]  # of each frame: left, top, right and bottom edge in pixels


def fit_mask(mask: torch.Tensor, fit: ClipFit) -> torch.Tensor:
    """A mask scaled, cut and padded as the frames were, and of the same frames.

    Args:
        mask: [1 or n, h, w] of 0..1, finite. n: as many as were taken, or as the footage has; of any size in its
            aspect, such as a frame's at full size.
        fit: How the frames came out of the footage.

    Returns:
        float32 [1 or frames, height, width] of the frames' size; 0 on their bars.

    Raises:
        Refusal: The mask has another number of frames, or ends before the last one that was taken.
    """
    mask = mask.float().clamp(0, 1)
    mask = mask[_taken(len(mask), fit, "mask")]
    if mask.shape[-1:-3:-1] == fit.where.target:
        return mask
    return place(mask.movedim(0, -1), fit.where).movedim(-1, 0)


def stretch_notes(mask: torch.Tensor, fit: ClipFit) -> list[str]:
    """What to tell of a mask [h, w] or [1 or n, h, w] that has neither the footage's aspect nor the frames' size."""
    height, width = mask.shape[-2:]
    if (width, height) == fit.where.target or not is_stretched(mask, fit.source_size):
        return []
    return [
        f"! 'mask' is {width}x{height} but the footage {fit.source_size[0]}x{fit.source_size[1]}, so it is stretched; "
        "draw it on a frame of the footage"
    ]


def fit_boxes(boxes: Any, is_on_footage: bool, fit: ClipFit) -> torch.Tensor:
    """The mask of bounding boxes, for the frames that were taken.

    Args:
        boxes: ComfyUI's, as `boxes_of_frames` takes them.
        is_on_footage: Whether their pixels are the footage's, and not the taken frames'.
        fit: How the frames came out of the footage.

    Returns:
        float32 [1 or frames, height, width] of the frames' size.

    Raises:
        Refusal: They are no boxes, or as for `fit_mask`.
    """
    found = boxes_of_frames(boxes)
    found = [found[index] for index in _taken(len(found), fit, "boxes")]
    width, height = size = fit.source_size if is_on_footage else fit.where.target
    mask = box_mask(found, size)
    if any(found) and not mask.any():
        raise Refusal(
            f"'boxes' all lie outside the {width}x{height} picture; set 'boxes lie on' to what they were drawn on, or "
            "draw them anew."
        )
    return place(mask.movedim(0, -1), fit.where).movedim(-1, 0) if is_on_footage else mask


def _taken(count: int, fit: ClipFit, name: str) -> list[int]:
    """Which of so many masks go with the frames; name: of the input, for messages."""
    frames, last = len(fit.taken), max(fit.taken)
    if count in (1, frames):
        return list(range(count))
    if count <= last:
        raise Refusal(
            f"'{name}' has {count} frames, but {frames} were taken of the clip, up to its frame {last}; connect "
            f"one, {frames}, or one for each frame of the clip."
        )
    return list(fit.taken)


def boxes_of_frames(boxes: Any) -> Boxes:
    """ComfyUI's bounding boxes in one form.

    Args:
        boxes: A box, boxes for all frames, or a list of boxes for each frame. A box is a mapping with x, y, width and
            height in pixels; other entries, such as a score, do not matter.

    Returns:
        For each frame, or once for all, the left, top, right and bottom edges of its boxes, in whole pixels outwards.

    Raises:
        Refusal: It is something else.
    """
    frames = [[boxes]] if isinstance(boxes, Mapping) else boxes
    if isinstance(frames, list) and all(isinstance(entry, Mapping) for entry in frames):
        frames = [frames]
    try:
        return [[_edges(box) for box in frame] for frame in frames]
    except (TypeError, KeyError, ValueError, OverflowError):
        raise Refusal(
            "'boxes' are no bounding boxes of ComfyUI (x, y, width, height); connect Bounding Box or a detector."
        ) from None


def _edges(box: Mapping[str, float]) -> tuple[int, int, int, int]:
    if not isinstance(box, Mapping):
        raise TypeError(box)
    left, top = float(box["x"]), float(box["y"])
    right, bottom = left + float(box["width"]), top + float(box["height"])
    return max(0, math.floor(left)), max(0, math.floor(top)), math.ceil(right), math.ceil(bottom)


def box_mask(boxes: Boxes, size: tuple[int, int]) -> torch.Tensor:
    """White boxes on black.

    Args:
        boxes: From `boxes_of_frames`.
        size: (width, height) of the pictures that they lie on.

    Returns:
        float32 [1 or frames, height, width].
    """
    mask = torch.zeros(len(boxes), size[1], size[0])
    for frame, edges in zip(mask, boxes, strict=True):
        for left, top, right, bottom in edges:
            frame[top : max(top, bottom), left : max(left, right)] = 1
    return mask
