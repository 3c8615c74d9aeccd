"""The room of the thing that an edit changes, found before the edit runs: its outline, and some space around it."""

from dataclasses import replace

import torch

from ..masks.mask_pictures import grow_mask, touched_cells
from ..masks.outlines import filled, outlines_of_things, rounded
from ..prompts.edit_kind import brings_another_shape
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
    is the room of the thing that stays, and of another thing, or a pose, the ellipse in its box as well.

    Args:
        source: The inverted clip of a picture model.
        edit: The words.
        settings: Their threshold, and the margin around the things.

    Returns:
        float32 [n, h, w] of 0 and 1, of the latent's size.
    """
    outlines = outlines_of_things(
        source.word_maps.mean(dim=0), source.trajectory[0], edit.source_things(), settings.threshold, settings.map_cells
    )
    size = (source.trajectory.shape[-2], source.trajectory.shape[-1])
    room = rounded if brings_another_shape(edit) else filled
    rooms = torch.stack([room(touched_cells(outline, size)) for outline in outlines]).amax(dim=0)
    return grow_mask(rooms, settings.edge_margin)
