"""A prompt edit: which target token follows which source token, and what a person asked for word by word."""

import re
from dataclasses import dataclass
from itertools import groupby

import torch

from .alignment import AUTO, KEPT, NEW, REMOVED, SWAPPED, Row, align
from .tokens import PromptTokens, Word, find_words

EMPHASIS_LIMIT = 20.0
WHOLE_WINDOW = (0.0, 1.0)

# Their attention is spread over the whole picture, so they would spoil a mask.
FUNCTION_WORDS = frozenset(
    "a an the and or of in on at to by for from with without into onto over under is are his her its their".split()
)
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_WINDOW = re.compile(rf"(?:({_NUMBER})\s*[-–]\s*)?({_NUMBER})")


@dataclass(frozen=True, eq=False)
class PromptEdit:
    """An edit from a source to a target prompt (wire type FZ_EDIT); immutable.

    mode: "swap" or "refine"; mapper: P, float32 [T_source, T_target], and from_source: beta, float32 [T_target] of 0
    and 1, see `align`; emphasis: e, float32 [T_target], 1 for none, multiplies the fused cross-attention; windows:
    (target token positions, start, end) for tokens with a cross-attention window of their own, as fractions of the
    steps from the noisiest; source_mask_tokens, target_mask_tokens: positions of the words to mask.
    """

    source: PromptTokens
    target: PromptTokens
    mode: str
    mapper: torch.Tensor
    from_source: torch.Tensor
    emphasis: torch.Tensor
    windows: tuple[tuple[tuple[int, ...], float, float], ...]
    source_mask_tokens: tuple[int, ...]
    target_mask_tokens: tuple[int, ...]
    version: int = 1

    def window(self, token: int) -> tuple[float, float]:
        """The window of a target token; (0, 1) when it has none of its own."""
        return next(((start, end) for tokens, start, end in self.windows if token in tokens), WHOLE_WINDOW)

    def summary(self) -> str:
        """The alignment as a table: "= kept", "old -> new", "+ new" and "- removed" words, the masks, and notes."""
        rows = align(self.source, self.target, self.mode).rows
        return "\n".join(
            [
                f"mode: {self.mode}",
                *_table(self, rows),
                f"mask: {_masked(self.source, self.source_mask_tokens)}",
                f"target mask: {_masked(self.target, self.target_mask_tokens)}",
                *(f"! {note}" for note in _notes(self, rows)),
            ]
        )

    __str__ = summary


def make_prompt_edit(
    source: PromptTokens,
    target: PromptTokens,
    mode: str = AUTO,
    emphasis: str = "",
    mask_words: str = "",
    target_mask_words: str = "",
    windows: str = "",
) -> PromptEdit:
    """Aligns two prompts and reads what a person wrote about their words.

    mode: auto, swap or refine, see `align`; emphasis: such as "crystal:5, swarovski:3", target words and factors
    -20..20; mask_words: source words, target_mask_words: target words, each empty for the words that changed;
    windows: such as "silver:0.8, jeep:0.2-0.9", target words and fractions 0..1 of the steps (a single number is the
    end, 0 for never). A word stands for all its occurrences.
    Raises ValueError for words that the prompt does not have and for numbers that are missing or out of range.
    """
    alignment = align(source, target, mode)
    factors = torch.ones(target.length)
    for tokens, factor in _word_values(target, emphasis, "emphasis", _factor):
        factors[list(tokens)] = factor
    return PromptEdit(
        source,
        target,
        alignment.mode,
        alignment.mapper,
        alignment.from_source,
        factors,
        tuple((tokens, *span) for tokens, span in _word_values(target, windows, "windows", _span)),
        _mask_tokens(source, mask_words, "mask words", alignment.changed_source) or _described_tokens(alignment.rows),
        _mask_tokens(target, target_mask_words, "target mask words", alignment.changed_target),
    )


def _word_values(target: PromptTokens, text: str, name: str, read) -> list[tuple[tuple[int, ...], object]]:
    """(target token positions, value) of every "words:value" in a text; read(value, complaint) parses a value."""
    found, taken = [], set()
    for item in filter(None, map(str.strip, re.split(r"[,;\n]", text))):
        words, _, value = item.rpartition(":")
        value = read(value.strip(), f"Edit Prompts: '{name}' has '{item}'")
        indices = find_words(target, words, f"Edit Prompts: '{name}'")
        tokens = tuple(token for word in indices for token in word)
        if not tokens or not taken.isdisjoint(tokens):
            raise ValueError(
                f"Edit Prompts: '{name}' has '{item}', which names "
                f"{'a word that has a value already' if tokens else 'no word'}; give each word one value."
            )
        taken.update(tokens)
        found.append((tokens, value))
    return found


