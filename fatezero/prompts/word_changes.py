"""Which words of two prompts change, also those that one of them names only to say that they are not there."""

from typing import NamedTuple

from .alignment import KEPT, Row
from .phrases import phrases_of
from .placed_phrase import PlacedPhrase
from .tokens import PromptTokens, Word


class WordChanges(NamedTuple):
    """Words of one of two prompts.

    changed: Those that the other lacks, and `only_here`.
    only_here: Those that the other leaves out ("a man with a hat" where that has "a man without a hat").
    left_out: Those that this one leaves out, and the other does not.
    """

    changed: frozenset[Word]
    only_here: frozenset[Word]
    left_out: frozenset[Word]


def word_changes(source: PromptTokens, target: PromptTokens, rows: tuple[Row, ...]) -> tuple[WordChanges, WordChanges]:
    """What changes of the source's words, and of the target's.

    Args:
        source, target: The two prompts.
        rows: What became of each word.
    """
    changed = [[word for row in rows if row.kind != KEPT for word in row[side]] for side in (1, 2)]
    kept = [(row.source[0], row.target[0]) for row in rows if row.kind == KEPT]
    absent = left_out(source), left_out(target)
    gone = [(old, new) for old, new in kept if new in absent[1] and old not in absent[0]]
    come = [(old, new) for old, new in kept if old in absent[0] and new not in absent[1]]
    here = {old for old, _ in gone}, {new for _, new in come}
    out = {old for old, _ in come}, {new for _, new in gone}
    before, after = (
        WordChanges(frozenset({*changed[side], *here[side]}), frozenset(here[side]), frozenset(out[side]))
        for side in (0, 1)
    )
    return before, after


def left_out(prompt: PromptTokens) -> set[Word]:
    """The words that a prompt names only to say that they are not there ("no clouds", "without a hat")."""
    phrases = (PlacedPhrase(prompt, phrase) for phrase in phrases_of(prompt))
    return {word for phrase in phrases if phrase.is_left_out for word in phrase.noun_phrase}
