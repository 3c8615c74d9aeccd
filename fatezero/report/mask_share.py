"""How much of each frame the mask of an edit covered."""

import torch

from ..edit.settings import AROUND, INPUT_MASK, NO_MASK, WORDS_IN_MASK, BlendSettings, needs_words, reads_words
from ..edit.transformer.coupled_sampling import CoupledSettings
from ..edit.unet.fresh_noise import drawn_mask
from ..edit.unet.outline_mask import outline_mask
from ..masks.mask_pictures import resize_mask
from ..masks.word_masks import words_mask
from ..prompts.prompt_edit import PromptEdit
from ..source.latent_cell import Cell
from ..source.source_run import SourceRun


def used_mask_share(
    source: SourceRun | None, edit: PromptEdit | None, settings: BlendSettings | CoupledSettings
) -> torch.Tensor | None:
    """How much of each frame the edit's own mask covers.

    Args:
        source: The inverted clip, for a mask of words.
        edit: The words.
        settings: Where the mask comes from, and the mask that was drawn.

    Returns:
        0..1 for each frame of the latent, averaged over the steps, [1 or n]; None where there is no mask or it is
        unknown.
    """
    if isinstance(settings, CoupledSettings):
        return None if settings.mask is None else settings.mask[0, 0].float().cpu().mean(dim=(1, 2))
    mask = torch.ones(1, 1, 1)
    if source is None or edit is None:
        if needs_words(settings) or settings.mask_from == AROUND:
            return None
    elif (to_the_edges := outline_mask(source, edit, settings)) is not None:
        mask = to_the_edges
    elif reads_words(settings):
        height, width = source.word_maps.shape[-2:]
        how = (height, width), settings.threshold, settings.map_cells
        place, _ = edit.places(settings.mask_phrases)
        masks = [words_mask(maps, place.tokens, *how, place.without) for maps in source.word_maps]
        mask = torch.stack(masks).mean(dim=0)
    if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK) and settings.mask is not None:
        drawn = settings.mask.float().cpu()
        if source is not None:
            drawn = drawn_mask(drawn, settings, (source.trajectory.shape[-2], source.trajectory.shape[-1]))
        mask = mask * (drawn if mask.shape[-1] == 1 else resize_mask(drawn, (mask.shape[-2], mask.shape[-1])))
    return None if settings.mask_from == NO_MASK else mask.mean(dim=(1, 2))


def of_clip_frames(share: torch.Tensor, frames: int) -> torch.Tensor:
    """What is known of each latent frame, [F], for the frames of a video model's clip that it holds, [frames].

    >>> of_clip_frames(torch.tensor([0.1, 0.2]), 5)
    tensor([0.1000, 0.2000, 0.2000, 0.2000, 0.2000])
    """
    if len(share) in (1, frames):
        return share
    return share[Cell(frames=(frames - 1) // (len(share) - 1)).latent_frames_of(len(share))]
