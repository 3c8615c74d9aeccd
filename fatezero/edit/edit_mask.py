"""Where an edit keeps its own attention and latents, as its settings say."""

from functools import reduce

import torch

from ..masks.mask_pictures import resize_mask
from ..masks.word_masks import softened, words_mask
from ..prompts.prompt_edit import PromptEdit
from .settings import INPUT_MASK, NO_MASK, WORDS_IN_MASK, BlendSettings, reads_words


def edit_mask(
    settings: BlendSettings,
    edit: PromptEdit,
    size: tuple[int, int],
    frames,
    device: torch.device,
    source_words: torch.Tensor | None,
    target_words: torch.Tensor | None = None,
    soft: bool = False,
) -> torch.Tensor | None:
    """Where some frames keep the edit's own attention or latents.

    Args:
        settings: What the mask is made from.
        edit: Which tokens of each prompt are to be masked.
        size: Height and width of the mask.
        frames: The frames, as indices into the clip.
        device: Where the mask is needed.
        source_words: The source's word maps of those frames, [b, T, h, w].
        target_words: The target's likewise; None leaves them out.
        soft: Whether the edge of the words' mask is softened; a mask that was drawn keeps its edge.

    Returns:
        Float [b, height, width] of 0..1; None where the settings have no mask.
    """
    if settings.mask_from == NO_MASK:
        return None
    parts = []
    if reads_words(settings):
        assert source_words is not None
        how = size, settings.threshold, settings.map_cells
        source_place, target_place = edit.places(settings.mask_phrases)
        words = words_mask(source_words, source_place.tokens, *how, source_place.without)
        if target_words is not None:
            target = words_mask(target_words, target_place.tokens, *how, target_place.without)
            words = torch.maximum(words, target)
        parts.append(softened(words) if soft else words)
    if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK):
        assert settings.mask is not None
        is_whole = len(settings.mask) == 1 or list(frames) == list(range(len(settings.mask)))
        given = settings.mask if is_whole else settings.mask[list(frames)]
        parts.append(resize_mask(given.to(device), size).expand(len(frames), *size))
    return reduce(torch.mul, parts)
