"""Where an edit will act: a rough picture of the clip with the edit's mask tinted in."""

from dataclasses import replace
from typing import Any

import torch

from ..edit.settings import INPUT_MASK, NO_MASK, WORDS_IN_MASK, BlendSettings, needs_words, reads_words
from ..edit.unet.fresh_noise import drawn_mask
from ..edit.unet.outline_mask import outline_mask
from ..masks.mask_pictures import overlay, resize_mask
from ..masks.source_mask import clip_size, source_mask
from ..prompts.prompt_edit import PromptEdit
from ..source.source_run import SourceRun

FRAMES = 4  # beside each other


def edit_place(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, latent_format: Any, frames: int = FRAMES
) -> torch.Tensor | None:
    """A strip of frames of the clip, evenly spaced, tinted where the edit acts; it needs no VAE.

    A mask of words is that of the steps' average; the edit itself reads the words anew in every step.

    Args:
        source: The inverted clip.
        edit: Its words to mask.
        settings: Where the mask comes from.
        latent_format: ComfyUI's, for the colours of the latents.
        frames: How many frames at most; a single one is the middle one.

    Returns:
        IMAGE [1, H, frames·W, 3] of 0..1; None for an edit without a mask.
    """
    if settings.mask_from == NO_MASK or (needs_words(settings) and not edit.source_mask_tokens):
        return None
    chosen = _spaced(source.frames, frames)
    width, height = clip_size(source)
    pictures = latent_pictures(source.trajectory[0][chosen], latent_format)
    return _strip(pictures, _mask(source, edit, settings, chosen), (height, width))


def coupled_place(latent: torch.Tensor, mask: torch.Tensor, latent_format: Any, frames: int = FRAMES) -> torch.Tensor:
    """The same of a video model's clip, of which a latent frame is one picture.

    Args:
        latent: [1, c, F, h, w], scaled as the model is fed.
        mask: Where the edit acts, [1, 1, F, h, w] of 0..1.
        latent_format: ComfyUI's, for the colours and the size of a cell.
        frames: As of `edit_place`.

    Returns:
        IMAGE [1, H, frames·W, 3] of 0..1.
    """
    chosen = _spaced(latent.shape[2], frames)
    size = tuple(cells * latent_format.spacial_downscale_ratio for cells in latent.shape[3:])
    cells = mask[0, 0, chosen].float().cpu()[:, None]
    mask = torch.nn.functional.interpolate(cells, size=size)[:, 0]  # as it is: in steps of a cell
    return _strip(latent_pictures(latent[0].movedim(1, 0)[chosen], latent_format), mask, size)


def _spaced(count: int, most: int) -> list[int]:
    """At most so many of a clip's frames, evenly spaced; a single one is the middle one."""
    most, last = min(most, count), count - 1
    return [round(index * last / (most - 1)) for index in range(most)] if most > 1 else [last // 2]


def _strip(pictures: torch.Tensor, mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pictures [n, h, w, 3] at a size (height, width) beside each other, tinted by a mask [1 or n, H, W] of it."""
    pictures = torch.nn.functional.interpolate(pictures.movedim(-1, 1), size=size).movedim(1, -1).cpu()
    return torch.cat(list(overlay(pictures, mask)), dim=1)[None]


def latent_pictures(latents: torch.Tensor, latent_format: Any) -> torch.Tensor:
    """Latents [n, c, h, w], scaled as the model is fed, as rough pictures [n, h, w, 3] of 0..1.

    Grey where ComfyUI knows no colours for the latents.
    """
    factors = latent_format.latent_rgb_factors
    if factors is None or len(factors) != latents.shape[1]:
        return latents.new_full((len(latents), *latents.shape[2:], 3), 0.5).float()
    bias = latent_format.latent_rgb_factors_bias
    colours = latents.float().movedim(1, -1) @ torch.tensor(factors, device=latents.device)
    if bias is not None:
        colours = colours + torch.tensor(bias, device=latents.device)
    return ((colours + 1) / 2).clamp(0, 1)


def _mask(source: SourceRun, edit: PromptEdit, settings: BlendSettings, frames: list[int]) -> torch.Tensor:
    """The edit's mask [1 or n, H, W] of some frames, at the clip's size."""
    width, height = clip_size(source)
    mask = torch.ones(1, height, width)
    room = outline_mask(source, edit, settings, frames)
    if room is not None:
        return torch.nn.functional.interpolate(room[:, None], size=(height, width))[:, 0]
    if reads_words(settings):
        shown = replace(source, trajectory=source.trajectory[:, frames], word_maps=source.word_maps[:, frames])
        mask = source_mask(shown, edit, "", settings.threshold, None).cpu()
    if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK) and settings.mask is not None:
        cells = (source.trajectory.shape[-2], source.trajectory.shape[-1])
        drawn = settings.mask.float().cpu()
        drawn = drawn_mask(drawn if drawn.ndim == 3 else drawn[None], settings, cells)
        mask = mask * resize_mask(drawn if len(drawn) == 1 else drawn[frames], (height, width))
    return mask
