"""Where an edit acts, found before it runs: the changed thing's outline and some space, or all but what stays."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from ...masks.mask_pictures import grow_mask, touched_cells
from ...masks.outlines import filled, outline_together, outlines_of_things, rounded
from ...masks.word_masks import AUTOMATIC
from ...prompts.edit_kind import brings_another_shape, old_ground, own_words, things_that_stay
from ...prompts.phrases import phrase_tokens, tokens_of
from ...prompts.prompt_edit import Place, PromptEdit
from ...source.source_run import SourceRun
from ..settings import AROUND, INPUT_MASK, OUTLINE, BlendSettings
from .agreement import steadied


def on_outline(settings: BlendSettings, source: SourceRun, edit: PromptEdit) -> BlendSettings:
    """The settings with a mask to the edges of things as theirs, where they ask for one."""
    if settings.mask_from == OUTLINE and settings.new_words_until and own_words(edit):
        rooms = thing_rooms(source, edit, settings)
        placed = replace(settings, mask_from=INPUT_MASK, mask=rooms.amax(dim=0), thing_masks=rooms)
        return replace(placed, latent_window=None) if old_ground(edit) else placed  # a new ground is not put back
    mask = outline_mask(source, edit, settings)
    return settings if mask is None else replace(settings, mask_from=INPUT_MASK, mask=mask)


def leaves_frames_out(settings: BlendSettings) -> bool:
    """Whether a frame that does not show the thing has no mask. Where a person set the threshold, every frame has."""
    return settings.mask_from == OUTLINE and settings.threshold == AUTOMATIC


def frames_without_the_thing(settings: BlendSettings, fitting: BlendSettings) -> list[str]:
    """What to tell where some frames, but not all, do not show the thing.

    Args:
        settings: As they were set.
        fitting: The same with their mask, as of `on_outline`.

    Returns:
        A sentence, or none.
    """
    keeps_frames = fitting.latent_window is not None or settings.latent_window is None
    if not (leaves_frames_out(settings) and keeps_frames) or fitting.mask is None:
        return []  # beside a new ground, these frames change, too
    frames, empty = len(fitting.mask), int((~fitting.mask.flatten(1).any(dim=1)).sum())
    if empty in (0, frames):
        return []
    return [
        f"in {empty} of {frames} frames what is to change is not seen, and they stay as the clip has them; if it is "
        "there, set 'mask threshold' to 0.3"
    ]


def outline_mask(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, frames: Sequence[int] | None = None
) -> torch.Tensor | None:
    """The mask to the edges of things that the settings ask for, [n, h, w], of the latent's size, or that of some
    frames; None for another."""
    makers = {OUTLINE: thing_room, AROUND: around_what_stays}
    make = makers.get(settings.mask_from)
    return None if make is None else make(source, edit, settings, frames)


def thing_room(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, frames: Sequence[int] | None = None
) -> torch.Tensor:
    """All of `thing_rooms` as one, [n, h, w]; arguments as there."""
    return thing_rooms(source, edit, settings, frames).amax(dim=0)


def thing_rooms(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, frames: Sequence[int] | None = None
) -> torch.Tensor:
    """Where each of the things of the words to mask is, and where another shape in its place may be.

    Words say where, and in which frames: the changed ones together with their whole phrase, away from the things beside
    it ("square" and "red square" away from "red star"), averaged over the steps. The latent says where the thing ends.
    Its convex hull is the room of the thing that stays, and of another thing, or a pose, the ellipse in its box as
    well. Where frames agree, they agree on the room, too, but for what another thing hides in a frame.

    Args:
        source: The inverted clip of a picture model.
        edit: The words.
        settings: Their threshold, and the margin around the things.
        frames: Whose rooms are asked for; None for all.

    Returns:
        float32 [things, n, h, w] of 0 and 1, of the latent's size, in the order of `PromptEdit.source_things`; empty in
        frames that do not show the thing.
    """
    maps, latent, things = source.word_maps.mean(dim=0), source.trajectory[0], things_to_place(edit, settings)
    outlines = outlines_of_things(maps, latent, things, settings.threshold, settings.map_cells, frames)
    latent = latent if frames is None else latent[list(frames)]
    size = (latent.shape[-2], latent.shape[-1])
    room = rounded if brings_another_shape(edit) else filled
    rooms = [room(touched_cells(outline, size)) for outline in outlines]
    if settings.agree_until:
        passing = what_stays(source, edit, settings, frames)
        # Where a thing goes, nothing that stays may go with it, also where the words take both for one.
        own = [torch.zeros_like(room) for room in rooms] if settings.mask_uncovers else rooms
        rooms = [torch.where(passing > mine, 0, steadied(room, latent)) for mine, room in zip(own, rooms)]
    return torch.stack([grow_mask(room, settings.edge_margin) for room in rooms])


def things_to_place(edit: PromptEdit, settings: BlendSettings) -> list[tuple[Place, ...]]:
    """Of each thing of the words to mask, what says where it is; without a ground that changes beside things of which
    each sees its own new words."""
    things, ground = edit.source_things(), old_ground(edit)
    if not (settings.new_words_until and own_words(edit)):
        return things
    return [thing for thing in things if ground.isdisjoint(thing[0].tokens)]


def what_stays(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, frames: Sequence[int] | None = None
) -> torch.Tensor:
    """The cells that the things of both prompts touch, away from those that change; arguments and result as of
    `thing_room`."""
    changed = phrase_tokens(edit.source, edit.source_mask_tokens)
    maps, latent = source.word_maps.mean(dim=0), source.trajectory[0]
    places: list[tuple[Place, ...]] = [(Place(tokens, changed),) for tokens in _tokens_that_stay(edit)]
    outlines = outlines_of_things(maps, latent, places, settings.threshold, settings.map_cells, frames)
    return touched_cells(outlines.amax(dim=0), (latent.shape[-2], latent.shape[-1]))


def around_what_stays(
    source: SourceRun, edit: PromptEdit, settings: BlendSettings, frames: Sequence[int] | None = None
) -> torch.Tensor:
    """Everything but the cells that the things of both prompts touch; arguments and result as of `thing_room`."""
    maps, latent = source.word_maps.mean(dim=0), source.trajectory[0]
    outline = outline_together(maps, latent, _tokens_that_stay(edit), settings.threshold, settings.map_cells, frames)
    return 1 - touched_cells(outline, (latent.shape[-2], latent.shape[-1]))


def _tokens_that_stay(edit: PromptEdit) -> list[tuple[int, ...]]:
    """Of each thing of both prompts its tokens in the source prompt."""
    return [tokens_of(phrase) for phrase in things_that_stay(edit)]
