"""The outline of a thing that words name: from where they are seen, on to the edges that the picture shows.

Cross-attention says where a thing is, in coarse cells; the picture says where it ends.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from ..network.word_maps import OFFICIAL_CELLS
from ..prompts.prompt_edit import Place
from .looks import FINER
from .presence import in_sight
from .word_masks import AUTOMATIC, automatic_thresholds, words_heat, words_strength

LOWEST = 0.5  # of automatic thresholds: of the hottest place's heat, the thing has more
SURE = 0.7  # of the way from the threshold to the hottest place: from here on it is the thing
OUTSIDE = 0.5  # times the threshold: below, it is not
COLORS = 5  # of thing and ground each, as GrabCut has them; fewer places have no such colours
ROUNDS = 4  # in which the colours of thing and ground, and the cut between them, are found in turn
FOUND, GROWN = 0.25, 1.6  # shares of the words' own mask: what covers less of it, or has more cells, is not the thing


def outlines_of_things(
    word_maps: torch.Tensor,
    latent: torch.Tensor,
    things: list[tuple[Place, ...]],
    threshold: float = AUTOMATIC,
    cells: int = OFFICIAL_CELLS,
    frames: Sequence[int] | None = None,
) -> torch.Tensor:
    """The outline of each of several things.

    Args:
        word_maps: The source's, [n, T, h', w'].
        latent: The clip's, [n, c, h, w].
        things: Of each thing the places that its words have, of which it is where all are.
        threshold: As of `outlined`.
        cells: As of `words_heat`.
        frames: Whose outlines are asked for; None for all. All of them tell where a thing is in sight.

    Returns:
        float32 [things, frames, FINER h, FINER w] of 0 and 1; with no things, one that is empty.
    """
    chosen: slice | list[int] = slice(None) if frames is None else list(frames)
    heats = [_heat(word_maps, latent, places, threshold, cells)[chosen] for places in things]
    heats = heats or [torch.zeros(latent.shape[0], *latent.shape[-2:])[chosen]]
    return torch.stack([outlined(heat, latent[chosen], threshold) for heat in heats])


def outline_together(
    word_maps: torch.Tensor,
    latent: torch.Tensor,
    things: list[tuple[int, ...]],
    threshold: float = AUTOMATIC,
    cells: int = OFFICIAL_CELLS,
    frames: Sequence[int] | None = None,
) -> torch.Tensor:
    """The outline of several things as one, so that things of one colour are no ground of each other.

    Nothing is taken off for the ground's own words: where they are seen strongly, the thing would be lost.

    Args:
        word_maps, latent, threshold, cells, frames: As of `outlines_of_things`.
        things: Of each the tokens that show it; at least one.

    Returns:
        float32 [n, FINER h, FINER w] of 0 and 1.
    """
    chosen: slice | list[int] = slice(None) if frames is None else list(frames)
    heats = [_heat(word_maps, latent, (Place(tokens),), threshold, cells)[chosen] for tokens in things]
    return outlined(torch.stack(heats).amax(dim=0), latent[chosen], threshold)


def _heat(
    word_maps: torch.Tensor, latent: torch.Tensor, places: tuple[Place, ...], threshold: float, cells: int
) -> torch.Tensor:
    """Where a thing is that all of the places show, [n, h, w] of 0..1; 0 where it is out of sight, unless a person
    set the threshold. Arguments as of `outlines_of_things`."""
    size = (latent.shape[-2], latent.shape[-1])
    heat = geometric_mean([words_heat(word_maps, place.tokens, size, cells, place.without).cpu() for place in places])
    if threshold != AUTOMATIC:
        return heat
    strengths = [words_strength(word_maps, place.tokens, place.without).cpu() for place in places]
    return heat * in_sight(heat, torch.stack(strengths).log().mean(dim=0).exp(), latent)[:, None, None]


def geometric_mean(heats: list[torch.Tensor]) -> torch.Tensor:
    """Of heats [n, h, w] of 0..1, what all of them have; the maximum of each frame is 1 again, unless all is 0."""
    mean = torch.stack(heats).log().mean(dim=0).exp()
    return mean / mean.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)


def outlined(heat: torch.Tensor, latent: torch.Tensor, threshold: float = AUTOMATIC) -> torch.Tensor:
    """Masks that end where the picture has edges, each frame by itself.

    By GrabCut (Rother et al. 2004) on the latent's three principal components. Where the heat is high it is the thing,
    where it is low it is not, and between them colours decide. Where the result has nothing to do with the words' own
    mask, that mask stays. Of both only the parts are taken in which the heat is high somewhere.

    Args:
        heat: How strongly each place belongs to the words, [n, h, w] of 0..1.
        latent: The clip's, [n, c, h, w].
        threshold: tau of the words' own mask, 0..1, or AUTOMATIC.

    Returns:
        float32 [n, FINER h, FINER w] of 0 and 1.
    """
    heat = F.interpolate(heat.float().cpu()[:, None], scale_factor=FINER, mode="bilinear", align_corners=False)[:, 0]
    automatic = threshold == AUTOMATIC
    taus = automatic_thresholds(heat).clamp_min(LOWEST) if automatic else torch.full((len(heat), 1, 1), threshold)
    # In a thread of its own, since OpenCV draws its random numbers from the thread's: a caller's stay as they were.
    with ThreadPoolExecutor(1) as thread:
        masks = [
            thread.submit(_outlined_frame, *frame).result()
            for frame in zip(heat.numpy(), taus.flatten().tolist(), map(principal_colors, latent))
        ]
    return torch.from_numpy(np.stack(masks)).float()


def principal_colors(latent: torch.Tensor) -> np.ndarray:
    """One frame's latent [c, h, w] as a picture, uint8 [FINER h, FINER w, 3], of its three principal components."""
    latent = latent.float().cpu().nan_to_num(posinf=0, neginf=0)  # a clip that overflowed has no colours, and no edges
    values = latent.movedim(0, -1)
    mean = values.mean(dim=(0, 1))
    flat = (values - mean).flatten(0, 1)
    axes = torch.linalg.eigh(flat.T @ flat).eigenvectors[:, -3:]
    finer = F.interpolate(latent[None], scale_factor=FINER, mode="bicubic")[0].movedim(0, -1)
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
    if min(own.sum(), ground.sum()) < COLORS:
        return own
    guess = np.where(own, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[sure], guess[ground] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 13 * COLORS)), np.zeros((1, 13 * COLORS))
    cv2.grabCut(picture, guess, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)  # of a rectangle nothing is read
    thing = (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)
    thing = _parts_with(sure, thing)
    is_found = (thing & own).sum() > FOUND * own.sum() and thing.sum() < GROWN * own.sum()
    return thing if is_found else _parts_with(sure, own)  # the thing beside, of its colour, is seen less surely


