"""The steps of a tuning: which noise they see, which state is best, and what is kept when it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import comfy.model_management
import torch

from .memory import TuningMemory
from .tuning_run import TuningRun
from .unfinished import UnfinishedTuning


class Pictures(NamedTuple):
    """FateZero's regularisation set: pictures that the model must not forget, and what they show.

    latent: [m, c, h, w], as a VAE gives it; conditioning: one plain CONDITIONING, such as of "a photo of a car".
    """

    latent: torch.Tensor
    conditioning: list


WATCHED = (0.1, 0.35, 0.6, 0.85)  # of the timesteps, at which the same noise is tried again and again
CHECKS = 20  # of them during a tuning


@dataclass
class TuningProgress:
    """What a tuning came to: the loss of each step, and at some steps the loss for always the same noise.

    continued_after: how many steps an earlier run had taken.
    """

    memory: TuningMemory
    losses: list[float] = field(default_factory=list)
    watched: dict[int, float] = field(default_factory=dict)
    continued_after: int = 0

    def told(self) -> dict:
        """As plain JSON."""
        return {"losses": self.losses, "watched": self.watched}

    @property
    def best_step(self) -> int:
        return min(self.watched, key=lambda step: self.watched[step])


class Descent:
    """A tuning on its way."""

    def __init__(self, run: TuningRun, progress: TuningProgress, pictures=None, unfinished=None):
        """Begins it, or goes on where an earlier one stopped.

        Args:
            run: What takes a step; at its start.
            progress: Filled on the way.
            pictures: Pictures, or None.
            unfinished: UnfinishedTuning, where it is kept until it is done, or None.
        """
        self.run, self.progress = run, progress
        self.pictures: Pictures | None = pictures
        self.unfinished: UnfinishedTuning | None = unfinished
        self.best: dict[str, torch.Tensor] = {}
        self.between_steps = True
        self.generator = torch.Generator().manual_seed(run.settings.seed + 1)  # the first weights have the seed itself
        self.watched_noise = torch.randn(run.clip.shape, generator=self.generator)
        kept = unfinished.read(run) if unfinished is not None else None
        if kept is not None:
            told, self.best, random = kept
            progress.losses += told["losses"]
            progress.watched.update((int(step), loss) for step, loss in told["watched"].items())
            progress.continued_after = len(progress.losses)
            self.generator.set_state(random)

    def go(self, callback: Callable | None, on_loss: Callable | None, keep: Callable) -> dict[str, torch.Tensor]:
        """Takes all steps; returns the weights of the best of the states that were tried.

        Args:
            callback: ComfyUI's (step, denoised, x, total).
            on_loss: Told (step, loss).
            keep: Told (steps taken, run) whenever a state is tried.
        """
        steps, every = self.run.settings.steps, max(1, self.run.settings.steps // CHECKS)
        drawn = self.run.clip
        random = self.generator.get_state()
        try:
            for step in range(self.progress.continued_after, steps + 1):
                if step % every == 0 or step == steps:
                    drawn = self.try_state(step)
                    keep(step, self.run)
                    if step < steps:
                        self.write(random)
                if step == steps:
                    break
                comfy.model_management.throw_exception_if_processing_interrupted()
                self.take_step()
                random = self.generator.get_state()
                if on_loss is not None:
                    on_loss(step, self.progress.losses[-1])
                if callback is not None:
                    callback(step, drawn, self.run.clip, steps)
        except comfy.model_management.InterruptProcessingException:  # also from within what a step is told to
            self.write(random)
            raise
        return self.best

    def try_state(self, step: int) -> torch.Tensor:
        """The loss for always the same noise; returns the clip as it is seen through the most of it."""
        run = self.run
        tried = [run.drawn(int(share * len(run.alphas)), self.watched_noise) for share in WATCHED]
        self.progress.watched[step] = sum(loss for _, loss in tried) / len(tried)
        if self.progress.best_step == step:
            self.best = run.weights.snapshot()
        return tried[-1][0]

    def take_step(self) -> None:
        """On the clip, and before it on as many of the pictures as the clip has frames, at a timestep for each."""
        run, generator = self.run, self.generator
        self.between_steps = False
        if self.pictures is not None:
            latent, (embedding, _) = self.pictures.latent, self.pictures.conditioning[0]
            chosen = torch.randperm(len(latent), generator=generator)[: len(run.clip)]
            embedding = embedding[chosen] if len(embedding) == len(latent) else embedding[:1]
            timesteps = torch.randint(len(run.alphas), (len(chosen),), generator=generator)
            noise = torch.randn(latent[chosen].shape, generator=generator)
            run.picture_step(latent[chosen], embedding, timesteps, noise)
        timestep = int(torch.randint(len(run.alphas), (), generator=generator))
        self.progress.losses.append(run.step(timestep, torch.randn(run.clip.shape, generator=generator)))
        self.between_steps = True

    def write(self, random: torch.Tensor) -> None:
        """Keeps what goes beyond the state that it began with; random: state of the generator before the next step."""
        halfway = self.pictures is not None and not self.between_steps
        goes_on = len(self.progress.losses) > self.progress.continued_after
        if self.unfinished is not None and goes_on and not halfway:
            self.unfinished.write(self.run, self.progress.told(), self.best, random)
