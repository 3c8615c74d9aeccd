"""Null-text optimization (Video-P2P 3.2): embeddings for "no prompt" with which guidance draws the source again.

With guidance, denoising leaves the inverted trajectory. One unconditional embedding per step, shared by all frames, is
optimised so that each step arrives where inversion came from.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP

from ..network.option_keys import NULL_TEXT, TOKENS
from ..network.unet.chunked_sampling import ChunkedRun
from ..network.unet.gradients import (
    GRADIENT_BYTES,
    DenoiseChunk,
    GradientChunks,
    embedding_gradient,
    evaluate_chunks,
    gradients,
    make_differentiable,
    networks_of,
)
from ..network.unet.temporal_parts import temporal_parts_of
from ..refusal import Refusal
from ..source.attention_cache import AttentionCache
from ..source.reconstruction import clean_samples, denoise
from ..source.schedule import rescaled
from ..source.source_run import NullText, SourceRun

# Lifts the gradient within the UNet out of the numbers that fp16 cannot hold; taken back from the embedding's.
GRADIENT_SCALE = 64.0


@dataclass(frozen=True)
class Optimization:
    """How the embeddings are optimised; the defaults are the published ones.

    guidance: above 1; inner_steps: of Adam, at most, for each step; learning_rate: at the first step, falling linearly
    to half of it; early_stop: the loss of the first step below which it is left as it is, rising linearly to 101 times
    that; per_frame: an embedding for each frame instead of one for all, as there always is where the prompt to start
    from has one for each.
    """

    guidance: float = 7.5
    inner_steps: int = 10
    learning_rate: float = 1e-2
    early_stop: float = 1e-5
    per_frame: bool = False

    def learning_rate_at(self, fraction: float) -> float:
        """At a fraction of the steps, 0 the noisiest; for 50 steps 1e-2 · (1 - i / 100)."""
        return self.learning_rate * (1 - fraction / 2)

    def early_stop_at(self, fraction: float) -> float:
        """At a fraction of the steps, 0 the noisiest; for 50 steps 1e-5 + 2e-5 · i."""
        return self.early_stop * (1 + 100 * fraction)


def optimize_null_text(
    model,
    source: SourceRun,
    negative,
    settings: Optimization,
    *,
    callback=None,
    on_loss=None,
    disable_pbar: bool = True,
):
    """The source run with null text, and what the optimisation came to.

    model: that of the inversion; negative: CONDITIONING to start from, the empty prompt's as published or the source's,
    from which the way is much shorter; callback: ComfyUI's (step, denoised, x, total);
    on_loss(step, inner step, loss): told each loss. Returns (SourceRun, latent [n, c, h, w] that the optimised
    embeddings draw, as a VAE takes it, and for each step its losses, the last of which is that of its embedding).
    """
    model = model.clone()
    optimizer = NullTextSampler(model, source, settings, on_loss)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, NULL_TEXT, optimizer.outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, NULL_TEXT, _loading(torch.is_inference_mode_enabled()))
    with torch.inference_mode(False), torch.no_grad():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(source.conditioning, negative)
        samples = denoise(guider, source, optimizer, callback, disable_pbar)
    embeddings = torch.stack(optimizer.embeddings[::-1])
    run = with_null_text(source, embeddings, settings.guidance, negative[0][1])
    return run, clean_samples(model, source, samples), optimizer.losses


def _loading(in_inference_mode: bool):
    """A PREPARE_SAMPLING wrapper that loads models in the mode in which they were made. Weights that inference mode has
    made are of no use to anybody once they have been moved outside of it."""

    def prepare_sampling(executor, *arguments, **options):
        with torch.inference_mode(in_inference_mode):
            return executor(*arguments, **options)

    return prepare_sampling


def negative_prompt_inversion(source: SourceRun, guidance: float) -> SourceRun:
    """The source run with its own prompt's embedding as the unconditional one, at every step: guidance then changes
    nothing, and the source comes back as well as without it. A prompt for each frame stays one."""
    ((embedding, options),) = source.conditioning
    embeddings = prompt_of_frames(embedding, source.frames).float().cpu().repeat(source.steps, 1, 1, 1)
    return with_null_text(source, embeddings, guidance, options)


def prompt_of_frames(embedding: torch.Tensor, frames: int) -> torch.Tensor:
    """A prompt [1 or k, T, C] of a clip: one as it is, several as one for each frame, as ComfyUI deals them out."""
    return embedding if len(embedding) == 1 else comfy.utils.repeat_to_batch_size(embedding, frames)


def with_null_text(source: SourceRun, embeddings: torch.Tensor, guidance: float, options: dict) -> SourceRun:
    """The same run with unconditional embeddings as in NullText, and a cache of its own."""
    options = {name: value for name, value in options.items() if name != TOKENS}
    return replace(source, null_text=NullText(embeddings, guidance, options), cache=AttentionCache())


def null_text_conditioning(source: SourceRun) -> list:
    """The null text as a CONDITIONING for any sampler: each embedding where the noise is nearest to its step's."""
    assert source.null_text is not None
    null_text, levels = source.null_text, source.sigmas[1:].tolist()
    borders = [math.sqrt(lower * upper) for lower, upper in zip(levels, levels[1:])]
    conditioning = []
    for step, embedding in enumerate(null_text.embeddings):
        options = dict(null_text.options)
        if step > 0:
            options["timestep_end"] = borders[step - 1]
        if step < len(borders):
            options["timestep_start"] = borders[step]
        conditioning.append([embedding, options])
    return conditioning[::-1]


