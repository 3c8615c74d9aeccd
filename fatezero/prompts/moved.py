"""Phrases that stand elsewhere in the other prompt, and mean the same there ("on the beach a dog runs")."""

from itertools import takewhile

from .dividing import phrases_of
from .placed_phrase import Phrase, PlacedPhrase, is_adjective
from .tokens import PromptTokens, Word


def moved_words(source: PromptTokens, target: PromptTokens, old: set[Word], new: set[Word]) -> dict[Word, Word]:
    """The words of whole phrases that moved, and of the prepositions and articles before them.

    Colors that change places ("a black cat on a red sofa") are no whole phrases, and things that do ("a dog on a sofa
    and a cat on a rug") are somewhere else.

    Args:
        source, target: The two prompts.
        old, new: Their words that have no counterpart so far.

    Returns:
        The source's word for each of the target's words that moved.
    """
    before: dict[tuple, list[Phrase]] = {}
    for phrase in filter(old.issuperset, phrases_of(source)):
        before.setdefault(_likeness(source, phrase), []).append(phrase)
    moved: dict[Word, Word] = {}
    for phrase in filter(new.issuperset, phrases_of(target)):
        same = before.get(_likeness(target, phrase))
        is_color = all(is_adjective(word.key) for word in phrase)
        if same and not is_color and _have_one_place(source, same[0], target, phrase):
            pairs = zip(_with_small_words(target, phrase), _with_small_words(source, same.pop(0)))
            alike = takewhile(lambda pair: pair[0].key == pair[1].key, pairs)
            moved |= {here: there for here, there in alike if here in new and there in old}
    return moved


def _likeness(prompt: PromptTokens, phrase: Phrase) -> tuple:
    """What phrases have alike that say the same: their words and the preposition before them."""
    placed = PlacedPhrase(prompt, phrase)
    return tuple(prompt.word_ids(word) for word in phrase), "" if placed.is_bare else placed.preposition


def _have_one_place(source: PromptTokens, before: Phrase, target: PromptTokens, after: Phrase) -> bool:
    """Whether no two different phrases behind them, with prepositions, say where they are."""
    places = [_place_behind(source, before), _place_behind(target, after)]
    return not all(places) or places[0] == places[1]


def _place_behind(prompt: PromptTokens, phrase: Phrase) -> tuple[str, ...]:
    phrases = phrases_of(prompt)
    at = phrases.index(phrase) + 1
    is_place = at < len(phrases) and not PlacedPhrase(prompt, phrases[at]).is_bare
    return tuple(word.key for word in phrases[at]) if is_place else ()


def _with_small_words(prompt: PromptTokens, phrase: Phrase) -> Phrase:
    """A phrase and its preposition and articles, from its end on."""
    words, start = prompt.words, prompt.words.index(phrase[0])
    while start and words[start - 1].key and not words[start - 1].names_something:
        start -= 1
    return words[start : words.index(phrase[-1]) + 1][::-1]