def _parts_with(places: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of a mask, bool [h, w], the connected parts that hold some of other places, [h, w]."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return mask & np.isin(labels, labels[places & mask])


def filled(mask: torch.Tensor) -> torch.Tensor:
    """The convex hull of each connected part of masks [n, h, w] of 0 and 1: the room of a thing that keeps its shape;
    float32 [n, h, w].

    >>> filled(torch.tensor([[[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]]))
    tensor([[[1., 1., 1.],
             [1., 1., 1.]]])
    """
    import cv2

    hulls = np.zeros(mask.shape, np.uint8)
    for hull, part in _parts(hulls, mask):
        cv2.fillConvexPoly(hull, cv2.convexHull(part), 1)
    return torch.from_numpy(hulls).float()


def rounded(mask: torch.Tensor) -> torch.Tensor:
    """The hull of each connected part, and the ellipse within the smallest box around it: the room of another shape,
    which a triangle's hull would cut; float32 [n, h, w].

    Args:
        mask: Things, [n, h, w] of 0 and 1.
    """
    import cv2

    ellipses = np.zeros(mask.shape, np.uint8)
    rows, columns = np.indices(mask.shape[-2:])
    for ellipse, part in _parts(ellipses, mask):
        (x, y), sides, degrees = cv2.minAreaRect(part)
        along, across = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        offset = np.stack([columns - x, rows - y])
        turned = np.stack([along * offset[0] + across * offset[1], along * offset[1] - across * offset[0]])
        radii = (np.array(sides) + 1) / 2  # a cell reaches half its width beyond its centre
        ellipse |= ((turned / radii[:, None, None]) ** 2).sum(axis=0) <= 1
    return torch.maximum(torch.from_numpy(ellipses).float(), filled(mask))


def _parts(pictures: np.ndarray, mask: torch.Tensor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each connected part of masks [n, h, w] its frame in pictures [n, h, w], and its contour."""
    import cv2

    for picture, frame in zip(pictures, mask.cpu().numpy().astype(np.uint8)):
        for part in cv2.findContours(frame, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            yield picture, part
