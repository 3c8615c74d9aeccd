"""A pixel mask per frame from what inversion has kept of the source's cross-attention."""

import torch
import torch.nn.functional as F

from ..prompts.prompt_edit import PromptEdit
from ..prompts.word_fields import find_words, split_list
from ..source.source_check import check_edit
from ..source.source_run import SourceRun
from .word_masks import heat_mask, words_heat

NODE = "Attention Mask"
PIXELS_PER_LATENT = 8


def source_mask(
    source: SourceRun, edit: PromptEdit | None, words: str, threshold: float, step: int | None
) -> torch.Tensor:
    """Where words of the source prompt are, float32 [n, H, W] of 0 and 1 at the clip's size.

    words: separated by commas, empty for the edit's own; threshold: tau of Eq. 6; step: a denoising step, or None for
    the average of all. Between the 16x16 attention cells the map is interpolated, so that edges are round, not square.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"{NODE}: 'threshold' is {threshold}; choose a value from 0 to 1.")
    maps = source.word_maps.mean(dim=0) if step is None else step_maps(source, step)
    _, _, height, width = source.trajectory.shape[1:]
    heat = words_heat(maps, word_tokens(source, edit, words), maps.shape[-2:])
    size = height * PIXELS_PER_LATENT, width * PIXELS_PER_LATENT
    heat = F.interpolate(heat[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return heat_mask(heat, threshold)


def step_maps(source: SourceRun, step: int, node: str = NODE) -> torch.Tensor:
    """The word maps of one denoising step; ValueError when there are fewer steps. node: the name of who asks."""
    if not 0 <= step < source.steps:
        raise ValueError(
            f"{node}: 'step' is {step} but the source was inverted in {source.steps} steps; choose 0 to "
            f"{source.steps - 1}."
        )
    return source.word_maps[source.steps - 1 - step]


def word_tokens(source: SourceRun, edit: PromptEdit | None, words: str) -> list[int]:
    """Token positions of the words to mask; ValueError when there are none."""
    if split_list(words):
        if source.tokens is None:
            raise ValueError(
                f"{NODE}: 'source' was inverted with a prompt that did not come from Edit Prompts, so its "
                "words are unknown; use Edit Prompts."
            )
        return [token for word in find_words(source.tokens, words, "words") for token in word]
    if edit is not None:
        check_edit(edit, source)
    if edit is None or not edit.source_mask_tokens:
        raise ValueError(
            f"{NODE}: 'words' is empty and no edit with changed words is connected; name words of the source prompt."
        )
    return list(edit.source_mask_tokens)
