"""What two prompts ask for: another look, another ground, another property of a thing, another thing.

What counts is where a word stands in its phrase, and after which preposition. That takes a few short lists of English
words and no dictionary; in another language most changes are read as another thing.
"""

from typing import TYPE_CHECKING, NamedTuple

from .dividing import phrases_of
from .known_words import (
    ARTICLES,
    BACKDROPS,
    CLOTHES,
    COLORS,
    GROUNDS,
    HOLDS,
    IS,
    JOINS,
    LINKS,
    NO_THINGS,
    NUMBERS,
    OF_A_BODY,
    PLACE_ENDINGS,
    PLACES,
    RELATIVES,
    SIZES,
    WORN,
)
from .looks import is_picture_of
from .phrase_pairs import Side, pairs_of
from .phrases import neighbour_tokens, phrase_text, tokens_of
from .placed_phrase import Phrase, PlacedPhrase, is_adjective, is_adverb, is_participle, is_plural, is_present
from .tokens import Word

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
    return _changes_and_phrases(edit)[0]


def _changes_and_phrases(edit: "PromptEdit") -> tuple[list[Change], dict[tuple[bool, Phrase], int]]:
    """`changes_of`, and of each phrase, by whether it is the target's, in which of them it is."""
    changes: list[Change] = []
    places: dict[tuple[bool, Phrase], int] = {}
    for before, after in pairs_of(edit):
        kind, side = _kind(before, after), after if after.phrase else before
        place = places.get((side is after, side.host), -1)
        if place >= 0 and _is_part_of(changes[place].kind, kind, before, after):
            changes[place] = _with_part(changes[place], before, after)
        elif change := _change(kind, before, after):
            place = len(changes)
            changes.append(change)
        else:
            continue
        places |= {(each is after, each.phrase): place for each in (before, after) if each.phrase}
    return changes, places


def brings_another_shape(edit: "PromptEdit") -> bool:
    """Whether another thing, or the same in another pose, takes the place of one."""
    return any(change.kind in (THING, POSE) for change in changes_of(edit))


def things_that_stay(edit: "PromptEdit") -> list[Phrase]:
    """The things that both prompts have alike and that are not to be masked, as the source prompt names them: no look,
    nothing after a preposition of place, which may be all of the picture ("in the countryside"), nor, beside other
    things, what is a ground by its name."""
    both = [(source, target) for source, target in pairs_of(edit) if source.phrase and target.phrase]
    alike = [source for source, target in both if not (source.changed or target.changed)]
    masked = set(edit.source_mask_tokens)
    things = [side for side in alike if all(masked.isdisjoint(word.indices) for word in side.phrase)]
    things = [side for side in things if _is_thing(side)]
    return [side.noun_phrase for side in [side for side in things if not side.names_ground()] or things]


def own_words(edit: "PromptEdit") -> list[tuple[int, ...]]:
    """What comes in the place of each of several things that stand side by side ("a red circle and a blue star"), or of
    one on a ground that changes, too: the target's tokens of the phrase that it becomes.

    Args:
        edit: The aligned prompts.

    Returns:
        In the order of `PromptEdit.source_things`, without the ground; empty where there are no such things, where two
        have the same words, where one is a part of another ("a swan with a beak"), or where one goes.
    """
    ground = old_ground(edit)
    masked = set(edit.source_mask_tokens) - ground
    things = [phrase for phrase in phrases_of(edit.source) if not masked.isdisjoint(tokens_of(phrase))]
    if len(things) < (1 if ground else 2) or len({phrase_text(phrase) for phrase in things}) < len(things):
        return []
    beside = {*tokens_of(things[0]), *neighbour_tokens(edit.source, tokens_of(things[0]))}
    become = {source.phrase: target.phrase for source, target in pairs_of(edit)}
    new = [become.get(phrase, ()) for phrase in things]
    return [tokens_of(phrase) for phrase in new] if all(new) and masked <= beside else []


