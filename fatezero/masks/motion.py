"""How what a mask holds moves from frame to frame, as a whole, read from the clip's latent.

Where a thing goes, another in its place goes too, also where that reaches beyond it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from .looks import FINER, SMALLEST, finer, standing_out

ALIKE = 0.8  # correlation of two frames of a thing; below, it is hidden, or another
FREER = 0.8  # a turn, or another size, is believed where it leaves less than this share of what a shift leaves unlike
SIMILAR = -1  # beside OpenCV's kinds of motion: a shift, a turn and another size
BLUR = 3  # finer cells: width of the blur of pictures that are compared
SQUARE = np.ones((2 * FINER + 1, 2 * FINER + 1), np.uint8)  # a cell of the latent to each side
FOLLOWED = 4  # parts of a mask, the largest
ROUNDS, CLOSE = 50, 1e-4  # when the search for a motion ends: after rounds, or at this gain of the correlation


class Motion(NamedTuple):
    """Where a thing is in each frame.

    poses: float64 [n, 3, 3], from the latent's cells (x, y, 1) of each frame to those of the first frame of its run;
    runs: of each frame the number of its run, the frames through which the thing could be followed; looks: how much
    each cell is the thing's, [n, h, w], about 0 to 1, or None where nothing tells.
    """

    poses: torch.Tensor
    runs: list[int]
    looks: torch.Tensor | None = None


def parts_of(mask: torch.Tensor) -> list[torch.Tensor]:
    """A mask by the things in it: what is connected within frames, and from each frame to the next.

    What touches nothing of the frame before goes on with the part that was seen last and is nowhere else, if there is
    one: a thing that moves by more than its size, comes back, or stands elsewhere after a cut.

    Args:
        mask: [n, h, w] of 0..1.

    Returns:
        Each part like the mask, 0 elsewhere; the largest first, at most FOLLOWED.

    >>> [part.flatten().tolist() for part in parts_of(torch.tensor([[[1.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]]))]
    [[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    import cv2

    frames = (mask > 0).cpu().numpy().astype(np.uint8)
    parts: list[np.ndarray] = []  # bool [n, h, w]
    for index, frame in enumerate(frames):
        count, labels = cv2.connectedComponents(frame)
        alone = []
        for piece in (labels == label for label in range(1, count)):
            before = [part for part in parts if index and (part[index - 1] & piece).any()]
            if not before:
                alone.append(piece)
                continue
            joined = np.logical_or.reduce(before)
            joined[index] |= piece
            parts = [part for part in parts if not any(part is other for other in before)] + [joined]
        for piece in alone:
            part = _seen_last(parts, index, piece)
            if part is None:
                parts.append(part := np.zeros(frames.shape, bool))
            part[index] = piece
    parts.sort(key=lambda part: -int(part.sum()))
    return [mask * torch.from_numpy(part).to(mask) for part in parts[:FOLLOWED]]


def _seen_last(parts: list[np.ndarray], index: int, piece: np.ndarray) -> np.ndarray | None:
    """Of parts, bool [n, h, w], the one that was seen last and is not in a frame; of several the nearest to a piece of
    that frame, bool [h, w]."""
    gone = [part for part in parts if not part[index].any()]
    for before in range(index - 1, -1, -1):
        near = {_distance(part[before], piece): part for part in gone if part[before].any()}
        if near:
            return near[min(near)]
    return None


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between the middles of two masks, bool [h, w]."""
    return float(np.linalg.norm(np.argwhere(one).mean(axis=0) - np.argwhere(other).mean(axis=0)))


def thing_motion(latent: torch.Tensor, mask: torch.Tensor) -> Motion:
    """How a thing moves, found frame by frame.

    Each frame's picture, in which the thing stands out from what is around it, is laid on that of the frame before by
    a shift, a turn and another size (Evangelidis and Psarakis 2008, enhanced correlation coefficient).

    Args:
        latent: The clip's, [n, c, h, w].
        mask: Where the thing is, [n, h, w] of 0..1.

    Returns:
        Its motion. Where two frames do not fit, a new run begins.
    """
    import cv2

    fine = finer(mask)
    pictures = standing_out(latent, fine)
    if pictures is None:
        return along_steps([None] * (len(latent) - 1))
    edges = [cv2.dilate(frame, SQUARE) for frame in fine.numpy().astype(np.uint8)]
    motion = along_steps(_steps_back(pictures, fine.numpy(), edges))
    return motion._replace(looks=F.avg_pool2d(torch.from_numpy(pictures)[:, None], FINER)[:, 0])


def _steps_back(pictures, masks, seen) -> Iterator[np.ndarray | None]:
    """Of each frame but the first, see `_back_a_frame`; pictures float32 [n, h, w], masks bool, seen uint8."""
    for pair, places, where in zip(zip(pictures, pictures[1:]), zip(masks, masks[1:]), seen):
        throw_exception_if_processing_interrupted()
        yield _back_a_frame(*pair, *places, where)


def _back_a_frame(before, picture, mask_before, mask, seen) -> np.ndarray | None:
    """From finer cells of a frame to those of the frame before, [3, 3]; None where they do not fit. Pictures float32
    [h, w], masks bool; seen: where the frame before is compared, uint8 [h, w]."""
    import cv2

    if min(mask_before.sum(), mask.sum(), seen.sum()) < SMALLEST:
        return None
    middle_before, middle = (np.argwhere(places).mean(axis=0)[::-1] for places in (mask_before, mask))
    shift = np.hstack([np.eye(2), (middle_before - middle)[:, None]]).astype(np.float32)
    best, way = -1.0, shift
    for kind in (cv2.MOTION_TRANSLATION, cv2.MOTION_EUCLIDEAN, SIMILAR):  # freer and freer
        try:
            fit, freer = _fit(before, picture, way if kind == SIMILAR else shift, seen, middle, kind)
        except cv2.error:  # it has gone astray
            continue
        if fit > best and (best < ALIKE or 1 - fit < FREER * (1 - best)):
            best, way = fit, freer
    return np.vstack([way, [0, 0, 1]]).astype(np.float64) if best >= ALIKE else None


def _fit(before, picture, start, seen, middle, kind: int) -> tuple[float, np.ndarray]:
    """How well a motion [2, 3] of a kind lays the frame before on a picture, and that motion; start: where the search
    begins, middle: the thing's in the picture, other arguments as of `_back_a_frame`."""
    import cv2

    end = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ROUNDS, CLOSE
    searched = cv2.MOTION_AFFINE if kind == SIMILAR else kind
    fit, way = cv2.findTransformECC(picture, before, start.copy(), searched, end, seen, BLUR)
    if kind != SIMILAR:
        return fit, way
    along, across = (way[0, 0] + way[1, 1]) / 2, (way[1, 0] - way[0, 1]) / 2  # the nearest without shear
    turn = np.array([[along, -across], [across, along]])
    way = np.hstack([turn, (way[:, :2] @ middle + way[:, 2] - turn @ middle)[:, None]]).astype(np.float32)
    picture, before = (cv2.GaussianBlur(each, (BLUR, BLUR), 0) for each in (picture, before))
    laid, where = (
        cv2.warpAffine(each, way, each.shape[::-1], flags=flags | cv2.WARP_INVERSE_MAP)
        for each, flags in ((before, cv2.INTER_LINEAR), (seen, cv2.INTER_NEAREST))
    )
    return cv2.computeECC(picture, laid, where), way


def along_steps(steps: Iterable[np.ndarray | None]) -> Motion:
    """The motion of steps, each from finer cells of a frame to those of the frame before, or None."""
    poses, runs = [np.eye(3)], [0]
    for step in steps:
        poses.append(np.eye(3) if step is None else poses[-1] @ step)
        runs.append(runs[-1] + (step is None))
    return Motion(_in_cells(np.stack(poses)), runs)


def _in_cells(poses: np.ndarray) -> torch.Tensor:
    """Poses of finer cells [n, 3, 3] as those of the latent's; a cell's middle lies at whole numbers."""
    scale, offset = FINER, (FINER - 1) / 2
    finer = np.array([[scale, 0, offset], [0, scale, offset], [0, 0, 1]])
    return torch.from_numpy(np.linalg.inv(finer) @ poses @ finer)
