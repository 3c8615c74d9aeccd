"""An edit that is sampled in stages (KSampler Advanced, SplitSigmas): what a stage needs of the steps before it.

All that an edit knows of the source follows from the source run. What its own steps have shown is left here when a
stage ends above the clean level, and taken up by the stage that begins where that one ended.
"""

from dataclasses import dataclass
from typing import Any

import torch

from ..source.source_run import SourceRun
from .settings import INVERSION, BlendSettings, reads_words

UNKNOWN_STEPS = (
    "this stage goes on from steps that this model did not make: what was seen in them (where the words are, the "
    "source drawn again) is left out; use the model of one Attention Blend for all stages"
)


@dataclass(frozen=True)
class StageEnd:
    """Where a stage has ended, on the CPU.

    sigma: the level; latent: as the sampler gave it out, [n, c, h, w] or a video model's [1, c, F, h, w]; left: what
    the next stage goes on with.
    """

    sigma: float
    latent: torch.Tensor
    left: Any


class Stages:
    """The stages that a blended MODEL has sampled; the last one's end is kept for as long as the MODEL lives."""

    def __init__(self) -> None:
        self.end: StageEnd | None = None
        self.told: dict[str, str] = {}  # of two models, the text on the node by the model's input

    def end_at(self, sigma: float, latent: torch.Tensor) -> StageEnd | None:
        """The last stage's end where a run begins there, else None.

        Args:
            sigma: The first level of the run.
            latent: What the sampler is given, as of StageEnd.
        """
        end = self.end
        if end is None or abs(end.sigma - sigma) > 1e-4 * sigma or end.latent.shape != latent.shape:
            return None
        return end if torch.allclose(latent.float().cpu(), end.latent, atol=1e-2) else None

    def keep(self, sigma: float, samples: torch.Tensor, left: Any) -> None:
        """Remembers how a stage has ended: sigma: its last level; samples: its latent; left: as of StageEnd."""
        self.end = StageEnd(sigma, samples.float().cpu().clone(), left)


def misses_steps(model, source: SourceRun, settings: BlendSettings, noise, latent, sigma: float) -> bool:
    """Whether a run begins in the middle, not from the source, and would need to know the steps before.

    Args:
        model: ModelPatcher.
        source: The inverted clip.
        settings: How the edit is fused.
        noise: What the sampler adds, [n, c, h, w].
        latent: What it adds that to, [n, c, h, w].
        sigma: The first level.
    """
    if noise.any() or sigma > 0.999 * float(source.sigmas[-1]):
        return False
    begun = model.model.process_latent_out(source.latent_at(sigma))
    if torch.allclose(latent.float().cpu(), begun, atol=1e-2):
        return False
    return settings.attention_from != INVERSION or (settings.latent_window is not None and reads_words(settings))