def old_ground(edit: "PromptEdit") -> frozenset[int]:
    """The source's tokens to mask that name a ground in whose place another comes; empty where none does."""
    changes, phrases = _changes_and_phrases(edit)
    new = {number for number, change in enumerate(changes) if change.kind == GROUND and change.before and change.after}
    old = [phrase for (is_target, phrase), number in phrases.items() if number in new and not is_target]
    return frozenset(token for phrase in old for token in tokens_of(phrase)).intersection(edit.source_mask_tokens)


def _change(kind: str, before: Side, after: Side) -> Change | None:
    """A change of a kind, what is new without the verb behind it ("an umbrella walking down"); None for no kind."""
    new = after.noun_phrase if kind == ADDED else after.phrase
    return Change(kind, phrase_text(before.phrase), phrase_text(new)) if kind else None


def _is_part_of(host: str, kind: str, before: Side, after: Side) -> bool:
    """Whether a phrase changes with the one before it, which changes as `host` says: "lava" of a new "field of lava",
    and what a new thing wears or holds."""
    if host == THING and kind == ADDED and not before.phrase:
        return after.preposition in HOLDS | {"with", "in"}
    there = [side for side in (before, after) if side.phrase]
    hosts = (GROUND, THING) if len(there) == 2 else (GROUND, THING, PROPERTY, POSE)
    is_behind = all(side.preposition in JOINS or side.is_material or side.is_outcome for side in there)
    return is_behind and host in hosts and kind not in ("", LOOK)


def _with_part(change: Change, before: Side, after: Side) -> Change:
    """A change with the phrases that belong to it; a thing that turns into another is another."""
    return Change(
        THING if after.phrase and after.is_outcome else change.kind,
        change.before + _behind_host(before),
        change.after + _behind_host(after),
    )


def _behind_host(side: Side) -> str:
    """A phrase and the words between it and the one before, as written."""
    if not side.phrase:
        return ""
    words = side.prompt.words
    start = words.index(side.host[-1]) + 1 if side.host else words.index(side.phrase[0])
    part = words[start : words.index(side.phrase[-1]) + 1]
    return "".join(f" {word.text}" for word in part if not word.is_punctuation)


def _kind(before: Side, after: Side) -> str:
    """What kind of change two phrases are, or one that has no counterpart; "" for none."""
    there = [side for side in (before, after) if side.phrase]
    if all(side.is_position for side in there):
        return ""  # "on the left"
    if not (before.changed or after.changed) or all(side.is_left_out for side in there):
        return ""
    if any(side.is_look for side in there):
        return LOOK
    if len(there) == 1:
        return _kind_of_one(there[0], ADDED if after.phrase else REMOVED)
    old, new = _noun_phrases(before, after)
    is_same = old[-1].key == new[-1].key
    changed = (before.changed & {*old}) | (after.changed & {*new})
    is_place = old[-1].key in GROUNDS | PLACES or old[-1].key.endswith(PLACE_ENDINGS)
    if is_same and changed and not is_place:
        return _kind_of_words(changed, new)  # also "on a blue rug"
    if all(side.is_material for side in there):
        return _kind_of_material(after)
    if all(side.is_in_place for side in there) or all(side.names_ground(not is_same) for side in there):
        return GROUND
    if all(map(_tells_of_a_thing, there)):
        return POSE if all(is_present(side.phrase[0].key) for side in there) else PROPERTY
    if all(side.is_predicate for side in there):
        return PROPERTY
    if not is_same:
        return THING
    if changed:
        return _kind_of_words(changed, new)
    return _kind_of_verb(before, after)


def _kind_of_material(side: Side) -> str:
    """Of what a thing or a ground is made of or covered in."""
    host = PlacedPhrase(side.prompt, side.host) if side.host else None
    return GROUND if host and (host.is_in_place or host.names_ground()) else PROPERTY


def _kind_of_verb(before: Side, after: Side) -> str:
    """Of phrases with the same noun, by what stands behind it."""
    behind = {word.key for word in before.changed | after.changed}
    if behind & HOLDS:
        return ""  # what is held is a phrase of its own
    is_described = any(map(is_participle, behind)) and all(is_participle(key) or is_adverb(key) for key in behind)
    return PROPERTY if is_described else POSE


