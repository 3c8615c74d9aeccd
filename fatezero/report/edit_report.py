"""What an edit did to a clip in numbers: measured frame by frame, as a table and as curves."""

import math
from dataclasses import dataclass

import torch

from . import metrics
from .clip_embeddings import comparison_problem, image_embeddings, text_embeddings
from .lpips_distance import lpips_distance, lpips_problem
from .plots import Panel


@dataclass(frozen=True, eq=False)
class Measured:
    """The measures of an edit; tensors hold a value per frame, 0..1 or dB as in `metrics`, None what was not measured.

    change_inside, change_outside, psnr_outside: against the clip before, inside and outside the mask (without a mask
    inside is the whole picture, and there is no outside); strongest_change: where it changed most; target_score,
    source_score: CLIP scores of the prompts, neighbours: Tem-Con, object_variance: OSV, each of the clip after, and
    .._before of the clip before; frame_accuracy: Frame-Acc; lpips: to the clip before; left_out: why what is None is.
    """

    size: tuple[int, int, int]
    strongest_change: float
    change_inside: torch.Tensor
    psnr_inside: torch.Tensor
    mask_share: torch.Tensor | None = None
    change_outside: torch.Tensor | None = None
    psnr_outside: torch.Tensor | None = None
    lpips: torch.Tensor | None = None
    target_score: torch.Tensor | None = None
    target_score_before: torch.Tensor | None = None
    source_score: torch.Tensor | None = None
    source_score_before: torch.Tensor | None = None
    frame_accuracy: torch.Tensor | None = None
    neighbours: torch.Tensor | None = None
    neighbours_before: torch.Tensor | None = None
    object_variance: float | None = None
    object_variance_before: float | None = None
    left_out: tuple[str, ...] = ()


def measure(
    before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor | None = None, edit=None, clip=None, clip_vision=None
) -> Measured:
    """Measures an edit with what there is.

    before, after: [n, H, W, 3] of 0..1, alike; mask: [1 or n, H, W] of 0..1, where the edit was wanted; edit: the
    PromptEdit, for its prompts; clip, clip_vision: ComfyUI's CLIP and CLIP_VISION, a pair that was trained together.
    """
    found, left_out = {}, []
    if mask is not None:
        mask = mask.to(before.device)
        found["mask_share"] = mask.mean(dim=(1, 2)).expand(len(before)).cpu()
        found["change_outside"] = metrics.change(before, after, 1 - mask).cpu()
        found["psnr_outside"] = metrics.psnr(before, after, 1 - mask).cpu()
    problem = lpips_problem(before)
    if problem:
        left_out.append(problem)
    else:
        found["lpips"] = lpips_distance(before, after)
    if clip_vision is None:
        left_out.append("CLIP score, Frame-Acc, Tem-Con and Object Semantic Variance need 'clip vision'.")
    else:
        embeddings = image_embeddings(clip_vision, before), image_embeddings(clip_vision, after)
        found |= _compared_frames(*embeddings)
        found |= _compared_with_prompts(*embeddings, edit, clip, clip_vision, left_out)
        found |= _compared_objects(before, after, mask, clip_vision, left_out)
    return Measured(
        size=tuple(before.shape[:3]),
        strongest_change=metrics.strongest_change(before, after, mask),
        change_inside=metrics.change(before, after, mask).cpu(),
        psnr_inside=metrics.psnr(before, after, mask).cpu(),
        left_out=tuple(left_out),
        **found,
    )


def _compared_frames(before: torch.Tensor, after: torch.Tensor) -> dict:
    """Tem-Con of both clips, from their embeddings; nothing for a single frame, which has no neighbour."""
    if len(before) == 1:
        return {}
    return {
        "neighbours": metrics.temporal_consistency(after),
        "neighbours_before": metrics.temporal_consistency(before),
    }


def _compared_with_prompts(before, after, edit, clip, clip_vision, left_out: list[str]) -> dict:
    """CLIP scores and Frame-Acc, from embeddings."""
    if edit is None or clip is None:
        left_out.append("CLIP score and Frame-Acc need 'edit' and 'clip'.")
        return {}
    problem = comparison_problem(clip, clip_vision)
    if problem:
        left_out.append(f"CLIP score and Frame-Acc: {problem}")
        return {}
    source, target = text_embeddings(clip, [edit.source.text, edit.target.text])
    return {
        "target_score": metrics.clip_score(after, target),
        "target_score_before": metrics.clip_score(before, target),
        "source_score": metrics.clip_score(after, source),
        "source_score_before": metrics.clip_score(before, source),
        "frame_accuracy": metrics.frame_accuracy(after, source, target),
    }


