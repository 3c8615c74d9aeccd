"""What an edit did to a clip in numbers: measured frame by frame, and as curves."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ..prompts.prompt_edit import PromptEdit
from . import metrics
from .clip_embeddings import comparison_problem, image_embeddings, text_embeddings
from .lpips_distance import lpips_distance, lpips_problem
from .plots import Panel
from .visible_change import VisibleChange, visible_change

VISIBLE_CHANGE = 40 / 255  # of a pixel; the noise of a VAE is less


class OutsideMask(NamedTuple):
    """What concerns the mask, per frame [n]: the share of the picture that it covers, and what changed where it is 0
    (NaN where it is nowhere)."""

    share: torch.Tensor
    change: torch.Tensor
    psnr: torch.Tensor


class PromptScores(NamedTuple):
    """CLIP scores of the clip after and before the edit with both prompts, and Frame-Acc; per frame [n]."""

    target: torch.Tensor
    target_before: torch.Tensor
    source: torch.Tensor
    source_before: torch.Tensor
    frame_accuracy: torch.Tensor


class AtLimit(NamedTuple):
    """The shares of pixels whose colour is at its limit, 0..1: in the clip before and after, and of what changed."""

    before: float
    after: float
    changed: float


class BothClips(NamedTuple):
    """A measure of the clip after the edit, and the same of the clip before it."""

    after: torch.Tensor
    before: torch.Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """The measures of an edit; tensors hold a value per frame, 0..1 or dB as in `metrics`, None what was not measured.

    Attributes:
        size: (frames, height, width).
        strongest_change: How much the clip changed where it changed most.
        visible: What shows in each frame.
        change_inside, psnr_inside: Against the clip before, inside the mask; without a mask, of the whole picture.
        at_limit: How many pixels are as bright or dark as can be.
        outside: What concerns the mask.
        lpips: LPIPS to the clip before.
        scores: How the frames fit the prompts.
        neighbours: Tem-Con.
        object_variance: Object Semantic Variance, one number for each clip.
        left_out: Why what is None is.
    """

    size: tuple[int, int, int]
    strongest_change: float
    visible: VisibleChange
    change_inside: torch.Tensor
    psnr_inside: torch.Tensor
    at_limit: AtLimit
    outside: OutsideMask | None = None
    lpips: torch.Tensor | None = None
    scores: PromptScores | None = None
    neighbours: BothClips | None = None
    object_variance: BothClips | None = None
    left_out: tuple[str, ...] = ()


def measure(
    before: torch.Tensor,
    after: torch.Tensor,
    mask: torch.Tensor | None = None,
    edit: PromptEdit | None = None,
    clip: Any = None,
    clip_vision: Any = None,
) -> Measured:
    """Measures an edit with what there is.

    Args:
        before: The clip before the edit, [n, H, W, 3] of 0..1.
        after: The clip after it, of the same shape.
        mask: Where the edit was wanted, [1 or n, H, W] of 0..1.
        edit: For its prompts.
        clip: ComfyUI's CLIP, trained together with `clip_vision`.
        clip_vision: ComfyUI's CLIP_VISION.

    Returns:
        The measures, and why some are left out.

    Raises:
        Refusal: For a file of LPIPS that holds something else.
    """
    left_out: list[str] = []
    lpips = _lpips(before, after, left_out)
    seen = _seen_by_clip(BothClips(after, before), mask, edit, clip, clip_vision, left_out)
    frames, height, width = before.shape[:3]
    return Measured(
        size=(frames, height, width),
        strongest_change=metrics.strongest_change(before, after, mask),
        visible=visible_change(before, after, mask),
        change_inside=metrics.change(before, after, mask).cpu(),
        psnr_inside=metrics.psnr(before, after, mask).cpu(),
        at_limit=_at_limit(before, after),
        outside=None if mask is None else _outside(before, after, mask.to(before.device)),
        lpips=lpips,
        scores=seen.scores,
        neighbours=seen.neighbours,
        object_variance=seen.object_variance,
        left_out=tuple(left_out),
    )


def _at_limit(before: torch.Tensor, after: torch.Tensor) -> AtLimit:
    changed = (after - before).abs().mean(dim=-1) > VISIBLE_CHANGE
    shares = metrics.share_at_limit(before), metrics.share_at_limit(after), metrics.share_at_limit(after, changed)
    return AtLimit(*shares)


class _SeenByClip(NamedTuple):
    scores: PromptScores | None = None
    neighbours: BothClips | None = None
    object_variance: BothClips | None = None


def _seen_by_clip(
    clips: BothClips,
    mask: torch.Tensor | None,
    edit: PromptEdit | None,
    clip: Any,
    clip_vision: Any,
    left_out: list[str],
) -> _SeenByClip:
    """The measures that need 'clip vision'."""
    if clip_vision is None:
        left_out.append("CLIP score, Frame-Acc, Tem-Con and Object Semantic Variance need 'clip vision'.")
        return _SeenByClip()
    embeddings = BothClips(image_embeddings(clip_vision, clips.after), image_embeddings(clip_vision, clips.before))
    return _SeenByClip(
        _prompt_scores(embeddings, edit, clip, clip_vision, left_out),
        _neighbours(embeddings),
        _object_variance(clips, mask, clip_vision, left_out),
    )


def _outside(before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor) -> OutsideMask:
    share = mask.mean(dim=(1, 2)).expand(len(before)).cpu()
    outside = (mask == 0).float()  # a soft edge belongs to neither side
    change, psnr = metrics.change(before, after, outside), metrics.psnr(before, after, outside)
    return OutsideMask(share, change.cpu(), psnr.cpu())


def _lpips(before: torch.Tensor, after: torch.Tensor, left_out: list[str]) -> torch.Tensor | None:
    problem = lpips_problem(before)
    if problem:
        left_out.append(problem)
        return None
    return lpips_distance(before, after)


def _neighbours(embeddings: BothClips) -> BothClips | None:
    """Tem-Con of both clips; None for a single frame, which has no neighbour."""
    return BothClips(*map(metrics.temporal_consistency, embeddings)) if len(embeddings.after) > 1 else None


def _prompt_scores(
    embeddings: BothClips, edit: PromptEdit | None, clip: Any, clip_vision: Any, left_out: list[str]
) -> PromptScores | None:
    """CLIP scores and Frame-Acc, from the frames' embeddings."""
    if edit is None or clip is None:
        left_out.append("CLIP score and Frame-Acc need 'edit' and 'clip'.")
        return None
    problem = comparison_problem(clip, clip_vision)
    if problem:
        left_out.append(f"CLIP score and Frame-Acc: {problem}")
        return None
    source, target = text_embeddings(clip, [edit.source.text, edit.target.text])
    return PromptScores(
        target=metrics.clip_score(embeddings.after, target),
        target_before=metrics.clip_score(embeddings.before, target),
        source=metrics.clip_score(embeddings.after, source),
        source_before=metrics.clip_score(embeddings.before, source),
        frame_accuracy=metrics.frame_accuracy(embeddings.after, source, target),
    )


