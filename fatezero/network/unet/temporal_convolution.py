"""Temporal convolutions of a tuned video model: behind a 3x3 convolution, one along the frames."""

from __future__ import annotations

import torch
from torch import nn


class LowRankTemporalConvolution(nn.Module):
    """x + up(down(x)) along the frames, both of width 3, with zeros beyond the clip's ends.

    Source: FateZero's `conv_temporal` with `lora`; it has no scale and no bias.
    """

    def __init__(self, channels: int, rank: int, operations, **placement):
        """channels: of the 3x3 convolution's output; rank: at least 1; operations: ComfyUI's layer classes;
        placement: dtype and device."""
        super().__init__()
        self.down = operations.Conv1d(channels, rank, 3, padding=1, bias=False, **placement)
        self.up = operations.Conv1d(rank, channels, 3, padding=1, bias=False, **placement)

    def forward(self, hidden: torch.Tensor, rows: int) -> torch.Tensor:
        """hidden: the 3x3 convolution's output [rows·n, channels, h, w], its bias included; returns as much."""
        sequences, size = along_frames(hidden, rows)
        return along_places(sequences + self.up(self.down(sequences)), rows, size)


class FullTemporalConvolution(nn.Module):
    """A plain convolution along the frames, in the place of the low-rank one.

    Source: FateZero's `conv_temporal` without `lora`.
    """

    def __init__(self, channels: int, width: int, operations, **placement):
        """width: of the kernel, odd; the rest as in LowRankTemporalConvolution."""
        super().__init__()
        self.full = operations.Conv1d(channels, channels, width, padding=width // 2, **placement)

    def forward(self, hidden: torch.Tensor, rows: int) -> torch.Tensor:
        """As LowRankTemporalConvolution."""
        sequences, size = along_frames(hidden, rows)
        return along_places(self.full(sequences), rows, size)


def along_frames(hidden: torch.Tensor, rows: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Pictures [rows·n, c, h, w] as sequences [rows·h·w, c, n], and (h, w)."""
    clip = hidden.unflatten(0, (rows, -1))  # [rows, n, c, h, w]
    return clip.permute(0, 3, 4, 2, 1).flatten(0, 2), (hidden.shape[-2], hidden.shape[-1])


def along_places(sequences: torch.Tensor, rows: int, size: tuple[int, int]) -> torch.Tensor:
    """The way back from `along_frames`."""
    clip = sequences.unflatten(0, (rows, *size))  # [rows, h, w, c, n]
    return clip.permute(0, 4, 3, 1, 2).flatten(0, 1)
