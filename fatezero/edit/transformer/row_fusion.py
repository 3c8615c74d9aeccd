"""Prompt-to-prompt's fusion between the rows of one call: the clip under its own prompt, and the edit."""

from dataclasses import dataclass, field

import torch

from ...network.attention_layers import CROSS, SELF
from ..fusion import QK, CrossWeights, fuse_cross, fuse_self


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
    shown: dict[tuple[str, int], tuple[QK, torch.Tensor | None]] = field(default_factory=dict)

    def is_source(self, row: object) -> bool:
        return row in self.source

    def attend(self, kind, block, row, query, key, value, attention, mask):
        """See `network.transformer.row_by_row.Attend`; query, key and value are [1, tokens, heads·d]."""
        fused = (kind == CROSS and self.cross is not None) or (kind == SELF and self.fuse_self)
        if fused and row in self.source:
            self.shown[kind, block] = ((query, key), mask)
        # Where the source does not run, as in a further pass of another node's guidance, nothing is fused.
        shown = self.shown.pop((kind, block), None) if fused and row in self.positive else None
        if shown is None:
            return attention(query, key, value, mask)
        source_qk, source_mask = shown

        def masked(query, key, value):  # a prompt's padding is masked where the prompt's keys are read
            return attention(query, key, value, source_mask if key is source_qk[1] else mask)

        if kind == CROSS:
            assert self.cross is not None
            return fuse_cross(masked, (query, key, value), source_qk, *self.cross)
        return fuse_self(masked, (query, key, value), source_qk, self.own)
