"""A prompt edit: which target token follows which source token, and what a person asked for word by word."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from ..readable import readable
from .alignment import AUTO, KEPT, Row, align
from .edit_table import edit_table
from .mask_words import changed_source_tokens, changed_target_tokens, named_tokens
from .phrases import look_tokens, neighbour_tokens, phrase_tokens, tokens_by_phrase
from .tokens import PromptTokens
from .word_fields import ATTENTION, BY_WORD, MEANING, read_factors, read_windows


class Place(NamedTuple):
    """Tokens whose attention shows a place, and those whose attention is taken off."""

    tokens: tuple[int, ...]
    without: tuple[int, ...] = ()


@readable
@dataclass(frozen=True, eq=False)
class PromptEdit:
    """An edit from a source to a target prompt (wire type FZ_EDIT); immutable.

    Attributes:
        source, target: The two prompts.
        mode: "swap" or "refine".
        mapper: P, float32 [T_source, T_target], see `align`.
        from_source: beta, float32 [T_target] of 0 and 1, see `align`.
        emphasis: e, float32 [T_target], 1 for none; multiplies the fused cross-attention, or has changed the target's
            encoding, as `emphasis_acts_on` says.
        windows: (target token positions, start, end) of the tokens with a cross-attention window of their own, as
            fractions of the steps from the noisiest.
        source_mask_tokens, target_mask_tokens: Positions of the words to mask.
        rows: What became of each word, in reading order.
    """

    source: PromptTokens
    target: PromptTokens
    mode: str
    mapper: torch.Tensor
    from_source: torch.Tensor
    emphasis: torch.Tensor
    windows: tuple[tuple[tuple[int, ...], float, float], ...]
    source_mask_tokens: tuple[int, ...]
    target_mask_tokens: tuple[int, ...]
    rows: tuple[Row, ...]
    version: int = 1
    emphasis_acts_on: str = ATTENTION

    @cached_property
    def attention_emphasis(self) -> torch.Tensor:
        """What multiplies the fused cross-attention, float32 [T_target]."""
        attention = self.emphasis.clone()
        attention[list(self.meant_tokens)] = 1
        return attention

    @cached_property
    def meant_tokens(self) -> frozenset[int]:
        """Positions in the target whose emphasis acts on the meaning of the prompt: none, all, or by the word those of
        a look that both prompts name. The words after a style carry it along, so its own attention says little; a thing
        or a new word is drawn where it is seen."""
        if self.emphasis_acts_on != BY_WORD:
            return frozenset(range(self.target.length) if self.emphasis_acts_on == MEANING else ())
        kept = {token for row in self.rows if row.kind == KEPT for word in row.target for token in word.indices}
        return frozenset(kept.intersection(look_tokens(self.target)))

    def places(self, by_phrase: bool) -> tuple[Place, Place]:
        """Where a mask of words lies, by the source's tokens and by the target's: of the words to mask, or by whole
        phrases and away from the things beside them."""
        if not by_phrase:
            return Place(self.source_mask_tokens), Place(self.target_mask_tokens)
        source = self.source, self.source_mask_tokens
        beside = neighbour_tokens(self.target, self.target_mask_tokens)
        return Place(phrase_tokens(*source), neighbour_tokens(*source)), Place(self.new_phrases, beside)

    def source_things(self) -> list[tuple[Place, ...]]:
        """Of each thing that the source's words to mask name: those words, and their whole phrase away from the things
        beside it; of words in no phrase, these alone."""
        things: list[tuple[Place, ...]] = []
        for words in tokens_by_phrase(self.source, self.source_mask_tokens):
            phrase = Place(phrase_tokens(self.source, words), neighbour_tokens(self.source, words))
            things.append((Place(words), phrase) if phrase.tokens else (Place(words),))
        return things

    @cached_property
    def new_phrases(self) -> tuple[int, ...]:
        """Positions of the phrases that hold the target's words to mask, such as "red square" where "square" is new."""
        return phrase_tokens(self.target, self.target_mask_tokens)

    def own_window(self, token: int) -> tuple[float, float] | None:
        """The window of a target token, (start, end); None when it has none of its own."""
        return self._own_windows.get(token)

    @cached_property
    def _own_windows(self) -> dict[int, tuple[float, float]]:
        return {token: (start, end) for tokens, start, end in self.windows for token in tokens}

    def summary(self) -> str:
        """The alignment as a table, the words to mask, and what a person may not expect of this edit."""
        return edit_table(self)

    __str__ = summary


def make_prompt_edit(
    source: PromptTokens,
    target: PromptTokens,
    mode: str = AUTO,
    emphasis: str = "",
    mask_words: str = "",
    target_mask_words: str = "",
    windows: str = "",
    emphasis_acts_on: str = ATTENTION,
) -> PromptEdit:
    """Aligns two prompts and reads what a person wrote about their words. A word stands for all its occurrences.

    Args:
        source: The prompt that describes the clip.
        target: The prompt of the edit.
        mode: auto, swap or refine, see `align`.
        emphasis: Target words and factors -20..20, such as "crystal:5, swarovski:3".
        mask_words: Source words to mask; empty for those that changed.
        target_mask_words: Target words to mask; empty for those that changed.
        windows: Target words and fractions 0..1 of the steps, such as "silver:0.8, jeep:0.2-0.9" (a single number is
            the end, 0 for never).
        emphasis_acts_on: ATTENTION as in the papers, MEANING where the target's encoding is to have it
            (`meaning.lean_towards`), or BY_WORD.

    Returns:
        The edit.

    Raises:
        Refusal: For an unknown mode, words that the prompt does not have, and numbers that are missing or out of range.
    """
    alignment = align(source, target, mode)
    factors = torch.ones(target.length)
    for tokens, factor in read_factors(target, emphasis, "emphasis"):
        factors[list(tokens)] = factor
    changes = source, target, alignment.rows
    return PromptEdit(
        source,
        target,
        alignment.mode,
        alignment.mapper,
        alignment.from_source,
        factors,
        tuple((tokens, start, end) for tokens, (start, end) in read_windows(target, windows, "windows")),
        named_tokens(source, mask_words, "mask words") or changed_source_tokens(*changes),
        named_tokens(target, target_mask_words, "target mask words") or changed_target_tokens(*changes),
        alignment.rows,
        emphasis_acts_on=emphasis_acts_on,
    )
