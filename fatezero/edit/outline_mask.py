"""The room of the thing that an edit changes, found before the edit runs: its outline, and what its hull adds."""

from dataclasses import replace

import torch

from ..masks.mask_pictures import grow_mask
from ..masks.outlines import filled, outlined
from ..masks.word_masks import words_heat
from ..prompts.prompt_edit import PromptEdit
from ..source.source_run import SourceRun
from .settings import INPUT_MASK, OUTLINE, BlendSettings


def on_outline(settings: BlendSettings, source: SourceRun, edit: PromptEdit) -> BlendSettings:
    """The settings with the room of the words' thing as their mask, where they ask for it."""
    if settings.mask_from != OUTLINE:
        return settings
    return replace(settings, mask_from=INPUT_MASK, mask=thing_room(source, edit, settings))


def thing_room(source: SourceRun, edit: PromptEdit, settings: BlendSettings) -> torch.Tensor:
    """Where the things of the words to mask are, and where another shape in their place may be.

    Words say where: the changed ones together with their whole phrase, away from the things beside it ("square" and
    "red square" away from "red star"), averaged over the steps. The latent says where the thing ends. Its convex hull
    is the room of a new shape.

    Args:
        source: The inverted clip of a picture model.
        edit: The words.
        settings: Their threshold, and the margin around the things.

    Returns:
        float32 [n, h, w] of 0 and 1, of the latent's size.
    """
    latent, maps = source.trajectory[0], source.word_maps.mean(dim=0)
    size = (latent.shape[-2], latent.shape[-1])
    rooms = torch.zeros(len(latent), *size)
    for places in edit.source_things():
        heats = [words_heat(maps, place.tokens, size, settings.map_cells, place.without).cpu() for place in places]
        rooms = torch.maximum(rooms, filled(outlined(geometric_mean(heats), latent, settings.threshold)))
    return grow_mask(rooms, settings.edge_margin)


def geometric_mean(heats: list[torch.Tensor]) -> torch.Tensor:
    """Of heats [n, h, w] of 0..1, what all of them have; the maximum of each frame is 1 again, unless all is 0."""
    mean = torch.stack(heats).log().mean(dim=0).exp()
    return mean / mean.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)
