"""What is wrong with the mask of an edit, in words."""

import torch

from ..edit.settings import AROUND, BlendSettings, needs_words
from ..edit.transformer.coupled_sampling import CoupledSettings
from ..edit.unet.outline_mask import leaves_frames_out
from ..masks.word_masks import AUTOMATIC
from ..prompts.prompt_edit import PromptEdit
from ..source.source_run import SourceRun
from .edit_report import Measured
from .mask_share import of_clip_frames, used_mask_share

Settings = BlendSettings | CoupledSettings

EMPTY_MASK, FULL_MASK = 0.002, 0.95
LAST_CELL = 1 - 1e-6  # a mask around a small thing covers nearly all


def mask_share(
    measured: Measured, edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None
) -> torch.Tensor | None:
    """The share of each frame that the edit's mask covers; without its settings, that of the mask given to the
    report."""
    if settings is None:
        return None if measured.outside is None else measured.outside.share
    share = used_mask_share(source, edit, settings)
    return None if share is None else of_clip_frames(share, measured.size[0])


def of_the_mask(share: torch.Tensor | None, settings: Settings | None) -> list[str]:
    """Frames in which the mask is empty or covers everything."""
    if share is None:
        return []
    if isinstance(settings, BlendSettings) and settings.mask_from == AROUND:
        return _of_what_stays(share, settings.threshold)
    smaller, larger = "draw a smaller mask", "draw a larger mask"
    threshold = None if settings is None else _threshold(settings)
    if threshold is not None:
        elsewhere = ", or name in 'mask words' of Edit Prompts what the clip shows more plainly"
        smaller, larger = (f"{advice}{elsewhere}" for advice in _threshold_advice(threshold))
    sentences = []
    empty, full = (share < EMPTY_MASK).nonzero().flatten(), (share > FULL_MASK).nonzero().flatten()
    told_by_the_run = isinstance(settings, BlendSettings) and leaves_frames_out(settings) and len(empty) < len(share)
    if len(empty) and not told_by_the_run:
        sentences.append(
            f"The mask is empty in {frames_in_words(empty, len(share))}, where nothing new can appear; {larger}."
        )
    if len(full):
        sentences.append(
            f"The mask covers {frames_in_words(full, len(share))} nearly whole, so that it keeps nothing; {smaller}."
        )
    return sentences


def _of_what_stays(share: torch.Tensor, threshold: float) -> list[str]:
    """Frames in which a mask of all but what stays has no place for the ground, or none for things."""
    raised, lowered = _threshold_advice(threshold)  # the higher, the smaller the things
    sentences = []
    hidden, bare = (share < EMPTY_MASK).nonzero().flatten(), (share > LAST_CELL).nonzero().flatten()
    if len(hidden):
        sentences.append(
            f"What stays covers {frames_in_words(hidden, len(share))} whole, so that no ground is drawn anew; {raised}."
        )
    if len(bare):
        sentences.append(f"Nothing that stays is found in {frames_in_words(bare, len(share))}; {lowered}.")
    return sentences


def _threshold(settings: Settings) -> float | None:
    """tau of a mask of words, None for other masks."""
    if isinstance(settings, CoupledSettings):
        return settings.threshold
    return settings.threshold if needs_words(settings) else None


def _threshold_advice(threshold: float) -> tuple[str, str]:
    """How to make a mask of words smaller, and how to make it larger."""
    if threshold == AUTOMATIC:
        smaller, larger = (f"set 'mask threshold' to {value} instead of 0 (automatic)" for value in (0.7, 0.3))
    else:
        smaller, larger = f"raise 'mask threshold' ({threshold:g})", f"lower 'mask threshold' ({threshold:g})"
    return smaller, larger


def is_empty(share: torch.Tensor | None) -> bool:
    """Whether a mask is empty in every frame."""
    return share is not None and bool((share < EMPTY_MASK).all())


def frames_in_words(indices: torch.Tensor, count: int) -> str:
    """ "every frame", "frame 3" or "frames 0, 2, 5"."""
    if len(indices) == count:
        return "every frame"
    names = [str(index) for index in indices.tolist()]
    names = names if len(names) < 9 else [*names[:6], "…", names[-1]]
    return f"frame{'s' * (len(names) > 1)} {', '.join(names)}"
