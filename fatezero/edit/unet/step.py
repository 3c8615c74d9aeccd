"""What is fused at one denoising step, and the word maps that build up over the steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ...network.attention_layers import CROSS, SELF, TEMPORAL
from ...network.frame_chunks import ActiveChunk
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import Window
from ..fusion import CrossWeights, fuses_cross
from ..settings import BlendSettings

if TYPE_CHECKING:
    from .ground_keys import GroundKeys
    from .places import ClipMask, ThingPlaces


@dataclass(frozen=True)
class Step:
    """What is fused at one denoising step.

    Args:
        index: 0 is the noisiest.
        sigma: The level that the model is evaluated at.
        kinds: Of SELF, CROSS and TEMPORAL, those that are fused.
        cross: `cross_weights`, None where the edit keeps its own.
        positive: uuids of the conditionings that are the edit's.
        source_words: The source's word maps, [n, T, h, w]; None where no mask follows words, or where the source's rows
            show them as they pass.
        new_words_alone: Whether cross-attention inside the mask sees the phrases of the new words alone.
        places: By (height, width), where the clip's frames keep the edit's own, as far as it is known before the layers
            run.
        ground_keys: What self-attention sees inside the mask, where a thing goes; else None.
        things: Of things that each see their own words in the mask, these words and the places by (height, width).
        finest: Whether layers of the latent's own resolution are fused, too.
    """

    index: int
    sigma: float
    kinds: frozenset[str]
    cross: CrossWeights | None
    positive: frozenset
    source_words: torch.Tensor | None
    new_words_alone: bool = False
    places: "Mapping[tuple[int, int], ClipMask]" = field(default_factory=dict)
    ground_keys: "GroundKeys | None" = None
    things: "tuple[ThingPlaces, ...]" = ()
    finest: bool = True


def fused_kinds(edit: PromptEdit, settings: BlendSettings, step: int, steps: int) -> frozenset[str]:
    """Which attention, of SELF, CROSS and TEMPORAL, is fused at a denoising step; 0 is the noisiest."""
    kinds = {SELF} if settings.self_window.contains(step, steps) else set()
    if fuses_cross(edit, settings.cross_window, step, steps):
        kinds.add(CROSS)
    if settings.temporal_window.contains(step, steps):
        kinds.add(TEMPORAL)
    return frozenset(kinds)


def fuses_finest(settings: BlendSettings, step: int, steps: int) -> bool:
    """Whether layers of the latent's own resolution are fused at a denoising step; 0 is the noisiest."""
    return Window(0, settings.finest_until).contains(step, steps)


class WordMapSum:
    """Word maps of a clip, put together chunk by chunk at each step and summed over the steps so far."""

    def __init__(self) -> None:
        self.total: torch.Tensor | None = None  # [n, T, h, w], without the step that runs
        self.of_step: torch.Tensor | None = None

    def put(self, active: ActiveChunk, maps: list[torch.Tensor]) -> None:
        """Adds the mean of what a chunk's layers have shown, each [b, T, h, w]. Safe to run twice for the same frames:
        they are written by index, never added."""
        if maps:
            self.of_step = active.put(average(maps), self.of_step)

    def end_step(self) -> torch.Tensor | None:
        """The sum with this step's, None while there is nothing."""
        if self.of_step is not None:
            self.total = self.of_step if self.total is None else self.total + self.of_step
        self.of_step = None
        return self.total


def average(maps: list[torch.Tensor]) -> torch.Tensor:
    """The mean of several layers' maps."""
    return torch.stack(maps).mean(dim=0)
