"""The words to mask: those that a person names, else those that change in the picture."""

from .alignment import KEPT, Row
from .phrases import phrases_of, tokens_of
from .placed_phrase import PlacedPhrase
from .tokens import PromptTokens, Word
from .word_fields import find_words

Tokens = tuple[int, ...]


def named_tokens(prompt: PromptTokens, text: str, name: str) -> Tokens:
    """The tokens of the words that a person names.

    Args:
        prompt: The prompt that has them.
        text: The words, divided as `find_words` says.
        name: What the node calls the text.

    Returns:
        Positions in ascending order; none for an empty text.

    Raises:
        Refusal: The prompt lacks a word.
    """
    return tuple(sorted(token for tokens in find_words(prompt, text, name) for token in tokens))


def changed_source_tokens(source: PromptTokens, rows: tuple[Row, ...]) -> Tokens:
    """The tokens of the source's words that change in the picture: those that the target lacks, and the nouns of
    phrases that it describes anew. Of "a jeep" in "a silver jeep" that is the jeep.

    Args:
        source: The source prompt.
        rows: What became of each word.

    Returns:
        Positions in ascending order.
    """
    changed = {word for row in rows if row.kind != KEPT for word in row.source}
    described = _described(rows)
    hosts = [each for each in phrases_of(source) if changed.isdisjoint(each) and not described.isdisjoint(each)]
    return _tokens(changed | {PlacedPhrase(source, phrase).noun for phrase in hosts})


def changed_target_tokens(rows: tuple[Row, ...]) -> Tokens:
    """The tokens of the target's words that the source lacks.

    Args:
        rows: What became of each word.

    Returns:
        Positions in ascending order.
    """
    return _tokens({word for row in rows if row.kind != KEPT for word in row.target})


def _described(rows: tuple[Row, ...]) -> set[Word]:
    """Kept words of the source with a new word right before them, also in an article's place ("grandpa's jeep")."""
    return {
        described.source[0]
        for new, described in zip(rows, rows[1:])
        if new.target and described.kind == KEPT
        if not any(word.names_something for word in new.source)
        if all(word.names_something for word in (*new.target, *described.source))
    }


def _tokens(words: set[Word]) -> Tokens:
    """Of those words that can be seen: no articles, prepositions and the like."""
    return tokens_of(tuple(sorted((word for word in words if word.names_something), key=lambda word: word.indices)))
