"""Where a coupled edit may change the clip: in a drawn mask, where the model sees the words that change, or in both."""

from dataclasses import dataclass

import torch

from ...masks.clip_look import look_for_words
from ...masks.latent_frames import mask_to_latent
from ...masks.word_masks import words_mask
from ...network.transformer.families import Family, patch_size
from ...network.transformer.word_maps import ALL
from ...prompts.prompt_edit import PromptEdit
from ...refusal import Refusal
from ..settings import INPUT_MASK, WORDS, WORDS_IN_MASK

MASKS = (INPUT_MASK, WORDS, WORDS_IN_MASK)


@dataclass(frozen=True)
class MaskSettings:
    """Where the mask of a coupled edit comes from.

    Attributes:
        mask_from: Of MASKS; INPUT_MASK without a mask is everywhere.
        threshold: tau of FateZero Eq. 6, 0..1; 0 for one of each latent frame's own.
        blocks: Of `word_maps.PARTS`, the blocks that words are read from.
    """

    mask_from: str = INPUT_MASK
    threshold: float = 0.5
    blocks: str = ALL


def check_mask_from(settings: MaskSettings, edit: PromptEdit, mask: torch.Tensor | None) -> None:
    """Refuses a mask of words without words, and one inside a drawn mask without that."""
    if settings.mask_from != INPUT_MASK and not edit.source_mask_tokens:
        raise Refusal(
            f"'mask from' is {settings.mask_from} but no word of the source prompt is replaced; fill 'mask words' in "
            "Edit Prompts or choose mask input."
        )
    if settings.mask_from == WORDS_IN_MASK and mask is None:
        raise Refusal(
            f"'mask from' is {WORDS_IN_MASK} but nothing is connected to 'mask'; connect a MASK or choose words."
        )


def coupled_mask(
    model, family: Family, edit: PromptEdit, source, latent: torch.Tensor, settings: MaskSettings, mask=None, seed=0
) -> torch.Tensor | None:
    """The cells of the latent that may change; for words the model looks at the clip once.

    Args:
        model: ModelPatcher, of two models the one for low noise.
        family: Its family.
        edit: Its source words to mask.
        source: The clip's own prompt, a CONDITIONING.
        latent: The clip, [1, c, F, h, w].
        settings: Where the mask comes from.
        mask: A MASK [h, w] or [1 or n, h, w] of the clip, or None.
        seed: Of the noise on the clip while the model looks.

    Returns:
        [1, 1, F, h, w] of 0..1, or None for everywhere.

    Raises:
        Refusal: As of `mask_to_latent` and `WordMapReader`.
    """
    cells = None
    if mask is not None and settings.mask_from != WORDS:
        cells = mask_to_latent(mask[None] if mask.ndim == 2 else mask, family.frames_per_latent, latent.shape)
    if settings.mask_from == INPUT_MASK:
        return cells
    maps = look_for_words(model, family, source, latent, part=settings.blocks, tokens=edit.source.end + 1, seed=seed)
    words = words_of_latent(maps, edit, settings.threshold, latent.shape, patch_size(model))
    return words if cells is None else words * cells


def words_of_latent(
    maps: torch.Tensor, edit: PromptEdit, threshold: float, shape: torch.Size, patch: tuple[int, int, int]
) -> torch.Tensor:
    """The mask of the words that change, on a latent's cells.

    Args:
        maps: Attention of each token's place to each word, [F', T, h', w'].
        edit: Its source words to mask.
        threshold: As of MaskSettings.
        shape: The latent's, [1, c, F, h, w].
        patch: How many of its frames, rows and columns are a token.

    Returns:
        [1, 1, F, h, w] of 0 and 1.
    """
    size = maps.shape[2] * patch[1], maps.shape[3] * patch[2]
    mask = words_mask(maps, edit.source_mask_tokens, size, threshold).repeat_interleave(patch[0], dim=0)
    frames, height, width = shape[2:]
    return mask[None, None, :frames, :height, :width]


def mask_line(settings: MaskSettings, edit: PromptEdit, mask: torch.Tensor | None) -> str | None:
    """What may change, in words for the node; None where the whole clip may."""
    if mask is None:
        return None
    share = f"{float(mask.float().mean()):.0%} of the clip may change"
    if settings.mask_from == INPUT_MASK:
        return f"mask: {share}"
    masked = set(edit.source_mask_tokens)
    names = dict.fromkeys(word.text for word in edit.source.words if word.indices[0] in masked)
    return f"mask of {', '.join(names)}: {share}"