def _object_variance(
    clips: BothClips, mask: torch.Tensor | None, clip_vision: Any, left_out: list[str]
) -> BothClips | None:
    """Object Semantic Variance of both clips, of what is inside the mask."""
    if mask is None:
        left_out.append("Object Semantic Variance needs 'mask'.")
        return None
    after, before = (metrics.object_pictures(clip, mask)[0] for clip in clips)
    if len(after) < 2:
        left_out.append("Object Semantic Variance needs a mask that is not empty in at least two frames.")
        return None
    features = (image_embeddings(clip_vision, pictures) for pictures in (after, before))
    return BothClips(*(torch.tensor(metrics.object_semantic_variance(feature)) for feature in features))


def panels(measured: Measured) -> list[Panel]:
    """The curves of the measures over the frames."""
    outside = measured.outside
    changes = {"whole picture" if outside is None else "inside the mask": 255 * measured.change_inside}
    if outside is not None:
        changes["outside the mask"] = 255 * outside.change
    first = Panel("Change against the clip before, levels of 255", changes, limits=(0.0, 10.0))
    shown = [Panel("PSNR, dB", {"whole picture": measured.psnr_inside}, span=4)]
    if outside is not None:
        shown = [
            Panel("PSNR outside the mask, dB (higher: kept better)", {"outside": outside.psnr}, span=4),
            Panel("Mask, % of the picture", {"mask": 100 * outside.share}, limits=(0.0, 10.0)),
        ]
    if measured.scores is not None:
        scores = {"target prompt": measured.scores.target, "source prompt": measured.scores.source}
        shown.append(Panel("CLIP score, cosine -1 to 1 (higher: fits better)", scores, span=0.05))
    if measured.neighbours is not None:
        similarities = {"after": measured.neighbours.after, "before the edit": measured.neighbours.before}
        title = "Similarity to the frame before it, cosine -1 to 1"
        shown.append(Panel(title, similarities, first_frame=1, limits=(0.98, 1.0)))
    if measured.lpips is not None:
        shown.append(Panel("LPIPS to the clip before (0: the same)", {"LPIPS": measured.lpips}, limits=(0.0, 0.1)))
    return [first, *(panel for panel in shown if any(map(_has_values, panel.curves.values())))]


def _has_values(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).any())