def _factor(text: str, complaint: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        raise ValueError(f"{complaint} where a word and its factor are expected; write it like crystal:5.") from None
    if not abs(factor) <= EMPHASIS_LIMIT:
        raise ValueError(f"{complaint}; choose a factor from {-EMPHASIS_LIMIT:g} to {EMPHASIS_LIMIT:g}.")
    return factor


def _span(text: str, complaint: str) -> tuple[float, float]:
    match = _WINDOW.fullmatch(text)
    if not match:
        raise ValueError(
            f"{complaint} where a word and its share of the steps are expected; write it like silver:0.8 "
            f"or silver:0.2-0.8."
        )
    start, end = float(match[1] or 0), float(match[2])
    if end > 1 or (start >= end and match[1]):
        raise ValueError(f"{complaint}; choose a start below the end, both from 0 to 1.")
    return start, end


def _mask_tokens(prompt: PromptTokens, text: str, name: str, changed: tuple[int, ...]) -> tuple[int, ...]:
    """Token positions of the words named, or of the changed words other than articles, prepositions and the like."""
    if text.strip():
        words = find_words(prompt, text, f"Edit Prompts: '{name}'")
    else:
        words = [word.indices for word in prompt.words if word.indices[0] in changed and word.key not in FUNCTION_WORDS]
    return tuple(sorted(token for word in words for token in word))


def _described_tokens(rows: tuple[Row, ...]) -> tuple[int, ...]:
    """Source positions of the words that new ones stand right before: in "a jeep" -> "a silver jeep" that is the jeep."""
    return tuple(
        token
        for new, described in zip(rows, rows[1:])
        if new.kind == NEW and described.kind == KEPT and _say_something(new.target + described.source[:1])
        for token in described.source[0].indices
    )


def _say_something(words) -> bool:
    return not any(word.is_punctuation or word.key in FUNCTION_WORDS for word in words)


def _table(edit: PromptEdit, rows: tuple[Row, ...]) -> list[str]:
    """A line per swapped row and per stretch of other rows of one kind, with emphasis and window behind."""

    def likeness(row):
        return row.kind, _remarks(edit, row), row.kind == SWAPPED and row.target

    lines = []
    for (kind, remarks, _), alike in groupby(rows, likeness):
        alike = list(alike)
        source = _shortened([word for row in alike for word in row.source])
        target = _shortened([word for row in alike for word in row.target])
        text = {KEPT: f"= {target}", SWAPPED: f"{source} -> {target}", NEW: f"+ {target}", REMOVED: f"- {source}"}[kind]
        remarks = ", ".join((kind, *remarks) if kind != KEPT else remarks)
        lines.append(f"{text} ({remarks})" if remarks else text)
    return lines


def _remarks(edit: PromptEdit, row: Row) -> tuple[str, ...]:
    """The emphasis and the window of a row's target words."""
    tokens = [token for word in row.target for token in word.indices]
    factors = [f"x{edit.emphasis[token].item():g}" for token in tokens if edit.emphasis[token] != 1]
    windows = [_steps(edit.window(token)) for token in tokens if edit.window(token) != WHOLE_WINDOW]
    return tuple(dict.fromkeys(factors + windows))


def _steps(window: tuple[float, float]) -> str:
    return "steps {:g}-{:g}".format(*window) if window[1] else "no steps"


def _shortened(words: list[Word]) -> str:
    """Words as running text, the middle of a long stretch left out."""
    return re.sub(r" ([,.;:!?)])", r"\1", " ".join(_ends([word.text for word in words])))


def _masked(prompt: PromptTokens, tokens: tuple[int, ...]) -> str:
    names = dict.fromkeys(word.text for word in prompt.words if word.indices[0] in tokens)
    return ", ".join(_ends(list(names))) or "none"


def _ends(texts: list[str]) -> list[str]:
    return texts if len(texts) < 10 else [*texts[:4], "…", *texts[-4:]]


def _notes(edit: PromptEdit, rows: tuple[Row, ...]) -> list[str]:
    """What a person may not expect of this edit, a sentence each."""
    notes = []
    old = [word for row in rows if row.kind != KEPT for word in row.source]
    new = [word for row in rows if row.kind != KEPT for word in row.target]
    if not old and not new:
        if bool((edit.emphasis == 1).all()):
            notes.append("The prompts are the same, so the edit gives the source back.")
    elif all(word.is_punctuation for word in old + new):
        notes.append("Only punctuation differs, so the edit gives nearly the source back.")
    elif all(row.kind != KEPT or row.source[0].is_punctuation for row in rows):
        notes.append("The prompts have no word in common, so little of the source will be kept.")
    if (old or new) and not edit.source_mask_tokens:
        notes.append("No source word is masked; to edit only a part, name its source words in 'mask words'.")
    for before in old:
        for after in new:
            if before.key != after.key and _letters(before) == _letters(after):
                notes.append(f"'{before.text}' and '{after.text}' differ only in their marks, yet count as different.")
    for word in edit.target.words:
        window = edit.window(word.indices[0])
        if edit.emphasis[word.indices[0]] != 1 and window != WHOLE_WINDOW:
            notes.append(f"The emphasis of '{word.text}' acts only in its window: {_steps(window)}.")
    blocks = len(edit.source.chunks), len(edit.target.chunks)
    if blocks[0] != blocks[1]:
        notes.append(
            "The prompts take {} and {} blocks of 77 tokens; prompts of equal blocks edit more faithfully.".format(
                *blocks
            )
        )
    return notes


def _letters(word: Word) -> str:
    return "".join(filter(str.isalnum, word.key))
