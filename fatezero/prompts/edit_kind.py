"""What two prompts ask for: another look, another ground, another property of a thing, another thing.

What counts is where a word stands in its phrase, and after which preposition. That takes a few short lists of English
words and no dictionary; in another language most changes are read as another thing.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from .alignment import KEPT
from .known_words import (
    ARTICLES,
    BACKDROPS,
    CLOTHES,
    HOLDS,
    IS,
    NO_THINGS,
    OF_A_BODY,
    OF_PLACE,
    PARTS,
    RIDDEN,
    SEATS,
    WORN,
)
from .looks import names_look, praises
from .phrases import neighbour_tokens, phrase_text, phrases_of, tokens_of
from .placed_phrase import Phrase, PlacedPhrase, is_participle, is_present
from .tokens import PromptTokens, Word

if TYPE_CHECKING:
    from .prompt_edit import PromptEdit

LOOK, GROUND, PROPERTY, THING, POSE, ADDED, REMOVED = "look", "ground", "property", "thing", "pose", "added", "removed"


class Change(NamedTuple):
    """A phrase that changes.

    kind: LOOK, GROUND, PROPERTY of a thing that stays, THING for another in its place, POSE, ADDED or REMOVED.
    before, after: The phrase in the source and in the target prompt as written, "" for none.
    """

    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}" if self.before and self.after else self.after or self.before


@dataclass(frozen=True)
class _Side(PlacedPhrase):
    """A phrase of one prompt, or () for none, and which of its words the other prompt lacks."""

    changed: frozenset[Word]

    @property
    def is_look(self) -> bool:
        return names_look(self.prompt, self.phrase)


def changes_of(edit: "PromptEdit") -> list[Change]:
    """The phrases that two prompts differ in, and what kind of change each is.

    The last noun of a phrase is the thing: "red circle" to "blue circle" changes a property, to "red star" the thing,
    and "man sitting" to "man running" the pose. A phrase after a preposition of place ("on grass") is the ground, and
    so is what is one by its name in a list of things ("a red circle, green grass"). One that names a look ("cartoon
    style", "at night") is the look, and so is a new one before "of".

    Args:
        edit: The aligned prompts.

    Returns:
        In the target prompt's order, then what only the source prompt has; empty where no word changes.
    """
    changes = []
    for old, new in _pairs(edit):
        before, after = _side(edit, 0, old), _side(edit, 1, new)
        if before.changed or after.changed:
            kind = _kind(before, after)
            if kind != ADDED:
                changes.append(Change(kind, phrase_text(old), phrase_text(new)))
            elif added := _added(after, bool(old)):
                changes.append(Change(kind, "", added))
    return changes


def brings_another_shape(edit: "PromptEdit") -> bool:
    """Whether another thing, or the same in another pose, takes the place of one."""
    return any(change.kind in (THING, POSE) for change in changes_of(edit))


def things_that_stay(edit: "PromptEdit") -> list[Phrase]:
    """The things that both prompts have alike and that are not to be masked, as the source prompt names them: no look,
    nothing after a preposition of place, which may be all of the picture ("in the countryside"), nor, beside other
    things, what is a ground by its name."""
    sides = [(_side(edit, 0, old), _side(edit, 1, new)) for old, new in _pairs(edit) if old and new]
    alike = [source for source, target in sides if not (source.changed or target.changed)]
    masked = set(edit.source_mask_tokens)
    things = [side for side in alike if all(masked.isdisjoint(word.indices) for word in side.phrase)]
    things = [side for side in things if _is_thing(side)]
    return [side.noun_phrase for side in [side for side in things if not side.names_ground()] or things]


def own_words(edit: "PromptEdit") -> list[tuple[int, ...]]:
    """What comes in the place of each of several things that stand side by side ("a red circle and a blue star"): the
    target's tokens of the phrase that it becomes.

    Args:
        edit: The aligned prompts.

    Returns:
        In the order of `PromptEdit.source_things`; empty where there are no several, where two have the same
        words, where one is a part of another ("a swan with a beak"), or where one goes.
    """
    masked = set(edit.source_mask_tokens)
    things = [phrase for phrase in phrases_of(edit.source) if not masked.isdisjoint(tokens_of(phrase))]
    if len(things) < 2 or len({phrase_text(phrase) for phrase in things}) < len(things):
        return []
    beside = {*tokens_of(things[0]), *neighbour_tokens(edit.source, tokens_of(things[0]))}
    become = {old: new for old, new in _pairs(edit) if new}
    new = [become.get(phrase, ()) for phrase in things]
    return [tokens_of(phrase) for phrase in new] if all(new) and masked <= beside else []


def _pairs(edit: "PromptEdit") -> list[tuple[Phrase, Phrase]]:
    """The phrases of both prompts, those that belong together side by side; () beside what has no counterpart."""
    old, new, links = _described(edit.source), _described(edit.target), _links(edit)
    phrase_of = {word: number for number, phrase in enumerate(old) for word in phrase}
    linked: dict[Word, list[int]] = {}
    for number, (_, words) in enumerate(links):
        for word in words:
            linked.setdefault(word, []).append(number)
    kept = sum(row.kind == KEPT for row in edit.rows)

    def numbers(phrase: Phrase) -> list[int]:
        return sorted({number for word in phrase for number in linked.get(word, ())})

    def loosely(phrase: Phrase) -> int:
        """A word that stayed ties first, a look last: in "a mosaic of a woman" that takes no man's place."""
        if any(number < kept for number in numbers(phrase)):
            return 0
        return 2 if names_look(edit.target, phrase) else 1

    left, partner_of = dict.fromkeys(range(len(old))), {}
    for phrase in sorted(new, key=loosely):
        partners = (sorted({phrase_of[word] for word in links[at][0] if word in phrase_of}) for at in numbers(phrase))
        partner = next((each for some in partners for each in some if each in left), None)
        if partner is not None:
            del left[partner]
            partner_of[phrase] = old[partner]
    return [(partner_of.get(phrase, ()), phrase) for phrase in new] + [(old[number], ()) for number in left]


def _described(prompt: PromptTokens) -> list[Phrase]:
    phrases = [phrase for phrase in phrases_of(prompt) if not praises(prompt, phrase)]
    return [phrase for phrase in phrases if not NO_THINGS.issuperset(word.key for word in phrase)]


def _links(edit: "PromptEdit") -> list[tuple[frozenset[Word], frozenset[Word]]]:
    """Source words and the target words that they became: each kept word, then each stretch in place of another."""
    stretches = [list(rows) for _, rows in groupby(edit.rows, lambda row: row.kind == KEPT)]
    kept = [[row] for row in edit.rows if row.kind == KEPT]
    return [
        (frozenset(word for row in part for word in row.source), frozenset(word for row in part for word in row.target))
        for part in (*kept, *(stretch for stretch in stretches if stretch[0].kind != KEPT))
    ]


def _side(edit: "PromptEdit", side: int, phrase: Phrase) -> _Side:
    words = {word for row in edit.rows if row.kind != KEPT for word in (row.source, row.target)[side]}
    return _Side((edit.source, edit.target)[side], phrase, frozenset(words.intersection(phrase)))


def _kind(before: _Side, after: _Side) -> str:
    there = [side for side in (before, after) if side.phrase]
    if any(side.is_look for side in there):
        return LOOK
    if len(there) == 1:
        return _kind_of_one(there[0], ADDED if after.phrase else REMOVED)
    old, new = before.noun_phrase, after.noun_phrase
    if all(map(_is_in_place, there)) or all(side.names_ground(old[-1].key != new[-1].key) for side in there):
        return GROUND
    if all(map(_tells_of_a_thing, there)):
        return POSE if all(is_present(side.phrase[0].key) for side in there) else PROPERTY
    if old[-1].key != new[-1].key:
        return THING
    if before.changed.intersection(old) or after.changed.intersection(new):
        return PROPERTY
    behind = {word.key for word in before.changed | after.changed}
    if behind & HOLDS:
        return ADDED if after.changed else REMOVED
    return PROPERTY if all(map(is_participle, behind)) else POSE


def _added(side: _Side, has_counterpart: bool) -> str:
    """What is new in a phrase: "umbrella" of "an umbrella walking down", and "sunglasses" of "cat wearing sunglasses"
    where the cat is not new; "" where that is a phrase of its own, as in "cat wearing a hat"."""
    if not has_counterpart:
        return phrase_text(side.noun_phrase)
    return phrase_text(tuple(word for word in side.phrase if word in side.changed and word.key not in HOLDS))


def _kind_of_one(side: _Side, added_or_removed: str) -> str:
    """Of a phrase that only one of the prompts has."""
    if side.next_word == "of" and not side.preposition:
        return LOOK
    if _is_in_place(side) or side.names_ground():
        return GROUND
    if side.word_before in ARTICLES:
        return added_or_removed
    return added_or_removed if side.preposition == "with" and side.phrase[-1].key not in OF_A_BODY else PROPERTY


def _tells_of_a_thing(side: _Side) -> bool:
    """Whether a phrase stands after "is", for what a thing is like or does; not after "there is"."""
    before = side.words_before
    return bool(before) and before[-1] in IS and before[-2:-1] != ["there"]


def _is_thing(side: _Side) -> bool:
    """Whether a phrase names a thing that can be seen in its own place."""
    first = side.phrase[0].key
    is_no_noun = first in NO_THINGS or (len(side.noun_phrase) == 1 and is_present(first))
    is_left_out = side.is_left_out or side.phrase[-1].key in BACKDROPS
    return not (is_no_noun or is_left_out or side.is_look or _is_in_place(side))


def _is_in_place(side: _Side) -> bool:
    """Whether a phrase stands after a preposition of place ("on grass", "in front of a wall")."""
    words = side.words_before
    while words and words[-1] in ARTICLES:
        words.pop()
    if words[-1:] == ["of"] and PARTS.issuperset(words[-2:-1]):
        return any(key in OF_PLACE for key in words[-5:-2])
    noun = side.noun.key
    if words[-1:] == ["in"] and (noun in WORN | SEATS or noun.endswith(CLOTHES)):
        return False
    if words[-1:] == ["on"] and noun in RIDDEN | SEATS:
        return False
    return bool(words) and words[-1] in OF_PLACE
