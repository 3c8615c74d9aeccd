"""Fresh noise inside the mask when an edit starts, for what must not come out as the clip's own noise has it.

Inverted noise insists on what it was made from: a star stays a star, and empty ground stays empty.
"""

from dataclasses import replace

import torch

from ...masks.mask_pictures import touched_cells
from ...prompts.prompt_edit import PromptEdit
from ...source.source_run import SourceRun
from ..edit_mask import edit_mask
from ..settings import BlendSettings, reads_words


def on_whole_cells(settings: BlendSettings, size: tuple[int, int]) -> BlendSettings:
    """The settings with the person's mask as an edit takes it, see `drawn_mask`."""
    return settings if settings.mask is None else replace(settings, mask=drawn_mask(settings.mask, settings, size))


def drawn_mask(mask: torch.Tensor, settings: BlendSettings, size: tuple[int, int]) -> torch.Tensor:
    """A person's mask [1 or n, H, W] as an edit takes it: on the latent's cells, (height, width), where whole ones are
    asked for."""
    return touched_cells(mask, size) if settings.whole_cells else mask


def with_fresh_noise(
    latent: torch.Tensor, sigma: float, source: SourceRun, edit: PromptEdit, settings: BlendSettings
) -> torch.Tensor:
    """What an edit starts from, with fresh noise inside its mask.

    The two noises are mixed by the square roots of their shares, which keeps the variance. A mask of words is that of
    the steps' average.

    Args:
        latent: What it starts from otherwise, in the model's own scale, [n, c, h, w].
        sigma: Its level.
        source: The inverted clip.
        edit: Which words are masked.
        settings: The mask, the share and the seed.

    Returns:
        [n, c, h, w].
    """
    words = source.word_maps.mean(dim=0) if reads_words(settings) else None
    size = (latent.shape[-2], latent.shape[-1])
    mask = edit_mask(settings, edit, size, range(len(latent)), torch.device("cpu"), words)
    if mask is None:
        return latent
    fresh = (1 + sigma**2) ** 0.5 * moving_noise(
        mask, latent.shape[1], settings.noise_seed, not settings.mask_is_ground
    )
    share = settings.fresh_noise
    mixed = (1 - share) ** 0.5 * latent + share**0.5 * fresh.to(latent)
    return torch.lerp(latent, mixed, mask[:, None].to(latent))


def moving_noise(mask: torch.Tensor, channels: int, seed: int, moves: bool = True) -> torch.Tensor:
    """One frame of noise that goes along with a mask, by whole cells, so that all frames draw the same.

    Args:
        mask: [n, h, w] of 0..1; empty frames have the noise of the middle one.
        channels: Of the latent.
        seed: Of the noise.
        moves: Whether it goes along; a ground does not, where the middle of what is left around a thing moves back.

    Returns:
        float32 [n, channels, h, w], each frame of independent standard normal values.
    """
    height, width = mask.shape[-2:]
    noise = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))
    if not moves:
        return noise.expand(len(mask), *noise.shape)
    places = middles(mask)
    moved = (places - places[(len(mask) - 1) // 2]).round().int().tolist()
    return torch.stack([noise.roll(shift, dims=(1, 2)) for shift in moved])


def middles(mask: torch.Tensor) -> torch.Tensor:
    """The centre of mass of each frame of a mask [n, h, w], (row, column), [n, 2]; of an empty frame the picture's.

    >>> middles(torch.tensor([[[0.0, 0.0, 1.0]], [[1.0, 1.0, 0.0]]]))
    tensor([[0.0000, 2.0000],
            [0.0000, 0.5000]])
    """
    height, width = mask.shape[-2:]
    weight = mask.float() + 1e-6
    total = weight.sum(dim=(1, 2))
    rows = (weight.sum(dim=2) * torch.arange(height)).sum(dim=1) / total
    columns = (weight.sum(dim=1) * torch.arange(width)).sum(dim=1) / total
    return torch.stack([rows, columns], dim=1)
