"""Which words of two prompts change, also those that one of them names only to say that they are not there."""

from typing import NamedTuple

from .alignment import KEPT, Row
from .dividing import phrases_of
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

    @classmethod
    def of(cls, lacking: set[Word], only_here: set[Word], left_out: set[Word]) -> "WordChanges":
        """lacking: The words that the other prompt lacks."""
        return cls(frozenset(lacking | only_here), frozenset(only_here), frozenset(left_out))


def word_changes(source: PromptTokens, target: PromptTokens, rows: tuple[Row, ...]) -> tuple[WordChanges, WordChanges]:
    """What changes of the source's words, and of the target's.

    Args:
        source, target: The two prompts.
        rows: What became of each word.
    """
    changed = [row for row in rows if row.kind != KEPT]
    old, new = {word for row in changed for word in row.source}, {word for row in changed for word in row.target}
    kept = [(row.source[0], row.target[0]) for row in rows if row.kind == KEPT]
    absent_before, absent_after = left_out(source), left_out(target)
    gone = {pair for pair in kept if pair[1] in absent_after and pair[0] not in absent_before}
    come = {pair for pair in kept if pair[0] in absent_before and pair[1] not in absent_after}
    return (
        WordChanges.of(old, only_here={word for word, _ in gone}, left_out={word for word, _ in come}),
        WordChanges.of(new, only_here={word for _, word in come}, left_out={word for _, word in gone}),
    )


def left_out(prompt: PromptTokens) -> set[Word]:
    """The words that a prompt names only to say that they are not there ("no clouds", "without a hat")."""
    phrases = (PlacedPhrase(prompt, phrase) for phrase in phrases_of(prompt))
    return {word for phrase in phrases if phrase.is_left_out for word in phrase.noun_phrase}
