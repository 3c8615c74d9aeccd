"""How a model is tuned on a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .layouts import FATEZERO, TUNE_A_VIDEO, Layout

AUTO = "auto"
ALL, QUERIES, TEMPORAL = "all", "queries", "temporal parts"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Tuning:
    """Settings of a tuning; the presets are the published ones.

    layout: whose parts are added and how they are called; rank: of the temporal convolutions, 0 for none; key_frames:
    from `parse_key_frames`; steps: of the optimizer; learning_rate: constant; seed: of the first weights, the noise and
    the timesteps; weight_decay, largest_norm: AdamW's, and what the gradient's norm is clipped to; precision: what the
    UNet computes in; eight_bit: whether AdamW keeps its averages in 8 bits; trained: ALL as published, QUERIES or
    TEMPORAL.
    """

    layout: Layout
    rank: int
    key_frames: tuple[str, ...]
    steps: int
    learning_rate: float
    seed: int = 0
    weight_decay: float = 1e-2
    largest_norm: float = 1.0
    precision: str = AUTO
    eight_bit: bool = False
    trained: str = ALL

    def dtype(self, model) -> torch.dtype:
        """What a ModelPatcher's UNet computes in while it is tuned; by itself, what ComfyUI has it compute in."""
        return PRECISIONS.get(self.precision) or model.model.get_dtype_inference()

    def effective_rank(self, channels: int) -> int:
        """The rank of a convolution of so many channels, which is smaller where there are fewer (the last has 4)."""
        return self.rank if self.rank <= channels else max(1, channels // 2)


PRESETS = {
    "Tune-A-Video": Tuning(TUNE_A_VIDEO, 0, ("-1", "first"), 500, 3e-5),
    "FateZero": Tuning(FATEZERO, 160, ("-1", "first"), 200, 1e-5),
    "Video-P2P": Tuning(TUNE_A_VIDEO, 0, ("first",), 300, 3e-5),
}


def chosen(
    preset: str, steps: int, learning_rate: float, rank: int, seed: int, precision: str = AUTO, eight_bit: bool = False
) -> Tuning:
    """A preset with a person's own numbers; 0 leaves the preset's steps, learning rate or rank.

    Args:
        preset: One of PRESETS.
        steps: Of the optimizer.
        learning_rate: Constant.
        rank: Of the temporal convolutions, where the preset has any.
        seed: Of everything random.
        precision: AUTO or one of PRECISIONS.
        eight_bit: Whether AdamW keeps its averages in 8 bits.
    """
    settings = PRESETS[preset]
    return replace(
        settings,
        steps=steps or settings.steps,
        learning_rate=learning_rate or settings.learning_rate,
        rank=(rank or settings.rank) if settings.rank else 0,
        seed=seed,
        precision=precision,
        eight_bit=eight_bit,
    )
