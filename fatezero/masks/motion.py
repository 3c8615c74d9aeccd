"""How what a mask holds moves from frame to frame, as a whole, by a turn and a shift, read from the clip's latent.

Where a thing goes, another in its place goes too, also where that reaches beyond it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from .outlines import FINER

AROUND = 4  # finer cells around a mask, from which the ground's colours are taken
SMALLEST = 8  # finer cells: less of a thing tells no motion
ALIKE = 0.8  # correlation of two frames of a thing; below, it is hidden, or another
GROUND_ALIKE = 0.5  # of two frames of a ground, whose pattern is weak
TURNED = 0.8  # a turn is believed where it leaves less than this share of what a shift leaves unlike
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
        for label in range(1, count):
            piece = labels == label
            before = [part for part in parts if index and (part[index - 1] & piece).any()]
            joined = np.zeros(frames.shape, bool) if not before else np.logical_or.reduce(before)
            joined[index] |= piece
            parts = [part for part in parts if not any(part is other for other in before)] + [joined]
    parts.sort(key=lambda part: -int(part.sum()))
    return [mask * torch.from_numpy(part).to(mask) for part in parts[:FOLLOWED]]


def thing_motion(latent: torch.Tensor, mask: torch.Tensor) -> Motion:
    """How a thing moves, found frame by frame.

    Each frame's picture, in which the thing stands out from what is around it, is laid on that of the frame before by
    a shift and a turn (Evangelidis and Psarakis 2008, enhanced correlation coefficient).

    Args:
        latent: The clip's, [n, c, h, w].
        mask: Where the thing is, [n, h, w] of 0..1.

    Returns:
        Its motion. Where two frames do not fit, a new run begins.
    """
    import cv2

    fine = _finer(mask)
    pictures = standing_out(latent, fine)
    if pictures is None:
        return _along([None] * (len(latent) - 1))
    edges = [cv2.dilate(frame, SQUARE) for frame in fine.numpy().astype(np.uint8)]
    motion = _along(_steps_back(pictures, fine.numpy(), edges[:-1], ALIKE, cv2.MOTION_EUCLIDEAN))
    return motion._replace(looks=F.avg_pool2d(torch.from_numpy(pictures)[:, None], FINER)[:, 0])


def ground_motion(latent: torch.Tensor, mask: torch.Tensor) -> Motion:
    """How the ground in a mask moves, by its strongest pattern, also nearer or away; arguments and result as of
    `thing_motion`. Where that shows no motion, it stands still."""
    import cv2

    fine = _finer(mask)
    free = [cv2.erode(frame, SQUARE) for frame in fine.numpy().astype(np.uint8)]  # of what moves before it
    both = [cv2.bitwise_and(before, frame) for before, frame in zip(free, free[1:])]
    steps = _steps_back(strongest_pattern(latent, fine), fine.numpy(), both, GROUND_ALIKE, cv2.MOTION_AFFINE)
    return _along(np.eye(3) if step is None else step for step in steps)


def standing_out(latent: torch.Tensor, mask: torch.Tensor) -> np.ndarray | None:
    """The clip as pictures in which what a mask holds is light and what is around it dark (Fisher's discriminant).

    Args:
        latent: [n, c, h, w].
        mask: bool [n, FINER h, FINER w].

    Returns:
        float32 [n, FINER h, FINER w], about 0..1; None where there is too little inside, or around.
    """
    colors = _finer_colors(latent)
    wide = F.max_pool2d(mask[:, None].float(), 2 * AROUND + 1, stride=1, padding=AROUND)[:, 0] > 0.5
    thing, ground = colors[mask], colors[wide & ~mask]
    if min(len(thing), len(ground)) < SMALLEST:
        return None
    spread = torch.cov(thing.T) + torch.cov(ground.T)
    spread += (1e-3 * spread.trace() + 1e-12) * torch.eye(len(spread))
    light = colors @ torch.linalg.solve(spread, thing.mean(dim=0) - ground.mean(dim=0))
    low, high = light[wide & ~mask].mean(), light[mask].mean()
    return ((light - low) / (high - low).clamp_min(1e-6)).clamp(-1, 2).numpy()


def strongest_pattern(latent: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """The clip by the first principal component of what a mask holds, of mean 0 and deviation 1; arguments and result
    as of `standing_out`."""
    colors = _finer_colors(latent)
    ground = colors[mask]
    if len(ground) < SMALLEST:
        ground = colors.flatten(0, 2)
    spread, axes = torch.linalg.eigh(torch.cov(ground.T))
    light = (colors - ground.mean(dim=0)) @ axes[:, -1]
    return (light / spread[-1].clamp_min(1e-12).sqrt()).clamp(-4, 4).numpy()


def _finer_colors(latent: torch.Tensor) -> torch.Tensor:
    """A latent [n, c, h, w] as [n, FINER h, FINER w, c], 0 where it overflowed."""
    latent = latent.float().cpu().nan_to_num(posinf=0, neginf=0)
    return F.interpolate(latent, scale_factor=FINER, mode="bicubic").movedim(1, -1)


def _finer(mask: torch.Tensor) -> torch.Tensor:
    return F.interpolate(mask.float().cpu()[:, None], scale_factor=FINER, mode="nearest")[:, 0] > 0.5


def _steps_back(pictures, masks, seen, alike: float, kind: int) -> Iterator[np.ndarray | None]:
    """Of each frame but the first, see `_back_a_frame`; pictures float32 [n, h, w], masks bool, seen uint8 [n - 1,
    h, w]."""
    for pair, places, where in zip(zip(pictures, pictures[1:]), zip(masks, masks[1:]), seen):
        throw_exception_if_processing_interrupted()
        yield _back_a_frame(*pair, *places, where, alike, kind)


def _back_a_frame(before, picture, mask_before, mask, seen, alike: float, kind: int) -> np.ndarray | None:
    """From finer cells of a frame to those of the frame before, [3, 3]; None where they do not fit. Pictures float32
    [h, w], masks bool; seen: where the frame before is compared, uint8 [h, w]; kind: OpenCV's, of the motion."""
    import cv2

    if min(mask_before.sum(), mask.sum(), seen.sum()) < SMALLEST:
        return None
    shift = np.eye(2, 3, dtype=np.float32)
    shift[:, 2] = (np.argwhere(mask_before).mean(axis=0) - np.argwhere(mask).mean(axis=0))[::-1]
    fits = []
    for way in (cv2.MOTION_TRANSLATION, kind):
        end = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ROUNDS, CLOSE
        try:
            fits.append(cv2.findTransformECC(picture, before, shift.copy(), way, end, seen, 3))
        except cv2.error:  # it has gone astray
            continue
    fits = [fit for fit in fits if fit[0] >= alike]
    if not fits:
        return None
    turned = len(fits) > 1 and 1 - fits[1][0] < TURNED * (1 - fits[0][0])
    return np.vstack([fits[turned][1], [0, 0, 1]]).astype(np.float64)


def _along(steps: Iterable[np.ndarray | None]) -> Motion:
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
