"""Inversion of a clip by a video model that predicts a flow: x_sigma = (1 - sigma) x_0 + sigma noise, dx/dsigma = v.

DDIM inversion's own steps serve UNets (`inversion.py`). The same schedule, read upwards; word maps and trajectory are
kept as there, a latent for each latent frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import comfy.samplers
import torch
from tqdm.auto import trange

from ..network.inspection.model_identity import fingerprint
from ..network.inspection.other_nodes import nodes_on
from ..network.option_keys import TOKENS
from ..network.transformer.families import blocks_of, head_count, require_family
from ..network.transformer.two_models import steps_of_models
from ..network.transformer.word_maps import ALL, ReadingGuider, WordMapReader, blocks_in, token_grid
from ..network.without_guidance import without_guidance
from .inversion import Recording
from .latent_cell import Cell, as_video, frames_first
from .resume import UnfinishedInversion
from .source_run import PAIR_VERSION, UNI_INV, VIDEO_VERSION, LowNoiseModel, SourceRun

WHOLE_CLIP = "the whole clip goes through the model at once"


@dataclass(frozen=True)
class FlowStep:
    """One step of the inversion of a flow, from x at sigma to x' at the noisier sigma'.

    Source: Uni-Inv (Jiao et al. 2025), x' = x + (sigma' - sigma) v(x~, sigma') with x~ the same step by the last
    velocity; with another label Euler's method, v(x, sigma).

    Attributes:
        label: UNI_INV, or CURRENT_LABEL for Euler's method.
        refinement: Iterations of x' = x + (sigma' - sigma) v(x', sigma'). Once settled, Euler's method undoes the step.
        smallest_sigma: The lowest level that the model knows.
    """

    label: str
    refinement: int
    smallest_sigma: float

    def __call__(self, model, x: torch.Tensor, sigma: float, following: float, velocity: torch.Tensor | None):
        """The latent at the following sigma, [1, c, F, h, w], and the velocity that led there.

        Args:
            model: model(x, sigma) gives the denoised latent.
            x: The latent at sigma.
            sigma, following: The two levels.
            velocity: Of the step before, None before the first.
        """

        def ask(x: torch.Tensor, sigma: float) -> torch.Tensor:
            sigma = max(sigma, self.smallest_sigma)
            return (x - model(x, sigma)) / sigma

        if self.label != UNI_INV:
            velocity = ask(x, sigma)
        else:
            velocity = ask(x, sigma) if velocity is None else velocity
            velocity = ask(x + (following - sigma) * velocity, following)
        for _ in range(self.refinement):
            velocity = ask(x + (following - sigma) * velocity, following)
        return x + (following - sigma) * velocity, velocity


class AscendingSampler(comfy.samplers.Sampler):
    """Goes through rising sigmas, from a clean latent to noise.

    ComfyUI's own form of a sampler scales the latent by 1 - sigma at the end, which is 0 here.
    """

    def __init__(self, step: FlowStep, reader: WordMapReader, finished: torch.Tensor, end: int):
        """finished: the latents after the steps made before, [steps, F, c, h, w]; end: the step to stop before."""
        self.step, self.reader, self.finished, self.end = step, reader, finished, end

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        """The noise [1, c, F, h, w] of a clean latent in the model's own scale."""
        x, velocity, begun = latent_image, None, len(self.finished)
        levels, steps = [float(sigma) for sigma in sigmas], len(sigmas) - 1

        def model(x: torch.Tensor, sigma: float) -> torch.Tensor:
            self.reader.read = []  # the maps of a step are those of its last evaluation
            return model_wrap(x, x.new_full((len(x),), sigma), **extra_args)

        if begun:
            x = as_video(self.finished[-1]).to(latent_image)
            before = as_video(self.finished[-2]).to(x) if begun > 1 else latent_image
            velocity = (x - before) / (levels[begun] - levels[begun - 1])
        for i in trange(begun, self.end, initial=begun, total=steps, disable=disable_pbar):
            following, velocity = self.step(model, x, levels[i], levels[i + 1], velocity)
            denoised, x = x - levels[i] * velocity, following
            if callback is not None:
                callback(i, denoised, x, steps)
        return x


def invert_video(
    model,
    conditioning,
    latent: torch.Tensor,
    *,
    sigmas: torch.Tensor,
    label: str = UNI_INV,
    refinement: int = 0,
    callback=None,
    disable_pbar: bool = False,
    unfinished: UnfinishedInversion | None = None,
    tell: Callable[[str], None] | None = None,
    low_noise_model=None,
    boundary: float = 0.0,
) -> SourceRun:
    """Inverts a clip with a video model; arguments and result as of `inversion.invert`, but for

    Args:
        latent: [1, c, F, h, w].
        label: As of FlowStep.
        low_noise_model: Makes the steps below the boundary, the first ones here; None where there is one model.
        boundary: A sigma. A step belongs to the model that makes it on the way down.
    """
    model, family = without_guidance(model), require_family(model)
    low_noise_model = None if low_noise_model is None else without_guidance(low_noise_model)
    tokens = conditioning[0][1].get(TOKENS)
    steps, clean = len(sigmas) - 1, frames_first(model.model.process_latent_in(latent.float().cpu()))
    recording = Recording(clean, steps, None, unfinished)
    if tell is not None:
        tell(WHOLE_CLIP)

    def after_step(step, denoised, x, total):
        if callback is not None:
            callback(step, denoised, x, total)
        recording.add(frames_first(x))

    stages = steps_of_models(sigmas.flip(0), 0.0, None if low_noise_model is None else boundary)
    for climbing, its_steps in reversed(list(zip((model, low_noise_model), stages))):
        end = steps - its_steps.start
        if len(recording.finished) < end:
            reader = recording.capture = _reader(climbing, latent.shape, None if tokens is None else tokens.end + 1)
            smallest = float(climbing.get_model_object("model_sampling").sigma_min)
            sampler = AscendingSampler(FlowStep(label, refinement, smallest), reader, recording.finished, end)
            guider = ReadingGuider(climbing, reader)
            guider.inner_set_conds({"positive": conditioning})
            run = {"callback": after_step, "disable_pbar": disable_pbar, "seed": 0}
            guider.sample(torch.zeros_like(latent), latent, sampler, sigmas, **run)
    return SourceRun(
        sigmas=sigmas,
        trajectory=recording.trajectory,
        word_maps=torch.stack(recording.word_maps),
        label=label,
        refinement=refinement,
        conditioning=conditioning,
        tokens=tokens,
        inflation=None,
        fingerprint=fingerprint(model),
        version=VIDEO_VERSION if low_noise_model is None else PAIR_VERSION,
        made_with=nodes_on(model),
        cell=Cell(model.model.latent_format.spacial_downscale_ratio, family.frames_per_latent),
        low_noise=None if low_noise_model is None else LowNoiseModel(fingerprint(low_noise_model), boundary),
    )


def _reader(model, shape: torch.Size, tokens: int | None) -> WordMapReader:
    """Reads where a clip's latent [1, c, F, h, w] looks at so many tokens of its prompt, in all of a model's blocks."""
    blocks = blocks_in(ALL, len(blocks_of(model.model.diffusion_model, require_family(model))))
    return WordMapReader(token_grid(model, shape), head_count(model), blocks, tokens)
