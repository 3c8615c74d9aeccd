"""What two prompts ask for: another look, another ground, another property of a thing, another thing.

What counts is where a word stands in its phrase, and after which preposition. That takes a few short lists of English
words and no dictionary; in another language most changes are read as another thing.
"""

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from .alignment import KEPT
from .phrases import Phrase, phrase_text, phrases_of
from .tokens import PromptTokens, Word
from .wording import is_quality_tag

if TYPE_CHECKING:
    from .prompt_edit import PromptEdit

LOOK, GROUND, PROPERTY, THING, POSE, ADDED, REMOVED = "look", "ground", "property", "thing", "pose", "added", "removed"

_SINGULAR = frozenset({"a", "an", "one"})
_ARTICLES = _SINGULAR | {"the", "his", "her", "its", "their"}  # as far as they are in no phrase
_OF_PLACE = set("in on at over under onto into against above behind across through along down inside".split())
_LOOKS = set(
    "style painting watercolor watercolour sketch drawing cartoon anime manga comic illustration film movie art "
    "artwork mosaic engraving woodcut render rendering photo photograph".split()
)
_HOLDS = {"wearing", "holding", "carrying"}  # what follows comes newly
_NOUNS_IN_ING = set("building ceiling clothing king painting drawing rendering ring spring string thing wing".split())


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


class _Side(NamedTuple):
    """A phrase of one prompt, and which of its words the other prompt lacks; of no phrase, nothing."""

    prompt: PromptTokens
    phrase: Phrase
    changed: frozenset[Word]


def changes_of(edit: "PromptEdit") -> list[Change]:
    """The phrases that two prompts differ in, and what kind of change each is.

    The last noun of a phrase is the thing: "red circle" to "blue circle" changes a property, to "red star" the thing,
    and "man sitting" to "man running" the pose. A phrase after a preposition of place ("on grass") is the ground. One
    that names a look ("cartoon style") is the look, and so is a new one before "of".

    Args:
        edit: The aligned prompts.

    Returns:
        In the target prompt's order, then what only the source prompt has; empty where no word changes.
    """
    changes = []
    for old, new in _pairs(edit):
        before, after = _side(edit, 0, old), _side(edit, 1, new)
        if before.changed or after.changed:
            changes.append(Change(_kind(before, after), phrase_text(old), phrase_text(new)))
    return changes


def brings_another_shape(edit: "PromptEdit") -> bool:
    """Whether another thing, or the same in another pose, takes the place of one."""
    return any(change.kind in (THING, POSE) for change in changes_of(edit))


def things_that_stay(edit: "PromptEdit") -> list[Phrase]:
    """The things that both prompts have alike and that are not to be masked, as the source prompt names them: no look,
    and nothing after a preposition of place, which may be all of the picture ("in the countryside")."""
    sides = [(_side(edit, 0, old), _side(edit, 1, new)) for old, new in _pairs(edit) if old and new]
    alike = [source for source, target in sides if not (source.changed or target.changed)]
    things = [side for side in alike if not (_names_look(side) or _preposition(side) in _OF_PLACE)]
    masked = set(edit.source_mask_tokens)
    return [_noun_phrase(side) for side in things if all(masked.isdisjoint(word.indices) for word in side.phrase)]


def _pairs(edit: "PromptEdit") -> list[tuple[Phrase, Phrase]]:
    """The phrases of both prompts, those that belong together side by side; () beside what has no counterpart."""
    old, new = _described(edit.source), _described(edit.target)
    pairs: list[tuple[Phrase, Phrase]] = []
    for phrase in new:
        partner = next((each for sides in _links(edit) for each in old if _links_them(sides, each, phrase)), ())
        old = [each for each in old if each != partner]
        pairs.append((partner, phrase))
    return pairs + [(phrase, ()) for phrase in old]


def _described(prompt: PromptTokens) -> list[Phrase]:
    return [phrase for phrase in phrases_of(prompt) if not is_quality_tag(phrase_text(phrase))]


