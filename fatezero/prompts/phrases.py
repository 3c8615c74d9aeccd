"""The phrases of a prompt: words that stand together and describe one thing."""

from itertools import groupby

from .tokens import PromptTokens


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
    phrases = [
        [token for word in words for token in word.indices]
        for named, words in groupby(prompt.words, lambda word: word.names_something)
        if named
    ]
    return tuple(token for phrase in phrases if not set(tokens).isdisjoint(phrase) for token in phrase)
