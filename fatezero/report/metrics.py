"""Measures of an edited clip, as FateZero and Video-P2P report them.

Each is a value per frame, whose mean over the frames (`mean`) is the published measure, so that both can be looked at.
"""

import torch
import torch.nn.functional as F

HALF_LEVEL = 0.5 / 255


def mean(values: torch.Tensor) -> float:
    """The mean over the frames that have a value (are not NaN); NaN where none has."""
    return float(values.double().nanmean())


def change(before: torch.Tensor, after: torch.Tensor, region: torch.Tensor | None = None) -> torch.Tensor:
    """Mean absolute difference of the colours, sum w·|after - before| / sum w.

    Args:
        before: [n, H, W, 3] of 0..1.
        after: The same.
        region: w, [1 or n, H, W] of 0..1; None for the whole picture.

    Returns:
        A value for each frame, [n] of 0..1; NaN where the region is empty.

    Raises:
        ValueError: For sizes that differ and for numbers that are not finite.

    >>> change(torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), 0.5))
    tensor([0.5000])
    """
    check_clips(before, after, region)
    return _over_region(torch.abs, before, after, region)


def share_at_limit(images: torch.Tensor, region: torch.Tensor | None = None) -> float:
    """How many pixels have a channel at its brightest, or are black: where colours burn, they end there.

    Args:
        images: [n, H, W, 3] of 0..1.
        region: [n, H, W] of bool; None for the whole picture.

    Returns:
        0..1; 0 for an empty region.

    >>> share_at_limit(torch.tensor([[[[1.0, 0.2, 0.2], [0.5, 0.5, 0.5]]]]))
    0.5
    """
    ends = (images > 1 - HALF_LEVEL).any(dim=-1) | (images < HALF_LEVEL).all(dim=-1)
    ends = ends if region is None else ends[region]
    return float(ends.float().mean()) if ends.numel() else 0.0


def strongest_change(
    before: torch.Tensor, after: torch.Tensor, region: torch.Tensor | None = None, cell: int = 8, share: float = 0.05
) -> float:
    """How much the clip changed where it changed most: small things count, and the noise of a VAE does not.

    The difference of the colours is averaged in cells, its size over the channels taken, and averaged over those of
    the cells in the region (at least half inside) that changed most.

    Args:
        before: [n, H, W, 3] of 0..1.
        after: The same.
        region: [1 or n, H, W] of 0..1; None for the whole picture.
        cell: Side of a cell in pixels; 8 is a latent's.
        share: How many of the cells count, 0..1.

    Returns:
        0..1; NaN for an empty region.

    Raises:
        ValueError: As `change`.
    """
    check_clips(before, after, region)
    cells = []
    for index, difference in enumerate(_differences(before, after)):
        frame = None if region is None else region[index % len(region)]
        cells.append(inside_cells(cell_sizes(difference, cell), frame, cell))
    return mean_of_most(torch.cat(cells), share)


def cell_sizes(difference: torch.Tensor, cell: int = 8) -> torch.Tensor:
    """The size over the channels of a difference [H, W, 3] that is averaged in cells; [H / cell, W / cell]."""
    return F.avg_pool2d(difference.movedim(-1, 0), min(cell, *difference.shape[:2])).abs().mean(dim=0)


def inside_cells(cells: torch.Tensor, region: torch.Tensor | None, cell: int = 8) -> torch.Tensor:
    """Those of a frame's cells [h, w] that are at least half in a region [H, W]; [k]. All where it is None."""
    if region is None:
        return cells.flatten()
    return cells[F.avg_pool2d(region[None].to(cells), min(cell, *region.shape))[0] >= 0.5]


def mean_of_most(values: torch.Tensor, share: float) -> float:
    """The mean of the greatest of some values [k], a share of them and at least one; NaN where there are none.

    >>> mean_of_most(torch.tensor([1.0, 2.0, 4.0, 6.0]), 0.5)
    5.0
    """
    return float(values.topk(max(1, round(share * len(values)))).values.mean()) if len(values) else float("nan")


def psnr(before: torch.Tensor, after: torch.Tensor, region: torch.Tensor | None = None) -> torch.Tensor:
    """Peak signal-to-noise ratio, -10 log10(sum w·(after - before)² / sum w).

    Over the region outside an edit this is Video-P2P's masked PSNR (authors' eq. 14: of the regions that should stay).

    Args:
        before: [n, H, W, 3] of 0..1.
        after: The same.
        region: w, [1 or n, H, W] of 0..1; None for the whole picture.

    Returns:
        A value for each frame, [n] in dB; infinite where nothing differs, NaN where the region is empty.

    Raises:
        ValueError: As `change`.

    >>> psnr(torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), 0.5))
    tensor([6.0206])
    """
    check_clips(before, after, region)
    return -10 * torch.log10(_over_region(torch.square, before, after, region))


