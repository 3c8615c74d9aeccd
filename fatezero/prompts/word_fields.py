"""What a person writes about words in a node's fields: lists of words, and words with a value each.

Commas, colons and ranges are also read in full width ("dog：3，grass：2"), as Chinese and Japanese keyboards write
them.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from textwrap import shorten
from typing import TypeVar

from ..refusal import Refusal, shortened
from .tokens import PromptTokens, split_words, word_key
from .unspaced import is_unspaced

# What emphasis acts on; BY_WORD: the meaning of kept words for the look of the picture, the attention of others.
ATTENTION, MEANING, BY_WORD = "attention of the word", "meaning of the prompt", "automatic"
EMPHASIS_LIMIT = 20.0
_JOINERS = frozenset("and or with und oder mit et ou avec y con e 和 与 跟 と や 및 와 과 и".split())
SHOWN_WORDS, SHOWN_LETTERS = 40, 60  # of what is quoted in a refusal

_COMMA, _COLON, _TO = "[,;\n，；、]", "[:：]", "[-–—−－~～〜]"
_NUMBER = r"[-+−－＋]?[\d.．]+"
_VALUE = rf"{_NUMBER}(?:\s*{_TO}\s*[\d.．]+)?"
# A comma between digits that belongs to a number, since no words and colon of their own follow: "dog:1,5".
_DECIMAL_COMMA = re.compile(rf"(?<=\d),(?=\d+\s*(?:{_TO}\s*\d+(?:[.,]\d+)?\s*)?(?:{_COMMA}|$))")
_ENTRY = re.compile(rf"\s*([^:：\s][^:：]*){_COLON}\s*({_VALUE})(?=\s|$)")
_ASCII_MARKS = str.maketrans("–—−〜", "---~")

Value = TypeVar("Value")
WordValues = list[tuple[tuple[int, ...], Value]]


def split_list(text: str) -> list[str]:
    """The entries of a list that a person wrote, between commas, semicolons or lines.

    >>> split_list("silver jeep， road;\\n ,sky ")
    ['silver jeep', 'road', 'sky']
    """
    return [entry for entry in map(str.strip, re.split(_COMMA, text)) if entry]


def find_words(prompt: PromptTokens, text: str, name: str = "words") -> list[tuple[int, ...]]:
    """The token positions of every occurrence of some words.

    Words that follow each other in the prompt as they do between two commas are found as that phrase only, others each
    on its own. An "and" between them need not be in the prompt.

    Args:
        prompt: Where to look.
        text: Words separated by commas, spaces or lines, in any case, without their punctuation.
        name: What the node calls the text.

    Returns:
        A tuple of positions for each occurrence of a word; none for a text without words.

    Raises:
        Refusal: For a word that is not in the prompt.
    """
    found: list[tuple[int, ...]] = []
    for entry in split_list(text):
        named = [part for key in _keys(entry) for part in _divided(prompt, key)]
        wanted = [key for key in named if key in prompt.places or key not in _JOINERS] or named
        missing = next((key for key in wanted if key not in prompt.places), None if wanted else entry)
        if missing is not None:
            names = list(prompt.places)
            raise Refusal(
                f"'{name}' names '{shortened(missing)}', which is not in \"{shorten(prompt.text, SHOWN_LETTERS)}\"; "
                f"choose from: {', '.join(names[:SHOWN_WORDS] + ['…'] * (len(names) > SHOWN_WORDS))}."
            )
        places = _phrase(prompt, wanted) or sorted(place for key in set(wanted) for place in prompt.places[key])
        found += [prompt.named_words[place].indices for place in places]
    return list(dict.fromkeys(found))


def read_factors(prompt: PromptTokens, text: str, name: str) -> WordValues[float]:
    """Words and their factors, such as "crystal:5, swarovski:3".

    Args:
        prompt: The prompt that has the words.
        text: Entries of words, a colon and a factor from -20 to 20.
        name: What the node calls the text.

    Returns:
        For each entry the token positions of all occurrences of its words, and its factor.

    Raises:
        Refusal: For words that the prompt does not have, and for factors that are missing or out of range.
    """
    return _read(prompt, text, name, _factor)


def read_windows(prompt: PromptTokens, text: str, name: str) -> WordValues[tuple[float, float]]:
    """Words and their windows of the steps, such as "silver:0.8, jeep:0.2-0.9"; a single number is the end.

    Args:
        prompt: The prompt that has the words.
        text: Entries of words, a colon and fractions 0..1 of the steps; 0 alone is never.
        name: What the node calls the text.

    Returns:
        For each entry the token positions of all occurrences of its words, and its (start, end).

    Raises:
        Refusal: For words that the prompt does not have, and for windows that are missing or out of range.
    """
    return _read(prompt, text, name, _window)


def _read(prompt: PromptTokens, text: str, name: str, read_value: Callable[[str, str], Value]) -> WordValues[Value]:
    """The entries of a text; read_value(value, complaint) reads what stands behind a colon or refuses it."""
    found, taken = [], set[int]()
    for entry, words, value in _entries(prompt, text):
        read = read_value(value, _complaint(entry, prompt, name))
        tokens = tuple(token for word in find_words(prompt, words, name) for token in word)
        if not tokens or not taken.isdisjoint(tokens):
            raise Refusal(
                f"'{name}' has '{shortened(entry)}', which names "
                f"{'a word that has a value already' if tokens else 'no word'}; give each word one value."
            )
        taken.update(tokens)
        found.append((tokens, read))
    return found


def _entries(prompt: PromptTokens, text: str) -> Iterator[tuple[str, str, str]]:
    """(as written, words, value) of each entry; where the comma between two was left out, they are told apart."""
    for written in split_list(_DECIMAL_COMMA.sub(".", text)):
        colon = max(map(written.rfind, ":："))
        words, value = (written[:colon], written[colon + 1 :]) if colon >= 0 else ("", "")
        several = _several(written)
        if len(several) > 1 and not prompt.places.keys() >= set(_keys(words)):
            yield from ((entry[0].strip(), entry[1], entry[2]) for entry in several)
        else:
            yield written, words, value


def _several(text: str) -> list[re.Match]:
    """The entries that follow each other in a text without commas; none when it is not made of entries alone."""
    found, place = list[re.Match](), 0
    while entry := _ENTRY.match(text, place):
        found.append(entry)
        place = entry.end()
    return found if place == len(text) else []


def _keys(text: str) -> list[str]:
    """The keys of the words of a text, which may have punctuation around them."""
    return [key for key in map(word_key, split_words(text)) if key]


def _divided(prompt: PromptTokens, key: str) -> list[str]:
    """The words of a prompt that together hold a word of a script without spaces; the word itself for any other."""
    if key in prompt.places or not is_unspaced(key):
        return [key]
    keys = [word.key for word in prompt.named_words]
    at = "".join(keys).find(key)
    if at < 0:
        return [key]
    ends = list(accumulate(map(len, keys)))
    return keys[bisect_right(ends, at) : bisect_left(ends, at + len(key)) + 1]


def _phrase(prompt: PromptTokens, wanted: list[str]) -> list[int]:
    """The places of the words that stand in a prompt as one phrase, at each of its occurrences."""
    length = len(wanted)
    return [
        start + offset
        for start in prompt.places[wanted[0]]
        if [word.key for word in prompt.named_words[start : start + length]] == wanted
        for offset in range(length)
    ]


def _factor(text: str, complaint: str) -> float:
    try:
        factor = _number(text)
    except ValueError:
        raise Refusal(f"{complaint} where a word and its factor are expected; write it like crystal:5.") from None
    if not abs(factor) <= EMPHASIS_LIMIT:
        raise Refusal(f"{complaint}; choose a factor from {-EMPHASIS_LIMIT:g} to {EMPHASIS_LIMIT:g}.")
    return factor


def _window(text: str, complaint: str) -> tuple[float, float]:
    first, *second = re.split(_TO, text, maxsplit=1)
    try:
        start, end = (_number(first), _number(second[0])) if second else (0.0, _number(first))
    except ValueError:
        raise Refusal(
            f"{complaint} where a word and its share of the steps are expected; write it like silver:0.8 "
            "or silver:0.2-0.8."
        ) from None
    if not (0 <= start <= end <= 1) or (second and start == end):
        raise Refusal(f"{complaint}; choose a start below the end, both from 0 to 1.")
    return start, end


def _number(text: str) -> float:
    """A number in ASCII or full-width digits."""
    return float(unicodedata.normalize("NFKC", text).translate(_ASCII_MARKS))


def _complaint(entry: str, prompt: PromptTokens, name: str) -> str:
    """The begin of a refusal of an entry; names its first character that belongs neither to a word of the prompt nor to
    a value, if there is one."""
    for character in entry:
        if not character.isalnum() and not character.isspace() and character not in ":,.-+" + prompt.text:
            called = unicodedata.name(character, "a control character").lower()
            return f"'{name}' has '{shortened(entry)}' with '{character}' ({called})"
    return f"'{name}' has '{shortened(entry)}'"