def _noun_phrases(before: Side, after: Side) -> tuple[Phrase, Phrase]:
    """Two phrases up to their nouns, without a verb that both have behind a plural ("dogs run" and "wolves run")."""
    old, new = before.noun_phrase, after.noun_phrase
    is_same = old[-1].key == new[-1].key and not is_plural(old[-1].key)
    if is_same and all(len(phrase) > 1 and is_plural(phrase[-2].key) for phrase in (old, new)):
        return old[:-1], new[:-1]
    return old, new


def _kind_of_words(changed: frozenset[Word], phrase: Phrase) -> str:
    """Of words before a noun that stays: another number of things is another pose of them, another age is not."""
    is_age = any(word.key.startswith("year") for word in phrase)
    is_number = all(word.key in NUMBERS or word.key.isdigit() for word in changed)
    return POSE if is_number and not is_age else PROPERTY


def _kind_of_one(side: Side, added_or_removed: str) -> str:
    """Of a phrase that only one of the prompts has."""
    if side.is_only_here:
        return added_or_removed
    if side.has_part_behind:
        return LOOK if is_picture_of(side.prompt, side.phrase) else PROPERTY
    if side.is_outcome:
        return THING
    if side.is_material:
        return _kind_of_material(side)
    if side.is_in_place or side.names_ground():
        return GROUND
    if side.preposition in {"like", "as"}:
        return PROPERTY
    if side.word_before in ARTICLES:
        return added_or_removed
    is_linked = not LINKS.isdisjoint({side.preposition, side.next_word}) and is_plural(side.noun.key)
    is_thing = is_linked or _first_preposition(side) in HOLDS | {"with"}
    is_thing = is_thing or _is_listed_thing(side, is_known=added_or_removed == ADDED)
    return added_or_removed if is_thing and side.noun.key not in OF_A_BODY else PROPERTY


def _is_listed_thing(side: Side, is_known: bool) -> bool:
    """Whether a phrase between commas names a thing ("1girl, hat, park"), no verb and no adjective.

    is_known: Whether it must be known for one, by a color or size before it or as what is worn: a new word may as well
    name a style ("a cat on a sofa, minecraft").
    """
    keys, noun = [word.key for word in side.phrase], side.noun.key
    is_listed = not (side.word_before or side.next_word) and keys[0] not in NO_THINGS
    if not is_listed or is_present(keys[0]) or is_present(noun) or is_adjective(noun):
        return False
    is_worn = noun in WORN or noun.endswith(CLOTHES)
    return not is_known or is_worn or (len(keys) > 1 and keys[0] in COLORS | SIZES)


def _first_preposition(side: Side) -> str:
    """What stands before a phrase and those that an "and" links to it, such as "with" of glasses in "with a hat and
    glasses"."""
    phrases = phrases_of(side.prompt)
    until = phrases[: phrases.index(side.phrase) + 1]
    prepositions = (PlacedPhrase(side.prompt, phrase).preposition for phrase in reversed(until))
    return next((preposition for preposition in prepositions if preposition not in LINKS), "")


def _tells_of_a_thing(side: Side) -> bool:
    """Whether a phrase stands after "is", for what a thing is like or does; not after "there is"."""
    before = side.words_before
    return bool(before) and before[-1] in IS and before[-2:-1] != ["there"]


def _is_thing(side: Side) -> bool:
    """Whether a phrase names a thing that can be seen in its own place."""
    first = side.phrase[0].key
    is_verb = is_present(first) or (is_participle(first) and side.word_before not in ARTICLES)
    is_clause = side.word_before in RELATIVES
    is_no_noun = first in NO_THINGS or is_clause or (len(side.noun_phrase) == 1 and is_verb)
    is_left_out = side.is_left_out or side.phrase[-1].key in BACKDROPS
    return not (is_no_noun or is_left_out or side.is_look or side.is_in_place)
