"""Temporal attention of a tuned video model: every place of the picture attends to itself in all frames."""

from __future__ import annotations

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import nn

from ..attention_layers import TEMPORAL

# Elements of hidden states that go through the attention at once: 2 rows of 8 frames of 512x512 in SD 1.x and a half.
ELEMENTS_AT_ONCE = 2**25


class TemporalAttention(nn.Module):
    """The last layer of a transformer block: a norm, an attention along the frames and a residual.

    No position is told and no frame is masked. Places do not look at each other, so they go through in parts where they
    are many, with the same result.
    Source: Tune-A-Video's and FateZero's `attn_temp(oral)` in its released position, after the feed-forward.
    """

    def __init__(self, width: int, operations, **placement):
        """width: of the hidden states; operations: ComfyUI's layer classes; placement: dtype and device."""
        super().__init__()
        self.norm = operations.LayerNorm(width, **placement)
        self.to_q = operations.Linear(width, width, bias=False, **placement)
        self.to_k = operations.Linear(width, width, bias=False, **placement)
        self.to_v = operations.Linear(width, width, bias=False, **placement)
        self.to_out = operations.Linear(width, width, **placement)

    def forward(self, hidden: torch.Tensor, rows: int, extra: dict) -> torch.Tensor:
        """Adds what the frames say to each other.

        Args:
            hidden: [rows·n, tokens, width], frames in order within each row.
            rows: Conditioning rows of the batch.
            extra: ComfyUI's options of the transformer block, with `n_heads`. A hook stands in `patches_replace`, under
                TEMPORAL, as ComfyUI's own do; it gets query, key and value [rows·tokens, n, width].
        Returns: As hidden.
        """
        clip = hidden.unflatten(0, (rows, -1)).transpose(1, 2)  # [rows, tokens, n, width]
        places_at_once = max(1, ELEMENTS_AT_ONCE // (rows * clip.shape[2] * clip.shape[3]))
        if hook_of(extra) is not None:  # which knows a layer by its name, not a part of its places
            places_at_once = clip.shape[1]
        parts = [self.attend(part, extra) for part in clip.split(places_at_once, dim=1)]
        return torch.cat(parts, dim=1).transpose(1, 2).flatten(0, 1)

    def attend(self, places: torch.Tensor, extra: dict) -> torch.Tensor:
        """The layer for some places, [rows, places, n, width]."""
        frames = places.flatten(0, 1)
        normed = self.norm(frames)
        query, key, value = self.to_q(normed), self.to_k(normed), self.to_v(normed)
        hook = hook_of(extra)
        if hook is not None:
            attended = hook(query, key, value, extra)
        else:
            attended = plain_temporal_attention(query, key, value, extra)
        return (frames + self.to_out(attended)).unflatten(0, places.shape[:2])


def hook_of(extra: dict):
    """What another part of the pack has put in the place of a layer's attention, or None."""
    hooks = extra.get("patches_replace", {}).get(TEMPORAL, {})
    place = extra.get("block")
    return hooks.get((*place, extra["block_index"]), hooks.get(place)) if hooks and place else None


def plain_temporal_attention(query, key, value, extra: dict) -> torch.Tensor:
    """ComfyUI's own attention, with the backend and precision that it chose."""
    return optimized_attention(
        query, key, value, extra["n_heads"], attn_precision=extra.get("attn_precision"), transformer_options=extra
    )
