"""The phrases of a prompt: words that stand together and describe one thing."""

from .dividing import is_verb_alone, line_starts, phrases_of
from .known_words import ARTICLES, LINKS
from .looks import names_look, praises
from .placed_phrase import Phrase, PlacedPhrase
from .tokens import PromptTokens, kept_with_prompt
from .unspaced import joined


def phrase_tokens(prompt: PromptTokens, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of all phrases that hold some of a prompt's tokens.

    A phrase ends at an article, a preposition, an "and", punctuation or the end of a line. So "square" of "a red square
    and a red star" belongs to the phrase "red square".

    Args:
        prompt: The prompt.
        tokens: Positions in it.

    Returns:
        Positions in ascending order; none where `tokens` are in no phrase.
    """
    return _joined(phrase for phrase in _with_predicates(prompt) if _share(phrase, tokens))


def neighbour_tokens(prompt: PromptTokens, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of the phrases that an "and", a comma or the end of a line links to those of some tokens: the things
    beside them.

    "square" of "a red square and a red star on grass" has the neighbour "red star". Of "1girl, red hair" neither is
    beside the other.

    Args:
        prompt: The prompt.
        tokens: Positions in it.

    Returns:
        Positions in ascending order, without those of `phrase_tokens`.
    """
    linked: list[Phrase] = []
    for chain in _chains(prompt):
        asked = [phrase for phrase in chain if _share(phrase, tokens)]
        others = [phrase for phrase in chain if not _share(phrase, tokens)]
        linked += [other for other in others if any(_are_beside(prompt, each, other) for each in asked)]
    return _joined(linked)


def tokens_by_phrase(prompt: PromptTokens, tokens: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Some of a prompt's tokens, those of each phrase by themselves, then those in no phrase; in ascending order."""
    shared = [tuple(sorted(set(tokens) & set(_joined([phrase])))) for phrase in _with_predicates(prompt)]
    in_none = tuple(sorted(set(tokens).difference(*shared)))
    return [part for part in (*shared, in_none) if part]


def look_tokens(prompt: PromptTokens) -> tuple[int, ...]:
    """The tokens of the phrases that say how the picture looks or how good it is, in ascending order."""
    return _joined(each for each in phrases_of(prompt) if praises(prompt, each) or names_look(prompt, each))


def side_by_side(prompt: PromptTokens, tokens: tuple[int, ...]) -> list[str]:
    """The phrases that hold some of a prompt's tokens and stand beside another one that does, each text once."""
    for chain in _chains(prompt):
        things = list(dict.fromkeys(phrase_text(phrase) for phrase in chain if _share(phrase, tokens)))
        if len(things) > 1:
            return things
    return []


def things_beside(prompt: PromptTokens, tokens: tuple[int, ...]) -> list[str]:
    """The phrases of `neighbour_tokens`, each text once."""
    beside = neighbour_tokens(prompt, tokens)
    return list(dict.fromkeys(phrase_text(phrase) for phrase in phrases_of(prompt) if _share(phrase, beside)))


@kept_with_prompt
def _chains(prompt: PromptTokens) -> tuple[tuple[Phrase, ...], ...]:
    """Phrases in reading order, those together between which there is an "and", a comma or the end of a line; without
    looks, grounds, quality tags and verbs ("smiling softly"), which are no things."""
    chains: list[list[Phrase]] = []
    looks = set(look_tokens(prompt))
    things = [each for each in phrases_of(prompt) if looks.isdisjoint(each[0].indices)]
    things = [each for each in things if not _is_ground_or_verb(prompt, each)]
    wholes = {each[0]: each for each in _with_predicates(prompt)}
    things = [wholes[each[0]] for each in things if each[0] in wholes]
    words, starts = prompt.words, line_starts(prompt)
    for before, phrase in zip([None, *things], things):
        between = words[words.index(before[-1]) + 1 : words.index(phrase[0])] if before else ()
        last = next((word for word in reversed(between) if word.key not in ARTICLES), None)
        is_linked = last is not None and (last.key in LINKS or last.text == ",")
        if before and (is_linked or not starts.isdisjoint((*between, phrase[0]))):
            chains[-1].append(phrase)
        else:
            chains.append([phrase])
    return tuple(map(tuple, chains))


def _are_beside(prompt: PromptTokens, one: Phrase, other: Phrase) -> bool:
    """Whether of two phrases neither may be a part of the other, as "red hair" in "1girl, red hair"."""
    parts = [each for each in (PlacedPhrase(prompt, one), PlacedPhrase(prompt, other)) if each.is_of_somebody]
    return len(parts) != 1 or parts[0].word_before in ARTICLES


@kept_with_prompt
def _with_predicates(prompt: PromptTokens) -> tuple[Phrase, ...]:
    """The phrases, what is said of a thing as a part of its own ("left cat", "black" of "the left cat is black")."""
    phrases: list[Phrase] = []
    subject = -1
    for phrase in phrases_of(prompt):
        placed = PlacedPhrase(prompt, phrase)
        is_look = names_look(prompt, phrase)
        if subject >= 0 and placed.is_predicate and not is_look:
            phrases[subject] += phrase
            continue
        if placed.is_bare and not (is_look or is_verb_alone(phrase)):
            subject = len(phrases)
        phrases.append(phrase)
    return tuple(phrases)


def _is_ground_or_verb(prompt: PromptTokens, phrase: Phrase) -> bool:
    placed = PlacedPhrase(prompt, phrase)
    return is_verb_alone(phrase) or placed.names_ground(with_article=placed.is_in_place)


def tokens_of(phrase: Phrase) -> tuple[int, ...]:
    """A phrase's tokens, as positions in its prompt."""
    return tuple(token for word in phrase for token in word.indices)


def phrase_text(phrase: Phrase) -> str:
    """A phrase as written."""
    return joined(word.text for word in phrase)


def _share(phrase: Phrase, tokens: tuple[int, ...]) -> bool:
    return any(not set(tokens).isdisjoint(word.indices) for word in phrase)


def _joined(phrases) -> tuple[int, ...]:
    return tuple(sorted(token for phrase in phrases for word in phrase for token in word.indices))
