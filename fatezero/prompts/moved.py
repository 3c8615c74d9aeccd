"""Phrases that stand elsewhere in the other prompt, and mean the same there ("on the beach a dog runs")."""

from collections.abc import Collection

from .dividing import phrases_of
from .known_words import LINKS
from .placed_phrase import Phrase, PlacedPhrase, is_adjective, is_present
from .tokens import FUNCTION_WORDS, PromptTokens, Word


def moved_words(
    source: PromptTokens, target: PromptTokens, old: Collection[Word], new: Collection[Word]
) -> dict[Word, Word]:
    """The words of whole phrases that moved, and of the prepositions and articles before them.

    Colors that change places ("a black cat on a red sofa") are no whole phrases, and things that do ("a dog on a sofa
    and a cat on a rug") are somewhere else.

    Args:
        source, target: The two prompts.
        old, new: Their words that have no counterpart so far.

    Returns:
        The source's word for each of the target's words that moved.
    """
    before = [phrase for phrase in phrases_of(source) if set(phrase) <= set(old)]
    moved: dict[Word, Word] = {}
    for phrase in phrases_of(target):
        if set(phrase) <= set(new) and not all(is_adjective(word.key) for word in phrase):
            same = next((each for each in before if _is_same(source, each, target, phrase)), None)
            if same is not None:
                before.remove(same)
                pairs = zip(_with_small_words(target, phrase), _with_small_words(source, same))
                moved |= _alike_from_the_end(list(pairs), old, new)
    return moved


def is_bare(prompt: PromptTokens, phrase: Phrase) -> bool:
    """Whether no preposition stands before a phrase, and no verb whose object it is."""
    ahead = PlacedPhrase(prompt, phrase).preposition
    return ahead in LINKS or not (ahead in FUNCTION_WORDS or is_present(ahead))


def _is_same(source: PromptTokens, before: Phrase, target: PromptTokens, after: Phrase) -> bool:
    if [source.word_ids(word) for word in before] != [target.word_ids(word) for word in after]:
        return False
    places = PlacedPhrase(source, before).preposition, PlacedPhrase(target, after).preposition
    tied = _tied(source, before), _tied(target, after)
    is_alike = places[0] == places[1] or (is_bare(source, before) and is_bare(target, after))
    return is_alike and (not all(tied) or tied[0] == tied[1])


def _tied(prompt: PromptTokens, phrase: Phrase) -> list[list[str]]:
    """The keys of the phrases that say where a phrase is and what it has: those behind it with prepositions."""
    phrases = phrases_of(prompt)
    tied: list[list[str]] = []
    for each in phrases[phrases.index(phrase) + 1 :]:
        if is_bare(prompt, each):
            break
        tied.append([word.key for word in each])
    return tied


def _with_small_words(prompt: PromptTokens, phrase: Phrase) -> list[Word]:
    """A phrase and its preposition and articles, from its end on."""
    words = prompt.words[: prompt.words.index(phrase[-1]) + 1]
    start = prompt.words.index(phrase[0])
    while start and words[start - 1].key and not words[start - 1].names_something:
        start -= 1
    return list(words[start:][::-1])


def _alike_from_the_end(
    pairs: list[tuple[Word, Word]], old: Collection[Word], new: Collection[Word]
) -> dict[Word, Word]:
    alike: dict[Word, Word] = {}
    for after, before in pairs:
        if after.key != before.key or after not in new or before not in old:
            break
        alike[after] = before
    return alike