def clip_score(images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Cosine of each frame's CLIP embedding and a prompt's, e_i·t / (|e_i||t|), per frame; [n] of -1..1.

    images: [n, d]; text: [d]. Video-P2P's CLIP score, averaged over the frames; some papers print it times 100.
    Raises ValueError for other shapes and for numbers that are not finite.

    >>> clip_score(torch.tensor([[2., 0], [0, 1]]), torch.tensor([1., 0]))
    tensor([1., 0.])
    """
    _check_embeddings(images)
    _check_embeddings(text[None], images.shape[1])
    return F.cosine_similarity(images.float(), text.float()[None], dim=-1)


def temporal_consistency(images: torch.Tensor) -> torch.Tensor:
    """Cosine of the CLIP embeddings of neighbouring frames, cos(e_i, e_(i+1)); [n - 1] of -1..1.

    images: [n, d]; empty for one frame. Its mean is FateZero's Tem-Con (there with ViT-B/32). Errors as `clip_score`.

    >>> temporal_consistency(torch.tensor([[2., 0], [1, 0], [0, 1]]))
    tensor([1., 0.])
    """
    _check_embeddings(images)
    return F.cosine_similarity(images[1:].float(), images[:-1].float(), dim=-1)


def frame_accuracy(images: torch.Tensor, source_text: torch.Tensor, target_text: torch.Tensor) -> torch.Tensor:
    """Which frames are at least as near to the target prompt as to the source prompt.

    The mean is FateZero's Frame-Acc; as in its code a tie counts.

    Args:
        images: The frames' embeddings, [n, d].
        source_text: The source prompt's, [d].
        target_text: The target prompt's, [d].

    Returns:
        1 or 0 for each frame, float32 [n].

    Raises:
        ValueError: As `clip_score`.

    >>> frame_accuracy(torch.tensor([[2., 1], [1, 2]]), torch.tensor([1., 0]), torch.tensor([0., 1]))
    tensor([0., 1.])
    """
    return (clip_score(images, target_text) >= clip_score(images, source_text)).float()


def object_semantic_variance(features: torch.Tensor) -> float:
    """Variance of the edited object's features over the frames, summed over the channels; 0 is a steady object.

    OSV = sum_c 1/n sum_i (f_ic - mean_c)². features: [n, d], one row per frame. Source: Video-P2P (authors' eq. 15).
    They do not name the network; with features of length 1, as the Edit Report takes them, 1 - |mean|² of 0..1.
    Raises ValueError as `clip_score`.

    >>> object_semantic_variance(torch.tensor([[1., 0], [-1, 0]]))
    1.0
    """
    _check_embeddings(features)
    return float(features.double().var(dim=0, correction=0).sum())


def object_pictures(images: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """The masked object of each frame, cut out square on grey: (pictures [k, S, S, 3], the frames they are of).

    images: [n, H, W, 3] of 0..1; mask: [1 or n, H, W] of 0..1. Frames with an empty mask are left out. Each object is
    scaled to the same size S, the longest side of all their bounds, so that only what it shows matters.
    """
    mask = mask.to(images).expand(images.shape[:3])
    boxes = {index: _bounds(frame) for index, frame in enumerate(mask) if (frame > 0.5).any()}
    side = max((stop - start for box in boxes.values() for start, stop in box), default=1)
    pictures = [_cut_out(images[index], mask[index], box, side) for index, box in boxes.items()]
    return torch.stack(pictures) if pictures else images.new_zeros(0, 1, 1, 3), list(boxes)


def _bounds(mask: torch.Tensor) -> list[tuple[int, int]]:
    """(start, stop) of the rows and of the columns of a mask's inside."""
    places = (mask > 0.5).nonzero()
    return list(zip(places.amin(dim=0).tolist(), (places.amax(dim=0) + 1).tolist()))


def _cut_out(image: torch.Tensor, mask: torch.Tensor, box, side: int) -> torch.Tensor:
    (top, bottom), (left, right) = box
    weight = mask[top:bottom, left:right, None]
    picture = image[top:bottom, left:right, :3] * weight + 0.5 * (1 - weight)
    spare = (bottom - top) - (right - left)  # how much higher than wide
    before, after = abs(spare) // 2, abs(spare) - abs(spare) // 2
    padding = (0, 0, before, after, 0, 0) if spare > 0 else (0, 0, 0, 0, before, after)
    picture = F.pad(picture, padding, value=0.5).movedim(-1, 0)[None]
    return F.interpolate(picture, (side, side), mode="bilinear", antialias=True)[0].movedim(0, -1)


def _differences(before: torch.Tensor, after: torch.Tensor):
    """after - before, one frame at a time: a long clip has no room for copies of it."""
    return (new.float() - old.float() for old, new in zip(before, after))


def _over_region(size, before: torch.Tensor, after: torch.Tensor, region: torch.Tensor | None) -> torch.Tensor:
    """The size of the difference, averaged over the channels and over a region, per frame; [n]."""
    values = []
    for index, difference in enumerate(_differences(before, after)):
        difference = size(difference).mean(dim=-1)
        weight = torch.ones_like(difference) if region is None else region[index % len(region)].to(difference)
        values.append((difference * weight).sum() / weight.sum())
    return torch.stack(values)


def check_clips(before: torch.Tensor, after: torch.Tensor, region: torch.Tensor | None) -> None:
    """Raises a ValueError for clips that differ in shape, a region of another, and numbers that are not finite."""
    if before.shape != after.shape or before.ndim != 4:
        raise ValueError(
            f"The clips to compare have the shapes {list(before.shape)} and {list(after.shape)}; they "
            "must be alike, [frames, height, width, 3]."
        )
    if region is not None and (region.shape[1:] != before.shape[1:3] or len(region) not in (1, len(before))):
        raise ValueError(
            f"The region has the shape {list(region.shape)} but the clip {list(before.shape)}; expected "
            "[frames or 1, height, width]."
        )
    for clip in (before, after) if region is None else (before, after, region):
        if not all(torch.isfinite(frame).all() for frame in clip):
            raise ValueError(
                "A clip or region to compare holds NaN or infinite values; only finite numbers can be measured."
            )


def _check_embeddings(embeddings: torch.Tensor, width: int | None = None) -> None:
    if embeddings.ndim != 2 or len(embeddings) == 0 or width not in (None, embeddings.shape[1]):
        raise ValueError(
            f"The embeddings have the shape {list(embeddings.shape)}; expected one row of "
            f"{width or 'equally many'} numbers for each frame."
        )
    if not torch.isfinite(embeddings).all():
        raise ValueError("The embeddings hold NaN or infinite values; only finite numbers can be measured.")
