"""The words to mask: those that a person names, else those that change in the picture."""

from collections.abc import Collection

from .alignment import KEPT, Row
from .dividing import phrases_of
from .known_words import HOLDS
from .looks import is_picture_of, names_look
from .phrases import tokens_of
from .placed_phrase import Phrase, PlacedPhrase, is_participle
from .tokens import PromptTokens, Word
from .word_changes import left_out, word_changes
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


def changed_source_tokens(source: PromptTokens, target: PromptTokens, rows: tuple[Row, ...]) -> Tokens:
    """The tokens of the source's words that change in the picture: those that the target lacks or leaves out, and the
    nouns of phrases that it describes anew. Of "a jeep" in "a silver jeep" that is the jeep, of "a jeep made of steel"
    in "a jeep made of glass" the jeep and the steel.

    Args:
        source, target: The two prompts.
        rows: What became of each word.

    Returns:
        Positions in ascending order.
    """
    changed = word_changes(source, target, rows)[0].changed - left_out(source)
    described = _described(target, rows) | _described_by_phrases(source, target, rows)
    phrases = [PlacedPhrase(source, phrase) for phrase in phrases_of(source)]
    hosts = [
        host for host, each in zip(phrases, phrases[1:]) if each.is_material and not changed.isdisjoint(each.phrase)
    ]
    hosts += [each for each in phrases if not described.isdisjoint(each.phrase)]
    return _tokens(changed | {host.noun for host in hosts if changed.isdisjoint(host.noun_phrase)})


def changed_target_tokens(source: PromptTokens, target: PromptTokens, rows: tuple[Row, ...]) -> Tokens:
    """The tokens of the target's words that the source lacks or leaves out.

    Args:
        source, target: The two prompts.
        rows: What became of each word.

    Returns:
        Positions in ascending order.
    """
    return _tokens(word_changes(source, target, rows)[1].changed - left_out(target))


def _described(target: PromptTokens, rows: tuple[Row, ...]) -> set[Word]:
    """Kept words of the source that a new word describes: one right before them, also in an article's place
    ("grandpa's jeep"), or a participle right behind them ("a jeep made of glass") that tells of no picture."""
    drawn = {phrase[0] for phrase in phrases_of(target) if names_look(target, phrase)}
    ahead = {two.source[0] for one, two in zip(rows, rows[1:]) if two.kind == KEPT and _is_new(one)}
    behind = {one.source[0] for one, two in zip(rows, rows[1:]) if one.kind == KEPT and _is_new_participle(two, drawn)}
    return {word for word in ahead | behind if word.names_something}


def _described_by_phrases(source: PromptTokens, target: PromptTokens, rows: tuple[Row, ...]) -> set[Word]:
    """Kept words of the source that a new phrase of the target describes from afar: "cake" of "a slice of cake", "dog"
    of "a dog carved out of wood"."""
    kept = {row.target[0]: row.source[0] for row in rows if row.kind == KEPT}
    phrases, described = phrases_of(target), set()
    for at, phrase in enumerate(phrases):
        placed = PlacedPhrase(target, phrase)
        hosts: tuple[Phrase, ...] = ()
        if placed.has_part_behind:
            hosts = phrases[at + 1 : at + 2]
        elif placed.preposition in {"like", "as"} or placed.is_material or placed.is_outcome:
            hosts = phrases[:at][::-1]
        if hosts and kept.keys().isdisjoint(phrase) and not is_picture_of(target, phrase):
            host = next((host for host in hosts if not kept.keys().isdisjoint(host)), ())
            described |= {kept[word] for word in host if word in kept}
    had_parts = (each for each in phrases_of(source) if PlacedPhrase(source, each).preposition == "of")
    return described.difference(*had_parts)


def _is_new(row: Row) -> bool:
    """Whether a row has a new word that can be seen, in no such word's place."""
    is_seen = bool(row.target) and row.kind != KEPT and all(word.names_something for word in row.target)
    return is_seen and not any(word.names_something for word in row.source)


def _is_new_participle(row: Row, drawn: set[Word]) -> bool:
    return _is_new(row) and is_participle(row.target[0].key) and row.target[0] not in drawn


def _tokens(words: Collection[Word]) -> Tokens:
    """Of those words that can be seen: no articles, prepositions and the like, nor "wearing"."""
    seen = (word for word in words if word.names_something and word.key not in HOLDS)
    return tokens_of(tuple(sorted(seen, key=lambda word: word.indices)))