def _compared_objects(before, after, mask, clip_vision, left_out: list[str]) -> dict:
    """OSV of both clips, of what is inside the mask."""
    if mask is None:
        left_out.append("Object Semantic Variance needs 'mask'.")
        return {}
    pictures, _ = metrics.object_pictures(after, mask)
    if len(pictures) < 2:
        left_out.append("Object Semantic Variance needs a mask that is not empty in at least two frames.")
        return {}
    pictures_before, _ = metrics.object_pictures(before, mask)
    variance, variance_before = (
        metrics.object_semantic_variance(image_embeddings(clip_vision, clip)) for clip in (pictures, pictures_before)
    )
    return {"object_variance": variance, "object_variance_before": variance_before}


def table(measured: Measured) -> str:
    """The measures, a line each, of the clip after and of the clip before the edit; then what was left out and why."""
    frames, height, width = measured.size
    head = f"{frames} frame{'s' * (frames > 1)} of {width}x{height}"
    if measured.mask_share is not None:
        head += f", the mask is {metrics.mean(measured.mask_share):.1%} of the picture"
    inside = "whole picture" if measured.mask_share is None else "inside mask"
    lines = [head, f"{'':29}{'after':>8}{'before':>8}"]
    for name, form, after, before in (
        (f"change, {inside}", _levels, measured.change_inside, None),
        ("change, outside mask", _levels, measured.change_outside, None),
        ("strongest change", _levels, measured.strongest_change, None),
        (f"PSNR, {inside}", _decibels, _differing(measured.psnr_inside), None),
        ("PSNR, outside mask", _decibels, _differing(measured.psnr_outside), None),
        ("LPIPS", _three, measured.lpips, None),
        ("CLIP score, target prompt", _three, measured.target_score, measured.target_score_before),
        ("CLIP score, source prompt", _three, measured.source_score, measured.source_score_before),
        ("Frame-Acc", _percent, measured.frame_accuracy, None),
        ("Tem-Con", _three, measured.neighbours, measured.neighbours_before),
        ("Object Semantic Variance", _four, measured.object_variance, measured.object_variance_before),
    ):
        if after is not None and not math.isnan(_mean(after)):
            shown = form(_mean(after)), "" if before is None else form(_mean(before))
            lines.append("{:29}{:>8}{:>8}".format(name, *shown).rstrip())
    return "\n".join([*lines, *(f"Left out: {sentence}" for sentence in measured.left_out)])


def panels(measured: Measured) -> list[Panel]:
    """The curves of the measures over the frames."""
    changes = {"whole picture": measured.change_inside}
    if measured.change_outside is not None:
        changes = {"inside the mask": measured.change_inside, "outside the mask": measured.change_outside}
    changes = {label: 255 * values for label, values in changes.items()}
    shown = [Panel("Change against the clip before, levels of 255", changes, limits=(0.0, 10.0))]
    if measured.psnr_outside is None:
        shown.append(Panel("PSNR, dB", {"whole picture": measured.psnr_inside}, span=4))
    else:
        shown.append(
            Panel("PSNR outside the mask, dB (higher: kept better)", {"outside": measured.psnr_outside}, span=4)
        )
        shown.append(Panel("Mask, % of the picture", {"mask": 100 * measured.mask_share}, limits=(0.0, 10.0)))
    if measured.target_score is not None:
        shown.append(
            Panel(
                "CLIP score, cosine -1 to 1 (higher: fits better)",
                {"target prompt": measured.target_score, "source prompt": measured.source_score},
                span=0.05,
            )
        )
    if measured.neighbours is not None:
        shown.append(
            Panel(
                "Similarity to the frame before it, cosine -1 to 1",
                {"after": measured.neighbours, "before the edit": measured.neighbours_before},
                first_frame=1,
                limits=(0.98, 1.0),
            )
        )
    if measured.lpips is not None:
        shown.append(Panel("LPIPS to the clip before (0: the same)", {"LPIPS": measured.lpips}, limits=(0.0, 0.1)))
    return shown[:1] + [panel for panel in shown[1:] if any(map(_has_values, panel.curves.values()))]


def _has_values(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).any())


def _mean(values) -> float:
    return metrics.mean(values) if isinstance(values, torch.Tensor) else values


def _differing(values: torch.Tensor | None) -> torch.Tensor | None:
    """PSNR without the frames in which nothing differs, whose infinity would hide the others."""
    return values if values is None or not torch.isfinite(values).any() else values[torch.isfinite(values)]


def _levels(value: float) -> str:
    return f"{255 * value:.1f}/255"


def _decibels(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "the same"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _four(value: float) -> str:
    return f"{value:.4f}"
