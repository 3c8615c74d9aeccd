"""How a phrase stands in its prompt: what its noun is, and which words are before it."""

from dataclasses import dataclass
from functools import cached_property

from .known_words import ADVERBS, ARTICLES, GROUNDS, NOUNS_IN_ING, NOUNS_IN_LY, PLURALS, SINGULAR
from .tokens import PromptTokens, Word
from .wording import is_foreign

Phrase = tuple[Word, ...]


@dataclass(frozen=True)
class PlacedPhrase:
    """A phrase of a prompt; immutable."""

    prompt: PromptTokens
    phrase: Phrase

    @cached_property
    def noun_phrase(self) -> Phrase:
        """Up to its noun, without the verb that may follow ("man sitting", "a man walks slowly") and all after it."""
        phrase = self.phrase[:-1] if len(self.phrase) > 1 and is_adverb(self.phrase[-1].key) else self.phrase
        is_one = self.word_before in SINGULAR
        for at, key in list(enumerate(word.key for word in phrase))[1:]:
            ends_it = is_participle(key) or (is_one and _ends_in_s(key))
            if is_present(key) or (ends_it and at + 1 == len(phrase)):
                return phrase[:at]
        return phrase

    @property
    def noun(self) -> Word:
        """The last word of its noun phrase."""
        return self.noun_phrase[-1]

    @property
    def words_before(self) -> list[str]:
        """The keys of all words before it, "" for punctuation."""
        return self.prompt.keys[: self.prompt.words.index(self.phrase[0])]

    @property
    def word_before(self) -> str:
        """What stands right before it, "" for nothing."""
        return ([""] + self.words_before)[-1]

    @property
    def preposition(self) -> str:
        """What stands before it and its article, "" for nothing."""
        return next((key for key in reversed(self.words_before) if key not in ARTICLES), "")

    @property
    def next_word(self) -> str:
        """What stands right behind it, "" for nothing."""
        return [*self.prompt.keys[self.prompt.words.index(self.phrase[-1]) + 1 :], ""][0]

    def names_ground(self, with_article: bool = False) -> bool:
        """Whether it is a ground by its name; with an article ("a wall") it is mostly a thing beside others."""
        is_ground = self.noun.key in GROUNDS and self.preposition != "of"
        return is_ground and (with_article or self.word_before not in ARTICLES)

    @property
    def is_material(self) -> bool:
        """Whether it says what the thing before it is made of ("made of glass")."""
        participle, preposition = ["", "", *self.words_before][-2:]
        return is_participle(participle) and preposition in {"of", "from"}

    @property
    def is_left_out(self) -> bool:
        """Whether it is named only to say that it is not there ("without a hat", "no clouds")."""
        keys = [word.key for word in self.phrase]
        says_no = keys[0] == "no" and not any(map(is_present, keys[1:2]))  # not of "a no smoking sign"
        return self.preposition == "without" or (says_no and not is_foreign(self.prompt.text))  # "no jardim"


def is_present(key: str) -> bool:
    """Whether a word is a verb as in "a man sitting"."""
    return key.endswith("ing") and key not in NOUNS_IN_ING


def is_participle(key: str) -> bool:
    """Whether a word is a verb as in "a bird made of glass"."""
    return key == "made" or (len(key) > 4 and key.endswith("ed") and not key.endswith("eed"))


def is_plural(key: str) -> bool:
    """Whether a word names several things."""
    return key in PLURALS or _ends_in_s(key)


def is_adverb(key: str) -> bool:
    """Whether a word says how something is done ("walks slowly")."""
    return key in ADVERBS or (key.endswith("ly") and not key.endswith("fly") and key not in NOUNS_IN_LY)


def _ends_in_s(key: str) -> bool:
    """As a plural or a verb does ("cats", "walks")."""
    return key.endswith("s") and not key.endswith(("ss", "us", "is", "'s", "’s"))
