"""A prompt edit for a person to read: what became of each word, what is masked, and what may surprise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from .alignment import KEPT, NEW, REMOVED, SWAPPED, Row
from .edit_kind import ADDED, LOOK, changes_of
from .known_words import HOLDS, POSITIONS
from .tokens import PromptTokens, Word
from .unspaced import joined
from .word_fields import ATTENTION, BY_WORD, MEANING
from .wording import wording_notes

if TYPE_CHECKING:
    from .prompt_edit import PromptEdit


def edit_table(edit: PromptEdit) -> str:
    """The alignment as "= kept", "old -> new", "+ new" and "- removed" words, then the masks, then notes."""
    notes = [
        *wording_notes(edit.source.text, edit.target.text, any_language=edit.source.is_t5),
        *_on_sameness(edit),
        *_on_the_mask(edit),
        *_on_marks(edit),
        *_on_emphasis(edit),
        *_on_blocks(edit),
    ]
    return "\n".join(
        [
            f"mode: {edit.mode}",
            *_lines(edit),
            *_acts_on(edit),
            f"mask: {_masked(edit.source, edit.source_mask_tokens)}",
            f"target mask: {_masked(edit.target, edit.target_mask_tokens)}",
            *(f"! {note}" for note in notes),
        ]
    )


def changed_weights(edit: PromptEdit) -> list[str]:
    """The kept words whose weight, as in (word:1.2), is another in the target prompt, such as "red (1.6 to 0.2)"."""
    return list(
        dict.fromkeys(f"{row.target[0].text} ({change})" for row in edit.rows if (change := _weights(edit, row)))
    )


def _weights(edit: PromptEdit, row: Row) -> str:
    """The weights of a kept word before and after, or nothing where they are the same."""
    if row.kind != KEPT or row.target[0].is_punctuation:
        return ""
    before, after = edit.source.weight(row.source[0]), edit.target.weight(row.target[0])
    return f"{before:g} to {after:g}" if f"{before:g}" != f"{after:g}" else ""


def _lines(edit: PromptEdit) -> list[str]:
    """A line for each swapped row and for each stretch of other rows of one kind, with emphasis and window behind."""

    def likeness(row: Row) -> tuple:
        return row.kind, _remarks(edit, row), row.kind == SWAPPED and row.target

    lines = []
    for (kind, remarks, _), group in groupby(edit.rows, likeness):
        rows = list(group)
        source = _shortened([word for row in rows for word in row.source])
        target = _shortened([word for row in rows for word in row.target])
        text = {KEPT: f"= {target}", SWAPPED: f"{source} -> {target}", NEW: f"+ {target}", REMOVED: f"- {source}"}[kind]
        remarks = ", ".join((kind, *remarks) if kind != KEPT else remarks)
        lines.append(f"{text} ({remarks})" if remarks else text)
    return lines


def _remarks(edit: PromptEdit, row: Row) -> tuple[str, ...]:
    """The emphasis and the window of a row's target words, and a kept word's weight where it changed."""
    tokens = [token for word in row.target for token in word.indices]
    factors = [f"x{edit.emphasis[token].item():g}" for token in tokens if edit.emphasis[token] != 1]
    windows = [_steps(window) for token in tokens if (window := edit.own_window(token))]
    weights = [f"weight {change}"] if (change := _weights(edit, row)) else []
    return tuple(dict.fromkeys(factors + windows + weights))


def _acts_on(edit: PromptEdit) -> list[str]:
    """What emphasis acts on, where there is any."""
    if not bool((edit.emphasis != 1).any()):
        return []
    if edit.emphasis_acts_on != BY_WORD:
        return [f"emphasis acts on: {edit.emphasis_acts_on}"]
    by_attention = edit.attention_emphasis != 1
    ways = {ATTENTION: by_attention, MEANING: (edit.emphasis != 1) & ~by_attention}
    words = {way: _names(edit.target, tokens.nonzero().flatten().tolist()) for way, tokens in ways.items()}
    return ["emphasis acts on: " + ", ".join(f"{way} ({names})" for way, names in words.items() if names)]


def _steps(window: tuple[float, float]) -> str:
    return f"steps {window[0]:g}-{window[1]:g}" if window[1] else "no steps"


def _shortened(words: list[Word]) -> str:
    """Words as running text, the middle of a long stretch left out."""
    return re.sub(r" ([,.;:!?)])", r"\1", joined(_ends([word.text for word in words])))


def _masked(prompt: PromptTokens, tokens: tuple[int, ...]) -> str:
    return _names(prompt, tokens) or "none"


def _names(prompt: PromptTokens, tokens: Sequence[int]) -> str:
    """The words that begin with some tokens."""
    names = dict.fromkeys(word.text for word in prompt.words if word.indices[0] in tokens)
    return ", ".join(_ends(list(names)))


def _ends(texts: list[str]) -> list[str]:
    return texts if len(texts) < 10 else [*texts[:4], "…", *texts[-4:]]


def _changed(edit: PromptEdit) -> tuple[list[Word], list[Word]]:
    """The words that only the source prompt has, and those that only the target prompt has."""
    rows = [row for row in edit.rows if row.kind != KEPT]
    return [word for row in rows for word in row.source], [word for row in rows for word in row.target]


def _on_sameness(edit: PromptEdit) -> list[str]:
    """Prompts that are too much alike for an edit, or too little."""
    old, new = _changed(edit)
    weights = changed_weights(edit)
    if not old and not new and weights:
        return [
            f"Only weights differ: {', '.join(_ends(weights))}. They change little here; to strengthen or weaken a "
            "word, write it in 'emphasis'."
        ]
    if not old and not new and not _is_reordered(edit):
        plain = bool((edit.emphasis == 1).all())
        return ["The prompts are the same, so the edit gives the source back."] if plain else []
    if all(word.is_punctuation for word in old + new) and not _is_reordered(edit):
        return ["Only punctuation differs, so the edit gives nearly the source back."]
    if not any(_tells_something(word) for word in old + new) and not changes_of(edit):
        return [
            "Only small words such as 'on', or the order of words, differ; that moves nothing in the clip, so the edit "
            "gives nearly the source back."
        ]
    if all(row.kind != KEPT or not row.source[0].names_something for row in edit.rows):
        return ["The prompts have no word in common, so little of the source will be kept."]
    return []


def _is_reordered(edit: PromptEdit) -> bool:
    kept = [row.source[0].indices for row in edit.rows if row.kind == KEPT]
    return kept != sorted(kept)


def _tells_something(word: Word) -> bool:
    """Whether a word is more than a preposition, a side or the like."""
    return word.names_something and word.key not in POSITIONS | HOLDS


def _on_the_mask(edit: PromptEdit) -> list[str]:
    """An edit that changes words of which none can be masked, though what they change has a place in the clip."""
    kinds = {change.kind for change in changes_of(edit)}
    if edit.source_mask_tokens or kinds <= {LOOK, ADDED}:
        return []
    return ["No source word is masked; to edit only a part, name its source words in 'mask words' or draw a mask."]


def _on_marks(edit: PromptEdit) -> list[str]:
    """Words such as "spiderman" and "Spider-Man", which a person takes for the same."""
    old, new = _changed(edit)
    alike: dict[str, dict[str, Word]] = {}
    for before in old:
        alike.setdefault(_letters(before), {}).setdefault(before.key, before)
    pairs = {
        (before.text, after.text): None
        for after in new
        for before in alike.get(_letters(after), {}).values()
        if before.key != after.key
    }
    return [f"'{before}' and '{after}' differ only in their marks, yet count as different." for before, after in pairs]


def _letters(word: Word) -> str:
    return "".join(filter(str.isalnum, word.key))


def _on_emphasis(edit: PromptEdit) -> list[str]:
    """Emphasis that acts in a part of the steps only, or a choice of how it acts where there is none."""
    if edit.emphasis_acts_on == MEANING and bool((edit.emphasis == 1).all()):
        return ["'emphasis acts on' has no effect, since no word in 'emphasis' has a factor other than 1."]
    emphasised = [word for word in edit.target.words if edit.attention_emphasis[word.indices[0]] != 1]
    return [
        f"The emphasis of '{word.text}' acts only in its window: {_steps(window)}."
        for word in emphasised
        if (window := edit.own_window(word.indices[0]))
    ]


def _on_blocks(edit: PromptEdit) -> list[str]:
    """Prompts of different lengths as CLIP counts them."""
    source, target = len(edit.source.chunks), len(edit.target.chunks)
    if source == target:
        return []
    return [
        f"The prompts take {source} and {target} blocks of 77 tokens; prompts of equal blocks edit more faithfully."
    ]
