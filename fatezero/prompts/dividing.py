"""How the words of a prompt divide into phrases."""

from collections.abc import Iterator
from itertools import pairwise, takewhile

from .known_words import ARTICLES, HOLDS, IS, LINKS, NO_OBJECT_BEHIND, NUMBERS, RELATIVES
from .looks import tells_how_drawn
from .placed_phrase import Phrase, describes, is_adjective, is_adverb, is_present
from .tokens import PromptTokens, Word, kept_with_prompt

_OPENERS = ARTICLES | HOLDS | NUMBERS | {"with"}  # before a list of adjectives
_BEFORE_VERBS = IS | LINKS | RELATIVES | {"while", ""}
_IN_A_LIST = {",", "and", "or"}


@kept_with_prompt
def phrases_of(prompt: PromptTokens) -> tuple[Phrase, ...]:
    """A prompt's phrases in reading order."""
    return tuple(phrase for phrase in _with_adjectives(list(_stretches(prompt))) if phrase[0].names_something)


def line_starts(prompt: PromptTokens) -> set[Word]:
    """The words before which a line of the prompt ends, as far as they stand in it as they were written."""
    starts, end = set(), 0
    for word in prompt.words if "\n" in prompt.text else ():
        at = prompt.text.find(word.text, end)
        if at >= 0:
            starts |= {word} if "\n" in prompt.text[end:at] else set()
            end = at + len(word.text)
    return starts


def is_verb_alone(phrase: Phrase) -> bool:
    """Whether a phrase says what is done and names no thing ("walking slowly", "standing tall")."""
    return is_present(phrase[0].key) and all(is_adverb(word.key) or is_adjective(word.key) for word in phrase[1:])


def _stretches(prompt: PromptTokens) -> Iterator[Phrase]:
    """The words that name something and those that do not in turn; apart are lines, the object of a verb, and how the
    picture is drawn."""
    starts, first = line_starts(prompt), 0
    for at, (before, word) in enumerate(pairwise(prompt.words), start=1):
        is_other = word.names_something != before.names_something
        if is_other or word in starts or (word.names_something and _begins_anew(prompt.words, first, at)):
            yield prompt.words[first:at]
            first = at
    if prompt.words:
        yield prompt.words[first:]


def _begins_anew(words: Phrase, first: int, at: int) -> bool:
    """Whether a stretch of words that name something ends at a place in it: before the object of a verb ("playing
    guitar"), and before "painted by Monet".

    first: Where the stretch begins. at: The place, behind the first.
    """
    verb = words[at - 1].key
    if verb in HOLDS or tells_how_drawn(*(word.key for word in words[at : at + 2])):
        return True
    if not is_present(verb) or verb in NO_OBJECT_BEHIND or at < 2:
        return False
    before, is_inside = words[at - 2].key, at - 1 > first
    if not is_inside and _ends_adjectives(words[: at - 1]):
        return False  # "an old, crumbling house"
    is_verb = not describes(before) if is_inside else before in _BEFORE_VERBS
    rest = takewhile(lambda word: word.names_something, words[at:])
    return is_verb and not all(is_adverb(word.key) or is_adjective(word.key) for word in rest)


def _ends_adjectives(words: Phrase) -> bool:
    """Whether words end in an article or a number and a list of adjectives ("an old,")."""
    opener = next((word for word in reversed(words) if not (is_adjective(word.key) or _is_in_list(word))), None)
    return words[-1:] != () and _is_in_list(words[-1]) and opener is not None and opener.key in ARTICLES | NUMBERS


def _is_in_list(word: Word) -> bool:
    return (word.key or word.text) in _IN_A_LIST


def _with_adjectives(stretches: list[Phrase]) -> Iterator[Phrase]:
    """The stretches, adjectives in a list as a part of what they describe ("a shiny, red car"), and what stands before
    的 ("银色的吉普车")."""
    opener: Phrase = ()
    phrase: Phrase = ()
    around = [(), *stretches, (), ()]
    for before, stretch, gap, following in zip(around, stretches, around[2:], around[3:]):
        if phrase and not stretch[0].names_something:
            continue
        opener, phrase = (opener if phrase else before[-1:]), phrase + stretch
        if not (_describes_what_follows(gap) or _is_list_of_adjectives(opener, phrase, gap, following)):
            yield phrase
            phrase = ()


def _describes_what_follows(gap: Phrase) -> bool:
    return [word.key for word in gap] in (["的"], ["の"])


def _is_list_of_adjectives(opener: Phrase, phrase: Phrase, gap: Phrase, following: Phrase) -> bool:
    """Whether the words after an article and the like are adjectives alone, and a list goes on with what they describe.

    opener: The word before the phrase. gap, following: The stretches behind it; a verb in -ing after "wearing black,"
    says what is done.
    """
    ahead, adjectives = [word.key for word in opener], [word.key for word in phrase]
    while adjectives and adjectives[0] in HOLDS | NUMBERS:
        ahead.append(adjectives.pop(0))
    goes_on = bool(following) and all(map(_is_in_list, gap))
    if not (goes_on and adjectives and ahead and ahead[-1] in _OPENERS and all(map(is_adjective, adjectives))):
        return False
    return ahead[-1] in ARTICLES or not is_present(following[0].key)
