"""Prompt-to-prompt's fusion between the rows of one call: the clip under its own prompt, and the edit."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ...network.attention_layers import CROSS, SELF
from ...network.transformer.families import JOINT
from ..fusion import QK, CrossWeights, fuse_cross, fuse_joint, fuse_self


class Shown(NamedTuple):
    """What the source's row has shown of an attention: its query and key, the mask of its text, its prompt's tokens."""

    query_key: QK
    mask: torch.Tensor | None
    text: int


@dataclass
class RowFusion:
    """What attention becomes in the rows of a call of a video transformer.

    The source's row shows its queries and keys layer by layer; the edit's row, which follows, reads and drops them.

    Attributes:
        cross: `cross_weights` of this step, None where the edit keeps its own.
        fuse_self: Whether the edit's self-attention is the source's in this step.
        own: Where a query keeps the edit's own self-attention, [1, tokens] of 0..1; None for nowhere.
        source, positive: uuids of the conditionings of the source and of the edit.
    """

    cross: CrossWeights | None = None
    fuse_self: bool = False
    own: torch.Tensor | None = None
    source: frozenset = frozenset()
    positive: frozenset = frozenset()
    shown: dict[tuple[str, int], Shown] = field(default_factory=dict)

    def is_source(self, row: object) -> bool:
        return row in self.source

    def attend(self, kind, block, query, key, value, attention, mask):
        """See `network.transformer.row_by_row.Attend`; query, key and value are [1, tokens, heads·d], or [1, heads,
        tokens, d] where attention is joint."""
        fuses_words = kind in (CROSS, JOINT) and self.cross is not None
        fused = fuses_words or (kind in (SELF, JOINT) and self.fuse_self)
        place = kind, block.index
        if fused and block.row in self.source:
            self.shown[place] = Shown((query, key), mask, block.text)
        # Where the source does not run, as in a further pass of another node's guidance, nothing is fused.
        source = self.shown.pop(place, None) if fused and block.row in self.positive else None
        if source is None:
            return attention(query, key, value, mask)

        def masked(query, key, value):  # a prompt's padding is masked where the prompt's keys are read
            return attention(query, key, value, source.mask if key is source.query_key[1] else mask)

        edit_qkv = query, key, value
        if kind == JOINT:
            lengths = source.text, block.text
            return fuse_joint(masked, edit_qkv, source.query_key, lengths, self.cross, self.fuse_self, self.own)
        if kind == CROSS:
            assert self.cross is not None
            return fuse_cross(masked, edit_qkv, source.query_key, *self.cross).alone(masked)
        return fuse_self(masked, edit_qkv, source.query_key, self.own).alone(masked)
