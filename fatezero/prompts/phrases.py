"""The phrases of a prompt: words that stand together and describe one thing."""

from itertools import groupby

from .tokens import PromptTokens, Word
from .wording import is_quality_tag

Phrase = tuple[Word, ...]

_LINKS = {"and", "or"}  # beside commas


def phrase_tokens(prompt: PromptTokens, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of all phrases that hold some of a prompt's tokens.

    A phrase ends at an article, a preposition, an "and" or punctuation. So "square" of "a red square and a red star"
    belongs to the phrase "red square".

    Args:
        prompt: The prompt.
        tokens: Positions in it.

    Returns:
        Positions in ascending order; none where `tokens` are in no phrase.
    """
    return _joined(phrase for phrase in phrases_of(prompt) if _share(phrase, tokens))


def neighbour_tokens(prompt: PromptTokens, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of the phrases that an "and" or a comma links to those of some tokens: the things beside them.

    "square" of "a red square and a red star on grass" has the neighbour "red star".

    Args:
        prompt: The prompt.
        tokens: Positions in it.

    Returns:
        Positions in ascending order, without those of `phrase_tokens`.
    """
    phrases, linked = phrases_of(prompt), []
    for chain in _chains(phrases, prompt.words):
        if any(_share(phrase, tokens) for phrase in chain):
            linked += [phrase for phrase in chain if not _share(phrase, tokens)]
    return _joined(linked)


def tokens_by_phrase(prompt: PromptTokens, tokens: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Some of a prompt's tokens, those of each phrase by themselves, then those in no phrase; in ascending order."""
    shared = [tuple(sorted(set(tokens) & set(_joined([phrase])))) for phrase in phrases_of(prompt)]
    in_none = tuple(sorted(set(tokens).difference(*shared)))
    return [part for part in (*shared, in_none) if part]


def side_by_side(prompt: PromptTokens, tokens: tuple[int, ...]) -> list[str]:
    """The phrases that hold some of a prompt's tokens and stand beside another one that does, each text once."""
    for chain in _chains(phrases_of(prompt), prompt.words):
        things = list(dict.fromkeys(phrase_text(phrase) for phrase in chain if _share(phrase, tokens)))
        if len(things) > 1:
            return things
    return []


def things_beside(prompt: PromptTokens, tokens: tuple[int, ...]) -> list[str]:
    """The phrases of `neighbour_tokens`, each text once."""
    beside = neighbour_tokens(prompt, tokens)
    return list(dict.fromkeys(phrase_text(phrase) for phrase in phrases_of(prompt) if _share(phrase, beside)))


def phrases_of(prompt: PromptTokens) -> list[Phrase]:
    """A prompt's phrases in reading order."""
    return [tuple(words) for named, words in groupby(prompt.words, lambda word: word.names_something) if named]


def _chains(phrases, words) -> list[list[Phrase]]:
    """Phrases in reading order, those together between which there is an "and" or a comma; no quality tags, which are
    no things."""
    chains: list[list[Phrase]] = []
    phrases = [phrase for phrase in phrases if not is_quality_tag(phrase_text(phrase))]
    for before, phrase in zip([None, *phrases], phrases):
        between = words[words.index(before[-1]) + 1 : words.index(phrase[0])] if before else ()
        if any(word.key in _LINKS or word.text == "," for word in between):
            chains[-1].append(phrase)
        else:
            chains.append([phrase])
    return chains


def phrase_text(phrase: Phrase) -> str:
    """A phrase as written."""
    return " ".join(word.text for word in phrase)


def _share(phrase: Phrase, tokens: tuple[int, ...]) -> bool:
    return any(not set(tokens).isdisjoint(word.indices) for word in phrase)


def _joined(phrases) -> tuple[int, ...]:
    return tuple(sorted(token for phrase in phrases for word in phrase for token in word.indices))
