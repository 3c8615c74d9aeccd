"""An edit that is sampled in stages (KSampler Advanced, SplitSigmas): what a stage needs of the steps before it.

All that an edit knows of the source follows from the source run. What its own steps have shown is left here when a
stage ends above the clean level, and taken up by the stage that begins where that one ended.
"""

from dataclasses import dataclass
from typing import Any

import torch

from ..source.source_run import SourceRun
from .settings import INVERSION, BlendSettings, reads_words
from .source_branch import SourceBranch
from .step import WordMapSum

UNKNOWN_STEPS = (
    "this stage goes on from steps that this model did not make: what was seen in them (where the words are, the "
    "source drawn again) is left out; use the model of one Attention Blend for all stages"
)


@dataclass(frozen=True)
class StageEnd:
    """Where a stage has ended, on the CPU.

    sigma: the level; latent: as the sampler gave it out, [n, c, h, w]; target_words: the sum of the target's word maps,
    [n, T, h, w], or None; branch: what the source's branch goes on with.
    """

    sigma: float
    latent: torch.Tensor
    target_words: torch.Tensor | None
    branch: Any


class Stages:
    """The stages that a blended MODEL has sampled; the last one's end is kept for as long as the MODEL lives."""

    def __init__(self) -> None:
        self.end: StageEnd | None = None

    def go_on(self, sigma: float, latent: torch.Tensor, target_words: WordMapSum, branch: SourceBranch, device) -> bool:
        """Whether a run begins where the last stage ended; it then has what that one knew.

        Args:
            sigma: The first level of the run.
            latent: What the sampler is given, [n, c, h, w].
            target_words: The run's.
            branch: The run's.
            device: Where the run computes.
        """
        end = self.end
        if end is None or abs(end.sigma - sigma) > 1e-4 * sigma or end.latent.shape != latent.shape:
            return False
        if not torch.allclose(latent.float().cpu(), end.latent, atol=1e-2):
            return False
        target_words.total = None if end.target_words is None else end.target_words.to(device)
        branch.take_up(end.branch, device)
        return True

    def keep(self, sigma: float, samples: torch.Tensor, target_words: WordMapSum, branch: SourceBranch) -> None:
        """Remembers how a stage has ended: sigma: its last level; the rest as of `go_on`."""
        total = target_words.total
        words = None if total is None else total.cpu()
        self.end = StageEnd(sigma, samples.float().cpu().clone(), words, branch.left_behind())


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
