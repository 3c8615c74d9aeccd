"""The best global alignment of two sequences of words."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

LARGEST_SCORE = 2**62  # scores beyond are kept as Python's own numbers, which know no limit but are slow


def match_words(
    source: Sequence[Hashable], target: Sequence[Hashable], is_punctuation: Sequence[bool]
) -> list[tuple[int, int]]:
    """The pairs (i, j) of equal items in a global alignment of two sequences, both ascending.

    Of all alignments that with the most matching words; among those the most matching punctuation, then the most words
    that match in unbroken blocks, then the least displacement |i - j|. Source: Needleman and Wunsch 1970.

    Args:
        source: The source's items.
        target: The target's items.
        is_punctuation: For each source item, whether it is punctuation and no word.

    Returns:
        The pairs, in ascending order.

    >>> match_words(["a", "silver", "jeep", "on", "a", "road"], ["a", "road"], [False] * 6)
    [(4, 0), (5, 1)]
    """
    moves = _best_moves(_numbered(source, target), len(source), is_punctuation)
    pairs, i, j, inside = [], len(source), len(target), False
    while i and j:
        i, j = i - 1, j - 1
        if inside or moves.match[i, j]:
            pairs.append((i, j))
            inside = moves.block[i, j]
        elif moves.skip_source[i, j]:
            j += 1
        else:
            i += 1
    return pairs[::-1]


class _Moves(NamedTuple):
    """How the best alignment of source[: i + 1] and target[: j + 1] ends, bool [source, target] each.

    match: With the pair (i, j). skip_source: With source item i unmatched. block: The pair (i, j), where it ends one,
    goes on from the pair (i - 1, j - 1).
    """

    match: np.ndarray
    skip_source: np.ndarray
    block: np.ndarray


def _best_moves(items: np.ndarray, length: int, is_punctuation: Sequence[bool]) -> _Moves:
    """Scores all pairs a row at a time; items: the source's, `length` of them, and the target's, equal ones alike.

    The best score of a place is the largest so far among those of the row above and those of matches in its own row.
    """
    source, target = items[:length], items[length:]
    weights = _Weights.of(length, len(target))
    moves = _Moves(*(np.zeros((length, len(target)), dtype=bool) for _ in range(3)))
    never = -weights.block - 1  # the score of a pair that does not match
    places = np.arange(len(target)).astype(weights.dtype)
    best = np.zeros(
        len(target) + 1, dtype=weights.dtype
    )  # of the row above, as `ending`: the scores that end in a pair
    ending = np.full(len(target) + 1, never, dtype=weights.dtype)
    for i, item in enumerate(source):
        is_word = not is_punctuation[i] and i > 0 and not is_punctuation[i - 1]
        apart, together = best[:-1], ending[:-1] + weights.block
        block = (together > apart) & is_word
        score = (weights.mark if is_punctuation[i] else weights.word) - abs(places - i)
        matched = np.where(target == item, score + np.where(block, together, apart), never)
        here = np.maximum.accumulate(np.maximum(best[1:], matched))
        moves.match[i], moves.skip_source[i], moves.block[i] = here == matched, here == best[1:], block
        best[1:], ending[1:] = here, matched
    return moves


class _Weights(NamedTuple):
    """What a matching word, a matching mark and an unbroken block are worth; each more than all that comes after it."""

    word: int
    mark: int
    block: int
    dtype: Any

    @classmethod
    def of(cls, length: int, other_length: int) -> "_Weights":
        pairs = min(length, other_length) + 1  # more than there can be
        block = pairs * max(length, other_length) + 1  # more than all displacements together
        mark = pairs * block
        word = pairs * mark
        return cls(word, mark, block, np.int64 if pairs * word < LARGEST_SCORE else object)


def _numbered(source: Sequence[Hashable], target: Sequence[Hashable]) -> np.ndarray:
    """The items of both sequences as numbers, equal ones alike."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(item, len(numbers)) for item in (*source, *target)], dtype=np.int64)
