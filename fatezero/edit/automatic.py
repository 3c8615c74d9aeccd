"""Preset *automatic*: which preset an edit asks for, by its words and by whether a place is given."""

from ..prompts.edit_kind import (
    ADDED,
    GROUND,
    LOOK,
    POSE,
    PROPERTY,
    REMOVED,
    THING,
    changes_of,
    own_words,
    things_that_stay,
)
from ..prompts.phrases import things_beside
from ..prompts.prompt_edit import PromptEdit
from .presets import PRESETS
from .settings import needs_words

AUTOMATIC = "automatic"

# For one kind of change alone. A new thing takes replace, which draws it more surely than shape (benchmarks/quality).
_ALONE = {
    LOOK: "style",
    GROUND: "new background",
    PROPERTY: "attribute",
    THING: "replace",
    POSE: "shape",
    ADDED: "add",
    REMOVED: "remove",
}
_OF_THINGS = {PROPERTY, THING, POSE, REMOVED}
_IN_ONE_PLACE = {ADDED, PROPERTY}  # "a dog wearing a red hat"; a new ground says where ("a UFO in the sky")


def automatic_preset(edit: PromptEdit, has_mask: bool) -> str:
    """The preset for an edit of a picture model.

    Several changes at once take the preset that has room for all of them. So does what has no place: a new thing
    without a mask, or a change for which no word of the source can be masked.

    Args:
        edit: The aligned prompts.
        has_mask: Whether a mask says where to edit.

    Returns:
        One of PRESETS, none of a paper's.
    """
    changes = changes_of(edit)
    kinds = {change.kind for change in changes}
    elsewhere = {change.kind for change in changes if change.kind != GROUND or change.before} - _IN_ONE_PLACE
    name = "add" if has_mask and ADDED in kinds and not elsewhere else _preset_of_kinds(kinds, len(changes))
    if name == "attribute" and len(changes) == 1 and things_beside(edit.source, edit.source_mask_tokens):
        name = "replace"  # else the words for the one act on the other, too
    comes_in = any(change.kind == GROUND and not (change.before and change.after) for change in changes)
    if not (has_mask or comes_in) and THING in kinds <= {PROPERTY, THING, GROUND} and own_words(edit):
        name = "replace"  # which finds each one's place; new colours alone show no gain, and the rest loses
    if name == "replace" and not edit.target_mask_tokens:
        name = "shape"  # no new word could be seen in its place
    if name == "new background" and not (has_mask or things_that_stay(edit)):
        name = "background"
    has_place = has_mask or bool(edit.source_mask_tokens)
    if has_place and (has_mask or name != "add"):
        return name
    without_place = needs_words(PRESETS[name]) or name == "add"
    return {"attribute": "style"}.get(name, "background") if without_place else name


def _preset_of_kinds(kinds: set[str], changes: int) -> str:
    if not kinds:
        return "enhance"
    if kinds == {THING} and changes > 1:  # which replace would draw in one place, unless they stand side by side
        return "shape"
    if len(kinds) == 1:
        return _ALONE[next(iter(kinds))]
    if kinds <= _OF_THINGS:
        return "shape"
    return "style" if kinds == {LOOK, PROPERTY} else "background"


def lacks_place(edit: PromptEdit, has_mask: bool) -> list[str]:
    """The new things that have no place, since there is no mask: no preset puts them where they belong."""
    return [] if has_mask else [change.after for change in changes_of(edit) if change.kind == ADDED]


def changes_in_words(edit: PromptEdit) -> str:
    """What changes, such as "red circle -> blue star"; empty where no word does."""
    return ", ".join(map(str, changes_of(edit)))
