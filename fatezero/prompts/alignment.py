"""Which target token follows which source token: the mapper of prompt-to-prompt, from words.

The fused cross-attention of a target column j is R_j = (c_src P)_j + (1 - beta_j) (c_edit)_j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..refusal import Refusal
from .moved import moved_words
from .word_matching import match_words

if TYPE_CHECKING:
    from .tokens import PromptTokens, Word

AUTO, SWAP, REFINE = "auto", "swap", "refine"
MODES = (AUTO, SWAP, REFINE)
KEPT, SWAPPED, NEW, REMOVED = "kept", "swapped", "new", "removed"


class Row(NamedTuple):
    """One line of an alignment: source words and the target words that follow them; kind as above."""

    kind: str
    source: tuple[Word, ...]
    target: tuple[Word, ...]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Which target token follows which source token; immutable.

    Attributes:
        mode: swap or refine, as used.
        mapper: P, float32 [T_source, T_target].
        from_source: beta, float32 [T_target] of 0 and 1.
        rows: What became of each word, in reading order.
    """

    mode: str
    mapper: torch.Tensor
    from_source: torch.Tensor
    rows: tuple[Row, ...]


def align(source: PromptTokens, target: PromptTokens, mode: str = AUTO) -> Alignment:
    """Aligns two prompts, word by word and within a word token by token.

    Words in both prompts keep the source's attention in either mode, and words that were only added keep their own.
    What differs is words in place of others:
    - swap: they take over the attention of those. Equal numbers of words pair off, otherwise the whole runs do. A pair
      of |S| and |T| tokens is linked one to one when those are equal, else with 1/|T| each.
    - refine: they keep their own.
    - auto: swap when some words are replaced by as many others and none by fewer or more, else refine.
    Source: prompt-to-prompt's replacement and refinement mappers where those are right. Differs: words are aligned by
    `match_words` in both modes, so that added or removed words and punctuation shift nothing, and begin, end and
    padding only ever follow their like; a phrase that stands elsewhere follows its like, too.

    Args:
        source: The source prompt.
        target: The target prompt.
        mode: auto, swap or refine.

    Returns:
        The alignment, with the mode that was used.

    Raises:
        Refusal: For an unknown mode.
    """
    if mode not in MODES:
        raise Refusal(f"'mode' is '{mode}'; choose one of {', '.join(MODES)}.")
    runs = _with_moved(source, target, _runs(source, target))
    changes = [(_words(run.source), _words(run.target)) for run in runs if run.kind != KEPT]
    replaced = [len(old) == len(new) for old, new in changes if old and new]
    if mode == AUTO:
        mode = SWAP if replaced and all(replaced) else REFINE
    rows = tuple(row for run in runs for row in _rows(run, mode))
    mapper = _mapper(source, target, rows)
    return Alignment(mode, mapper, (mapper.sum(dim=0) > 0).float(), rows)


def _runs(source: PromptTokens, target: PromptTokens) -> list[Row]:
    """The alignment as kept words and, between them, runs of old words with the new words in their place."""
    matches = match_words(
        [source.word_ids(word) for word in source.words],
        [target.word_ids(word) for word in target.words],
        [word.is_punctuation for word in source.words],
    )
    runs, i, j = [], 0, 0
    for next_i, next_j in [*matches, (len(source.words), len(target.words))]:
        if i < next_i or j < next_j:
            runs.append(Row(SWAPPED, source.words[i:next_i], target.words[j:next_j]))
        if next_i < len(source.words):
            runs.append(Row(KEPT, source.words[next_i : next_i + 1], target.words[next_j : next_j + 1]))
        i, j = next_i + 1, next_j + 1
    return runs


def _with_moved(source: PromptTokens, target: PromptTokens, runs: list[Row]) -> list[Row]:
    """The runs, what only moved as kept words before what is left of its new place."""
    old = {word for run in runs if run.kind != KEPT for word in run.source}
    new = {word for run in runs if run.kind != KEPT for word in run.target}
    moved = moved_words(source, target, old, new)
    gone = set(moved.values())
    result = []
    for run in runs:
        here = [word for word in run.target if word in moved]
        result += [Row(KEPT, (moved[word],), (word,)) for word in here]
        left = Row(
            run.kind,
            tuple(word for word in run.source if word not in gone),
            tuple(word for word in run.target if word not in moved),
        )
        result += [left] if left.source or left.target else []
    return result


def _rows(run: Row, mode: str) -> list[Row]:
    """A run's rows: kept as it is, paired when words are swapped, else removed and new."""
    if run.kind == KEPT:
        return [run]
    old, new = _words(run.source), _words(run.target)
    swapped: list[Row] = []
    if mode == SWAP and old and new:
        pairs = [((a,), (b,)) for a, b in zip(old, new)] if len(old) == len(new) else [(old, new)]
        swapped = [Row(SWAPPED, *pair) for pair in pairs]
    removed = [Row(REMOVED, (word,), ()) for word in run.source if word.is_punctuation or not swapped]
    added = [Row(NEW, (), (word,)) for word in run.target if word.is_punctuation or not swapped]
    return [*sorted(removed + swapped, key=lambda row: row.source[0].indices), *added]


def _mapper(source: PromptTokens, target: PromptTokens, rows: tuple[Row, ...]) -> torch.Tensor:
    mapper = torch.zeros(source.length, target.length)
    for row in rows:
        if row.source and row.target:
            _link(mapper, _tokens(row.source), _tokens(row.target))
    _link_special_tokens(mapper, source, target)
    return mapper


def _link(mapper: torch.Tensor, source: list[int], target: list[int]) -> None:
    if len(source) == len(target):
        mapper[source, target] = 1.0
    else:
        mapper[torch.tensor(source)[:, None], torch.tensor(target)] = 1.0 / len(target)


def _link_special_tokens(mapper: torch.Tensor, source: PromptTokens, target: PromptTokens) -> None:
    """Begin to begin, end to end, padding to padding at the same position or the nearest one, chunk by chunk.

    Prompts of different numbers of chunks share the last chunk's tokens, so that their attention is neither lost nor
    counted twice.
    """
    last = len(source.chunks) - 1
    sharing = max(1, len(target.chunks) - last)
    for number, chunk in enumerate(target.chunks):
        first = min(number, last)
        stop = last + 1 if number == len(target.chunks) - 1 else first + 1
        weight = 1.0 / sharing if first == last else 1.0
        for other in source.chunks[first:stop]:
            if other.begin is not None and chunk.begin is not None:
                mapper[other.begin, chunk.begin] = weight
            mapper[other.end, chunk.end] = weight
            for index in chunk.padding:
                same_place = other.first + index - chunk.first
                if other.padding:
                    mapper[max(same_place, other.end + 1), index] = weight
                elif chunk.begin is not None:  # T5's may be masked: what its end sees must not come in there
                    mapper[other.end, index] = weight


def _words(words: tuple[Word, ...]) -> tuple[Word, ...]:
    return tuple(word for word in words if not word.is_punctuation)


def _tokens(words: tuple[Word, ...]) -> list[int]:
    return [index for word in words for index in word.indices]