class NullTextSampler(comfy.samplers.Sampler):
    """A sampler that draws the source again with guidance and optimises the embedding of each step on its way."""

    def __init__(self, model, source: SourceRun, settings: Optimization, on_loss=None):
        self.source, self.settings = source, settings
        self.on_loss = on_loss or (lambda *_: None)
        self.embeddings: list[torch.Tensor] = []
        self.losses: list[list[float]] = []  # of each step, one for each trial
        self.chunks = GradientChunks(model)
        self.temporal_parts = [parts for parts in (temporal_parts_of(model),) if parts is not None]

    def outer_sample(self, executor, *arguments, **options):
        """OUTER_SAMPLE wrapper: chunks for the evaluations without gradient, and attention that has one."""
        guider = executor.class_obj
        patcher = guider.model_patcher
        # Room for a frame's graph, beyond the two rows that ComfyUI reserves for it.
        graph = (GRADIENT_BYTES - 1) * patcher.model.memory_required([1, *arguments[0].shape[1:]])
        ChunkedRun(patcher, extra_bytes=graph).install(guider)
        make_differentiable(guider.model_options["transformer_options"])
        guider.model_options.pop("multigpu_clones", None)
        return executor(*arguments, **options)

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        """The reconstruction at the cleanest sigma, [n, c, h, w]; each step from what the steps before it drew."""
        model, model_options = model_wrap.inner_model, extra_args["model_options"]
        positive, (negative,) = model_wrap.conds["positive"], model_wrap.conds["negative"]
        device, steps = sigmas.device, len(sigmas) - 1
        x = self.source.trajectory[-1].clone().to(device)
        embedding = prompt_of_frames(negative["model_conds"]["c_crossattn"].cond, len(x)).float().clone().to(device)
        if self.settings.per_frame and len(embedding) == 1:
            embedding = embedding.repeat(len(x), 1, 1)
        for step in range(steps):
            sigma, next_sigma = sigmas[step], sigmas[step + 1]
            (conditional,) = comfy.samplers.calc_cond_batch(model, [positive], x, sigma.expand(len(x)), model_options)
            target = self.source.trajectory[steps - 1 - step].clone().to(device)
            fit = StepFit(x, target, conditional, float(sigma), float(next_sigma), self.settings.guidance)
            denoise = DenoiseChunk(model, negative, x, sigma, model_options)
            with gradients(*networks_of(model, negative), *self.temporal_parts):
                embedding, denoised = self.optimize_step(step / steps, fit, denoise, embedding)
            self.embeddings.append(embedding.cpu())
            x = fit.arrive(denoised)
            if callback is not None:
                callback(step, fit.guided(denoised), x, steps)
        return x

    def optimize_step(self, fraction: float, fit: "StepFit", denoise: DenoiseChunk, embedding: torch.Tensor):
        """The embedding of one step, from that of the one before, and the unconditional latent under it."""
        good_enough = self.settings.early_stop_at(fraction)
        learning_rate = self.settings.learning_rate_at(fraction)
        adam = Adam(embedding)
        self.losses.append([])
        for _ in range(self.settings.inner_steps):
            trial = self.within_memory(fit, denoise, embedding, good_enough)
            if trial.gradient is None:
                return embedding, trial.denoised
            embedding = adam.step(embedding, trial.gradient, learning_rate)
        return embedding, self.within_memory(fit, denoise, embedding, None).denoised

    def within_memory(self, fit: "StepFit", denoise: DenoiseChunk, embedding, good_enough: float | None) -> "Trial":
        """A trial with as many frames at once as memory allows, whose loss is told."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        trial = self.chunks.within_memory(fit.x, partial(self.try_embedding, fit, denoise, embedding, good_enough))
        self.losses[-1].append(trial.loss)
        self.on_loss(len(self.losses) - 1, len(self.losses[-1]) - 1, trial.loss)
        if trial.gradient is not None and not bool(torch.isfinite(trial.gradient).all()):
            raise Refusal(
                f"the gradient at step {len(self.losses)} is not finite, which half precision can "
                "cause; start ComfyUI with --force-fp32 or --bf16-unet, or lower 'guidance'."
            )
        return trial

    def try_embedding(self, fit: "StepFit", denoise: DenoiseChunk, embedding, good_enough: float | None) -> "Trial":
        """One trial; the gradient is spared below a loss, or with None at any."""
        tape = evaluate_chunks(denoise, self.chunks.of_clip(len(fit.x)), embedding, good_enough is not None)
        loss = fit.loss(tape.denoised)
        if good_enough is None or loss < good_enough:
            return Trial(tape.denoised, loss)
        found = embedding_gradient(tape, fit.gradient(tape.denoised, GRADIENT_SCALE))
        return Trial(tape.denoised, loss, found / (GRADIENT_SCALE * fit.numel))


@dataclass(frozen=True)
class Trial:
    """An embedding tried at one step: the denoised latent [n, c, h, w] under it, its loss, and the loss's gradient with
    respect to it, None where it stays as it is."""

    denoised: torch.Tensor
    loss: float
    gradient: torch.Tensor | None = None


@dataclass(frozen=True)
class StepFit:
    """One denoising step towards the inverted latent; losses are of latents z = x / sqrt(1 + sigma²), as published.

    x, target: the latent at sigma and the one to arrive at, at next_sigma; conditional: the denoised latent of the
    source prompt; all [n, c, h, w].
    """

    x: torch.Tensor
    target: torch.Tensor
    conditional: torch.Tensor
    sigma: float
    next_sigma: float
    guidance: float

    @property
    def numel(self) -> int:
        return self.x.numel()

    @property
    def pace(self) -> float:
        return (self.next_sigma - self.sigma) / self.sigma

    def guided(self, unconditional: torch.Tensor) -> torch.Tensor:
        return unconditional + self.guidance * (self.conditional - unconditional)

    def arrive(self, unconditional: torch.Tensor) -> torch.Tensor:
        """Where the DDIM step with guidance leads."""
        return self.x + self.pace * (self.x - self.guided(unconditional))

    def residual(self, unconditional: torch.Tensor) -> torch.Tensor:
        return rescaled(self.arrive(unconditional) - self.target, self.next_sigma, 0.0)

    def loss(self, unconditional: torch.Tensor) -> float:
        return float(self.residual(unconditional).square().mean())

    def gradient(self, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
        """The gradient of the loss, times scale and the number of elements."""
        slope = 2 * self.pace * (self.guidance - 1)  # of the squared residual, but for its scale
        return scale * slope * rescaled(self.residual(unconditional), self.next_sigma, 0.0)


class Adam:
    """Adam with PyTorch's defaults, for one tensor (PyTorch's own takes seconds to import)."""

    def __init__(self, like: torch.Tensor):
        self.mean, self.square, self.steps = torch.zeros_like(like), torch.zeros_like(like), 0

    def step(self, values: torch.Tensor, gradient: torch.Tensor, learning_rate: float) -> torch.Tensor:
        self.steps += 1
        self.mean = torch.lerp(self.mean, gradient, 0.1)
        self.square = torch.lerp(self.square, gradient**2, 0.001)
        deviation = (self.square / (1 - 0.999**self.steps)).sqrt() + 1e-8
        return values - learning_rate / (1 - 0.9**self.steps) * self.mean / deviation
