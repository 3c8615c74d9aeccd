"""Whether an edit lies where its words were seen, in words."""

import torch

from ..edit.automatic import lacks_place
from ..edit.settings import INPUT_MASK, BlendSettings
from ..edit.unet.outline_mask import thing_room
from ..masks.mask_pictures import resize_mask
from ..masks.word_masks import AUTOMATIC
from ..prompts.edit_kind import POSE, PROPERTY, REMOVED, THING, changes_of
from ..prompts.prompt_edit import PromptEdit
from ..source.source_run import SourceRun
from .edit_report import Measured
from .mask_diagnosis import Settings
from .metrics import mean_of_most
from .picture_diagnosis import is_video

IN_PLACE = {PROPERTY, THING, POSE, REMOVED}  # what changes where the old words are seen
# The cells that changed most away from the words: of 63 true edits and 63 made with the demo model up to 30 of 255
# levels but for one, a black thing at night, of which nothing is seen.
FOREIGN_CHANGE, FOREIGN_SHARE = 50 / 255, 0.025
MEETS = 0.05  # of the words' place


def of_the_place(edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None) -> list[str]:
    """New things without a mask, where the edit takes one."""
    if edit is None or settings is None or settings.mask is not None or is_video(source, settings):
        return []
    lost = ", ".join(lacks_place(edit, False))
    return [f"\"{lost}\" has no place; connect a MASK to 'mask' that is white there"] if lost else []


def of_the_drawn_mask(seen: torch.Tensor | None, edit: PromptEdit | None, settings: Settings | None) -> list[str]:
    """A mask that was drawn where what changes is not.

    Args:
        seen: From `words_place`.
        edit: The words.
        settings: For the mask.
    """
    if seen is None or edit is None or settings is None or settings.mask is None:
        return []
    if not isinstance(settings, BlendSettings) or settings.mask_from != INPUT_MASK or not seen.any():
        return []
    drawn = settings.mask.float().cpu()
    drawn = resize_mask(drawn if drawn.ndim == 3 else drawn[None], (seen.shape[-2], seen.shape[-1]))
    if len(drawn) not in (1, len(seen)) or not drawn.any() or (drawn * seen).sum() >= MEETS * seen.sum():
        return []
    return [
        f"'mask' does not meet the place where '{_old_words(edit)}' is seen, so that the edit could not change it; "
        "draw the mask over that, or connect none."
    ]


def of_changes_elsewhere(measured: Measured, seen: torch.Tensor | None, edit: PromptEdit | None) -> list[str]:
    """Something that changed away from the words, such as another thing in its stead; arguments as above. Where the
    report has a mask, that says where the edit was wanted."""
    if seen is None or edit is None or measured.outside is not None or len(seen) not in (1, measured.size[0]):
        return []
    cells = measured.visible.cells
    inside = resize_mask(seen, (cells.shape[-2], cells.shape[-1])).expand(len(cells), -1, -1) > 0
    elsewhere = [mean_of_most(frame[~place], FOREIGN_SHARE) for frame, place in zip(cells, inside) if place.any()]
    change = float(torch.tensor(elsewhere).nanmean()) if elsewhere else 0.0
    if not change >= FOREIGN_CHANGE:
        return []
    return [
        f"Away from the place where '{_old_words(edit)}' is seen the clip changed, too, by {255 * change:.0f} of 255 "
        "levels; look whether another thing was edited there, and choose a preset with a mask or connect one to 'mask'."
    ]


def words_place(edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None) -> torch.Tensor | None:
    """Where what changes is seen in each frame, and may be drawn anew, [n, h, w] of 0 and 1, of the latent's size; None
    where that is not known, or the whole picture changes."""
    if edit is None or source is None or is_video(source, settings) or not edit.source_mask_tokens:
        return None
    if not {change.kind for change in changes_of(edit)} <= IN_PLACE:
        return None
    return thing_room(source, edit, BlendSettings(threshold=AUTOMATIC, edge_margin=1)).cpu()


def _old_words(edit: PromptEdit) -> str:
    return ", ".join(change.before for change in changes_of(edit) if change.before)
