"""The phrases of two prompts, those that belong together side by side."""

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from .alignment import KEPT, Row
from .dividing import phrases_of
from .known_words import ARTICLES, HOLDS, NO_THINGS
from .looks import names_look, praises
from .placed_phrase import Phrase, PlacedPhrase
from .tokens import PromptTokens, Word
from .word_changes import WordChanges, word_changes

if TYPE_CHECKING:
    from .prompt_edit import PromptEdit


@dataclass(frozen=True)
class Side(PlacedPhrase):
    """A phrase of one of two prompts, or () for none.

    Attributes:
        changed: Its words that change, as of `word_changes`.
        is_only_here: Whether the other prompt leaves it out ("without a hat").
        host: The phrase before it, () for none.
    """

    changed: frozenset[Word]
    is_only_here: bool
    host: Phrase

    @property
    def is_look(self) -> bool:
        """Whether it says how the picture looks."""
        return names_look(self.prompt, self.phrase)


def pairs_of(edit: "PromptEdit") -> list[tuple[Side, Side]]:
    """The phrases of the source and of the target that belong together, and beside what has no counterpart none.

    Args:
        edit: The aligned prompts.

    Returns:
        In the target prompt's order, then what only the source prompt has.
    """
    of_source, of_target = word_changes(edit.source, edit.target, edit.rows)
    old, new = _described(edit.source, of_source), _described(edit.target, of_target)
    return [
        (_side(edit.source, before, of_source, old), _side(edit.target, after, of_target, new))
        for before, after in _present(edit, _paired(edit, old, new))
    ]


def _present(edit: "PromptEdit", pairs: list[tuple[Phrase, Phrase]]) -> list[tuple[Phrase, Phrase]]:
    """Pairs in which what is there has no counterpart in what is said not to be ("nobody" and "a man")."""

    def is_absent(prompt: PromptTokens, phrase: Phrase) -> bool:
        return bool(phrase) and PlacedPhrase(prompt, phrase).is_left_out

    present = []
    for before, after in pairs:
        was_absent, is_now_absent = is_absent(edit.source, before), is_absent(edit.target, after)
        if before and after and was_absent != is_now_absent:
            before, after = () if was_absent else before, () if is_now_absent else after
        present.append((before, after))
    return present


def _side(prompt: PromptTokens, phrase: Phrase, changes: WordChanges, phrases: list[Phrase]) -> Side:
    at = phrases.index(phrase) if phrase else 0
    is_only_here = not changes.only_here.isdisjoint(phrase)
    return Side(prompt, phrase, changes.changed.intersection(phrase), is_only_here, phrases[at - 1] if at else ())


def _described(prompt: PromptTokens, changes: WordChanges) -> list[Phrase]:
    """A prompt's phrases of things that are there, without quality tags and a verb alone ("wearing" a hat)."""
    phrases = [phrase for phrase in phrases_of(prompt) if not praises(prompt, phrase)]
    phrases = [phrase for phrase in phrases if changes.left_out.isdisjoint(phrase)]
    return [phrase for phrase in phrases if not (NO_THINGS | HOLDS).issuperset(word.key for word in phrase)]


def _paired(edit: "PromptEdit", old: list[Phrase], new: list[Phrase]) -> list[tuple[Phrase, Phrase]]:
    """The phrases of both prompts, those that belong together side by side; () beside what has no counterpart."""
    links = _links(edit)
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
    left_new = [phrase for phrase in new if phrase not in partner_of]
    partner_of |= _paired_elsewhere(edit, [old[number] for number in left], left_new)
    gone = [old[number] for number in left if old[number] not in partner_of.values()]
    return [(partner_of.get(phrase, ()), phrase) for phrase in new] + [(phrase, ()) for phrase in gone]


def _paired_elsewhere(edit: "PromptEdit", old: list[Phrase], new: list[Phrase]) -> dict[Phrase, Phrase]:
    """Of phrases without counterparts those that share a word with one of the other prompt ("a dog runs on the beach",
    "on the beach a cat runs"), or that alone are left where others moved; by the target's phrase the source's."""
    old, new = _bare_things(edit.source, old), _bare_things(edit.target, new)
    pairs: dict[Phrase, Phrase] = {}
    for phrase in new:
        keys = {word.key for word in phrase}
        alike = next((each for each in old if not keys.isdisjoint(word.key for word in each)), None)
        if alike is not None:
            old.remove(alike)
            pairs[phrase] = alike
    kept = [row.source[0].indices for row in edit.rows if row.kind == KEPT]
    others = [phrase for phrase in new if phrase not in pairs]
    if len(old) == len(others) == 1 and (kept != sorted(kept) or "instead" in edit.target.keys):
        pairs[others[0]] = old[0]
    return pairs


def _bare_things(prompt: PromptTokens, phrases: list[Phrase]) -> list[Phrase]:
    return [phrase for phrase in phrases if PlacedPhrase(prompt, phrase).is_bare and not names_look(prompt, phrase)]


def _links(edit: "PromptEdit") -> list[tuple[frozenset[Word], frozenset[Word]]]:
    """Source words and the target words that they became: each kept word, then each stretch in place of another."""
    kept = [[row] for row in edit.rows if row.kind == KEPT]
    return [
        (frozenset(word for row in part for word in row.source), frozenset(word for row in part for word in row.target))
        for part in (*kept, *_stretches(edit.rows))
    ]


def _stretches(rows: tuple[Row, ...]) -> list[list[Row]]:
    """The rows between kept words; an article between two new words parts nothing ("Spider-Man with a hat")."""
    beside = zip((None, *rows), rows, (*rows[1:], None))
    apart = [row for before, row, after in beside if not (before and after and _joins(before, row, after))]
    stretches = [(is_kept, list(some)) for is_kept, some in groupby(apart, lambda row: row.kind == KEPT)]
    return [some for is_kept, some in stretches if not is_kept]


def _joins(before: Row, row: Row, after: Row) -> bool:
    is_article = row.kind == KEPT and row.target[0].key in ARTICLES
    return is_article and before.kind != KEPT and after.kind != KEPT
