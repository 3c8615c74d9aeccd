"""How a ground moves, whatever else goes by there; read from the clip's latent.

Every second place is followed by itself (optical flow, Lucas and Kanade 1981), and most of them agree on a shift, a
turn and another size (RANSAC, Fischler and Bolles 1981). A ground that shows no motion stands still.
"""

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from .looks import FINER, SMALLEST, commonest_pattern, finer
from .motion import SQUARE, Motion, along_steps

AROUND = np.ones((12 * FINER + 1, 12 * FINER + 1), np.uint8)  # six cells of the latent to each side
FLOW, FLAT = (9, 9), 1e-3  # finer cells that are followed together; how little contrast in them shows no motion
NEAR, MANY = 0.5, 0.3  # finer cells between places that move alike, and the share of all that must


def ground_motion(latent: torch.Tensor, mask: torch.Tensor) -> Motion:
    """How the ground in a mask moves.

    Args:
        latent: The clip's, [n, c, h, w].
        mask: Where the ground is, [n, h, w] of 0..1.

    Returns:
        The ground's motion.
    """
    import cv2

    return _motion_of(latent, [cv2.erode(frame, SQUARE) for frame in _bytes(mask)])  # free of what moves before it


def surrounding_motion(
    latent: torch.Tensor, room: torch.Tensor, other_rooms: torch.Tensor
) -> tuple[Motion, torch.Tensor]:
    """How the ground around a thing moves, near it.

    Args:
        latent: The clip's, [n, c, h, w].
        room: Where the thing is, [n, h, w] of 0..1.
        other_rooms: Where others are, likewise.

    Returns:
        The ground's motion; and where it was looked for, [n, h, w] of 0..1.
    """
    import cv2

    rooms, others = map(_bytes, (room, other_rooms))
    near = [
        cv2.subtract(cv2.dilate(here, AROUND), cv2.dilate(here | there, SQUARE)) for here, there in zip(rooms, others)
    ]
    places = torch.from_numpy(np.stack(near))
    return _motion_of(latent, near), F.avg_pool2d(places[:, None].float(), FINER)[:, 0]


def _bytes(mask: torch.Tensor) -> np.ndarray:
    """A mask [n, h, w] on finer cells, as OpenCV takes it."""
    return finer(mask).numpy().astype(np.uint8)


def _motion_of(latent: torch.Tensor, ground: list[np.ndarray]) -> Motion:
    """How a clip's latent moves in what is the ground of each frame, uint8 [FINER h, FINER w]."""
    patterns = commonest_pattern(latent, torch.from_numpy(np.stack(ground)) > 0)
    pictures = [(127 + 31 * pattern).astype(np.uint8) for pattern in patterns]
    steps = []
    for before, picture, seen in zip(pictures, pictures[1:], ground[1:]):
        throw_exception_if_processing_interrupted()
        steps.append(_ground_back(before, picture, seen))
    return along_steps(steps)


def _ground_back(before, picture, seen) -> np.ndarray:
    """From finer cells of a picture to those of the one before, [3, 3]; uint8 [h, w], seen: where the ground is."""
    import cv2

    seen = seen.copy()
    seen[::2, ::2] = seen[1::2, 1::2] = 0
    points = np.ascontiguousarray(np.argwhere(seen)[:, None, ::-1], np.float32)
    if len(points) < SMALLEST:
        return np.eye(3)
    found, is_found, _ = cv2.calcOpticalFlowPyrLK(
        picture, before, points, np.zeros_like(points), winSize=FLOW, minEigThreshold=FLAT
    )
    points, found = points[is_found > 0], found[is_found > 0]
    if len(points) < SMALLEST:
        return np.eye(3)
    way, agree = cv2.estimateAffinePartial2D(points, found, method=cv2.RANSAC, ransacReprojThreshold=NEAR)
    return np.eye(3) if way is None or agree.sum() < MANY * seen.sum() else np.vstack([way, [0, 0, 1]])
