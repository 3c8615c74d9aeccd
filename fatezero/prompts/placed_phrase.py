"""How a phrase stands in its prompt: what its noun is, and which words are before it."""

from dataclasses import dataclass
from functools import cached_property

from .known_words import (
    ABSENCE,
    ADJECTIVES,
    ADVERBS,
    ARTICLES,
    CLOTHES,
    COLORS,
    ENDS_OF_ADJECTIVES,
    GROUNDS,
    HOLDS,
    IS,
    LINKS,
    MATERIAL,
    NOUNS_IN_ING,
    NOUNS_IN_LY,
    NUMBERS,
    OF_A_BODY,
    OF_PLACE,
    PARTICIPLES,
    PARTS,
    PLURALS,
    POSITIONS,
    RIDDEN,
    SEATS,
    SINGULAR,
    TURNED,
    WORN,
)
from .tokens import FUNCTION_WORDS, PromptTokens, Word
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
            is_verb = is_present(key) and (at + 1 == len(phrase) or not describes(phrase[at - 1].key))
            if is_verb or (ends_it and at + 1 == len(phrase)):
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
    def is_in_place(self) -> bool:
        """Whether it stands after a preposition of place ("on grass", "in front of a wall", "on a field of hay")."""
        words, noun = self._words_ahead, self.noun.key
        if words[-1:] == ["of"] and (PARTS | GROUNDS).issuperset(words[-2:-1]):
            return any(key in OF_PLACE for key in self.words_before[-6:-2])
        if words[-1:] == ["in"] and (noun in WORN | SEATS or noun.endswith(CLOTHES)):
            return False
        if words[-1:] == ["on"] and noun in RIDDEN | SEATS:
            return False
        return bool(words) and words[-1] in OF_PLACE

    @property
    def is_bare(self) -> bool:
        """Whether no preposition stands before it, and no verb whose object it is."""
        return self.preposition in LINKS or not (self.preposition in FUNCTION_WORDS or is_present(self.preposition))

    @property
    def is_position(self) -> bool:
        """Whether it only says where ("in front of", "on the left")."""
        return not self.has_part_behind and POSITIONS.issuperset(word.key for word in self.phrase)

    @property
    def is_of_somebody(self) -> bool:
        """Whether it names a part of a body or what is worn."""
        noun = self.noun.key
        return noun in (OF_A_BODY | WORN) - COLORS or noun.endswith(CLOTHES)

    @property
    def is_predicate(self) -> bool:
        """Whether it says what a thing before it is like ("the cat is black", "car, red, street")."""
        words, at = self.words_before, self.prompt.words.index(self.phrase[0])
        is_said = words[-1:] != [] and words[-1] in IS and words[-2:-1] != ["there"]
        is_listed = at > 0 and self.prompt.words[at - 1].text == ","
        return (is_said or is_listed) and all(is_adjective(word.key) for word in self.phrase)

    @property
    def is_material(self) -> bool:
        """Whether it says what the thing before it is made of or covered in ("made of glass", "wrapped in paper")."""
        *words, preposition = ["", *self._words_ahead]
        while is_adverb(words[-1] if words else ""):
            words.pop()
        participle = words[-1] if words else ""
        is_covered = participle in MATERIAL and preposition in {"in", "with", "by"}
        return is_covered or (is_participle(participle) and preposition in {"of", "from"})

    @property
    def is_outcome(self) -> bool:
        """Whether it is what the thing before it turns into ("turned into a tank", "becoming a tiger")."""
        verb, preposition = ["", "", *self._words_ahead][-2:]
        return preposition == "becoming" or (preposition == "into" and verb in TURNED)

    @property
    def has_part_behind(self) -> bool:
        """Whether the thing behind it is what it is of ("a slice" of cake)."""
        return self.next_word == "of" and not self.preposition and not is_participle(self.noun.key)

    @property
    def is_left_out(self) -> bool:
        """Whether it is named only to say that it is not there ("without a hat", "no clouds", "instead of a dog"), or
        says so itself ("nobody")."""
        keys, ahead = [word.key for word in self.phrase], self._words_ahead
        if keys[0] in ABSENCE:
            return True
        says_no = keys[0] == "no" and not any(map(is_present, keys[1:2]))  # not of "a no smoking sign"
        has_no = ahead[-1:] == ["without"] or ahead[-2:] == ["instead", "of"]
        holds_no = ahead[-2:-1] == ["not"] and ahead[-1] in HOLDS
        return has_no or holds_no or (says_no and not is_foreign(self.prompt.text))  # "no jardim"

    @property
    def _words_ahead(self) -> list[str]:
        """The words before it and its article, "" for punctuation."""
        words = self.words_before
        while words and words[-1] in ARTICLES:
            words.pop()
        return words


def is_present(key: str) -> bool:
    """Whether a word is a verb as in "a man sitting"."""
    return key.endswith("ing") and key not in NOUNS_IN_ING


def is_participle(key: str) -> bool:
    """Whether a word is a verb as in "a bird made of glass"."""
    return key in PARTICIPLES or (len(key) > 4 and key.endswith("ed") and not key.endswith("eed"))


def is_adjective(key: str) -> bool:
    """Whether a word says what a thing is like: one of the known ones, or by its ending ("torn", "beautiful")."""
    return key in ADJECTIVES or key.endswith(ENDS_OF_ADJECTIVES) or is_participle(key)


def describes(key: str) -> bool:
    """Whether a word stands before what it tells of: an adjective, a number, "no"."""
    return is_adjective(key) or key in NUMBERS or key == "no"


def is_plural(key: str) -> bool:
    """Whether a word names several things."""
    return key in PLURALS or _ends_in_s(key)


def is_adverb(key: str) -> bool:
    """Whether a word says how something is done ("walks slowly")."""
    return key in ADVERBS or (key.endswith("ly") and not key.endswith("fly") and key not in NOUNS_IN_LY)


def _ends_in_s(key: str) -> bool:
    """As a plural or a verb does ("cats", "walks")."""
    return key.endswith("s") and not key.endswith(("ss", "us", "is", "'s", "’s"))
