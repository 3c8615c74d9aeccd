"""Where a prompt's tokens are looked at: cross-attention as maps over the picture."""

import torch

OFFICIAL_CELLS = 16  # height and width of the maps that the official code reads masks from, at 512x512


def cross_attention_map(
    query: torch.Tensor, key: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-attention probabilities averaged over the heads.

    query: [n, h·w, heads·d]; key: [n, T, heads·d]; mask: as ComfyUI's attention takes it, bool [n, T], or a number to
    add to the scores, 2 to 4 dimensions that end in [.., T]. Returns float32 [n, h·w, T], each row summing to 1.
    """
    batch, tokens, width = query.shape
    query = query.reshape(batch, tokens, heads, -1).transpose(1, 2).float()
    key = key.reshape(batch, key.shape[1], heads, -1).transpose(1, 2).float()
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask.reshape(len(mask), 1, 1, -1), -torch.inf)
    elif mask is not None:
        scores = scores + (mask[:, None] if mask.ndim == 3 else mask)
    return scores.softmax(dim=-1).mean(dim=1)