def _links(edit: "PromptEdit") -> list[tuple[frozenset[Word], frozenset[Word]]]:
    """Source words and the target words that they became: each kept word, then each stretch in place of another."""
    stretches = [list(rows) for _, rows in groupby(edit.rows, lambda row: row.kind == KEPT)]
    kept = [[row] for row in edit.rows if row.kind == KEPT]
    return [
        (frozenset(word for row in part for word in row.source), frozenset(word for row in part for word in row.target))
        for part in (*kept, *(stretch for stretch in stretches if stretch[0].kind != KEPT))
    ]


def _links_them(sides: tuple[frozenset[Word], frozenset[Word]], old: Phrase, new: Phrase) -> bool:
    return not sides[0].isdisjoint(old) and not sides[1].isdisjoint(new)


def _side(edit: "PromptEdit", side: int, phrase: Phrase) -> _Side:
    words = {word for row in edit.rows if row.kind != KEPT for word in (row.source, row.target)[side]}
    return _Side((edit.source, edit.target)[side], phrase, frozenset(words.intersection(phrase)))


def _kind(before: _Side, after: _Side) -> str:
    there = [side for side in (before, after) if side.phrase]
    if any(_names_look(side) for side in there):
        return LOOK
    if len(there) == 1:
        return _kind_of_one(there[0], ADDED if after.phrase else REMOVED)
    if all(_preposition(side) in _OF_PLACE for side in there):
        return GROUND
    old, new = _noun_phrase(before), _noun_phrase(after)
    if old[-1].key != new[-1].key:
        return THING
    if before.changed.intersection(old) or after.changed.intersection(new):
        return PROPERTY
    behind = {word.key for word in before.changed | after.changed}
    if behind & _HOLDS:
        return ADDED if after.changed else REMOVED
    return PROPERTY if all(map(_is_participle, behind)) else POSE


def _kind_of_one(side: _Side, added_or_removed: str) -> str:
    """Of a phrase that only one of the prompts has."""
    if _next_word(side) == "of" and not _preposition(side):
        return LOOK
    if _preposition(side) in _OF_PLACE:
        return GROUND
    return added_or_removed if _word_before(side) in _ARTICLES else PROPERTY


def _names_look(side: _Side) -> bool:
    is_styled = any(word.key == "style" for word in side.phrase) or _words_before(side)[-2:] == ["style", "of"]
    return is_styled or side.phrase[-1].key in _LOOKS


def _noun_phrase(side: _Side) -> Phrase:
    """A phrase up to its noun, without the verb that may follow ("man sitting", "a man walks") and all after it."""
    keys = [word.key for word in side.phrase]
    is_one = _word_before(side) in _SINGULAR
    for at in range(1, len(keys)):
        is_last = at + 1 == len(keys) or keys[at + 1] in _OF_PLACE
        if keys[at] in _OF_PLACE or _is_present(keys[at]) or (is_last and _is_participle(keys[at])):
            return side.phrase[:at]
        if is_last and is_one and keys[at].endswith("s") and not keys[at].endswith(("ss", "us", "is")):
            return side.phrase[:at]
    return side.phrase


def _is_present(key: str) -> bool:
    return key.endswith("ing") and key not in _NOUNS_IN_ING


def _is_participle(key: str) -> bool:
    """As in "a bird made of glass"."""
    return key == "made" or (len(key) > 4 and key.endswith("ed") and not key.endswith("eed"))


def _words_before(side: _Side) -> list[str]:
    return [word.key for word in side.prompt.words[: side.prompt.words.index(side.phrase[0])]]


def _word_before(side: _Side) -> str:
    return ([""] + _words_before(side))[-1]


def _preposition(side: _Side) -> str:
    """What stands before a phrase and its article, "" for nothing."""
    return next((key for key in reversed(_words_before(side)) if key not in _ARTICLES), "")


def _next_word(side: _Side) -> str:
    words = side.prompt.words
    after = words[words.index(side.phrase[-1]) + 1 :]
    return after[0].key if after else ""
