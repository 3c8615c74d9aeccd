"""The outline of a thing that words name: from where they are seen, on to the edges that the picture shows.

Cross-attention says where a thing is, in coarse cells; the picture says where it ends.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from .mask_pictures import touched_cells
from .word_masks import AUTOMATIC, automatic_thresholds

LOWEST = 0.5  # of automatic thresholds: of the hottest place's heat, the thing has more
SURE = 0.7  # of the way from the threshold to the hottest place: from here on it is the thing
OUTSIDE = 0.5  # times the threshold: below, it is not
FINER = 2  # times the latent's cells, between which edges run
ROUNDS = 4  # in which the colours of thing and ground, and the cut between them, are found in turn
FOUND, GROWN = 0.25, 1.6  # shares of the words' own mask: what covers less of it, or has more cells, is not the thing


def outlined(heat: torch.Tensor, latent: torch.Tensor, threshold: float = AUTOMATIC) -> torch.Tensor:
    """Masks that end where the picture has edges, each frame by itself.

    By GrabCut (Rother et al. 2004) on the latent's three principal components. Where the heat is high it is the thing,
    where it is low it is not, and between them colours decide. Where the result has nothing to do with the words' own
    mask, that mask stays.

    Args:
        heat: How strongly each place belongs to the words, [n, h, w] of 0..1.
        latent: The clip's, [n, c, h, w].
        threshold: tau of the words' own mask, 0..1, or AUTOMATIC.

    Returns:
        float32 [n, h, w] of 0 and 1; cells that the thing touches belong to it whole.
    """
    size = heat.shape[-2:]
    finer = {"scale_factor": FINER, "mode": "bilinear", "align_corners": False}
    heat = F.interpolate(heat.float().cpu()[:, None], **finer)[:, 0]
    automatic = threshold == AUTOMATIC
    taus = automatic_thresholds(heat).clamp_min(LOWEST) if automatic else torch.full((len(heat), 1, 1), threshold)
    # In a thread of its own, since OpenCV draws its random numbers from the thread's: a caller's stay as they were.
    with ThreadPoolExecutor(1) as thread:
        masks = [
            thread.submit(_outlined_frame, *frame).result()
            for frame in zip(heat.numpy(), taus.flatten().tolist(), map(principal_colors, latent))
        ]
    return touched_cells(torch.from_numpy(np.stack(masks)).float(), (size[0], size[1]))


def principal_colors(latent: torch.Tensor) -> np.ndarray:
    """One frame's latent [c, h, w] as a picture, uint8 [FINER h, FINER w, 3], of its three principal components."""
    values = latent.float().cpu().movedim(0, -1)
    mean = values.mean(dim=(0, 1))
    flat = (values - mean).flatten(0, 1)
    axes = torch.linalg.eigh(flat.T @ flat).eigenvectors[:, -3:]
    finer = F.interpolate(latent.float().cpu()[None], scale_factor=FINER, mode="bicubic")[0].movedim(0, -1)
    colors = ((finer - mean) @ axes).numpy()
    low, high = (np.quantile(colors, share, axis=(0, 1)) for share in (0.005, 0.995))
    scale = 255 / max(float((high - low).max()), 1e-6)
    return ((colors - low) * scale).round().clip(0, 255).astype(np.uint8)


def _outlined_frame(heat: np.ndarray, tau: float, picture: np.ndarray) -> np.ndarray:
    """One frame's mask, bool [h, w]; heat [h, w], picture uint8 [h, w, 3]."""
    import cv2

    throw_exception_if_processing_interrupted()
    own = heat > tau
    sure, ground = heat > tau + SURE * (1 - tau), heat < OUTSIDE * tau
    if not own.any() or not ground.any():
        return own
    guess = np.where(own, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[sure], guess[ground] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, guess, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    thing = (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)
    thing = _parts_with(sure, thing)
    is_found = (thing & own).sum() > FOUND * own.sum() and thing.sum() < GROWN * own.sum()
    return thing if is_found else own


def _parts_with(places: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of a mask, bool [h, w], the connected parts that hold some of other places, [h, w]."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return mask & np.isin(labels, labels[places & mask])


def filled(mask: torch.Tensor) -> torch.Tensor:
    """The convex hull of each connected part of masks [n, h, w] of 0 and 1: the room that a thing's shape leaves to
    another; float32 [n, h, w].

    >>> filled(torch.tensor([[[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]]))
    tensor([[[1., 1., 1.],
             [1., 1., 1.]]])
    """
    import cv2

    hulls = np.zeros(mask.shape, np.uint8)
    for hull, frame in zip(hulls, mask.cpu().numpy().astype(np.uint8)):
        for part in cv2.findContours(frame, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            cv2.fillConvexPoly(hull, cv2.convexHull(part), 1)
    return torch.from_numpy(hulls).float()
