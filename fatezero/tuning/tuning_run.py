"""Tuning on one clip (Tune-A-Video 3.3, FateZero 3.3, Video-P2P 3.1): the UNet learns to draw it under its prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP

from ..network.option_keys import INFLATION, TEMPORAL_PARTS
from ..network.unet.check import prediction_type
from ..network.unet.gradients import explained, gradients, make_differentiable
from ..network.unet.inflation import KeyFramePatch, joint_group_norms
from ..network.unet.temporal_parts import active_temporal_parts, temporal_parts_of
from ..refusal import Refusal
from .checkpointing import checkpointed
from .settings import Tuning
from .trained_weights import TrainedWeights
from .tuned_state import TunedState

FIRST_SCALE = 2.0**12  # of the loss in half precision, whose smallest number is 6e-8
SMALLEST_SCALE = 2.0**-4


class TuningRun:
    """A loaded model, its trained weights and their optimizer.

    Nodes run in PyTorch's inference mode, so the run brings its own recording; the model's weights are only read.
    """

    def __init__(self, model, state: TunedState, embedding, latent, settings: Tuning, checkpoint: bool = True):
        """The model must be loaded.

        Args:
            model: `tuned_model` of the state.
            state: Where the tuning starts.
            embedding: The clip's prompt [k, T, C].
            latent: The clip [n, c, h, w], as a VAE gives it.
            settings: Of the optimizer.
            checkpoint: Whether blocks compute twice to save memory.
        """
        self.model, self.settings, self.checkpoint = model, settings, checkpoint
        self.device, self.dtype = model.load_device, settings.dtype(model)
        self.prediction = prediction_type(model)
        self.scale = FIRST_SCALE if self.dtype == torch.float16 else 1.0
        with torch.inference_mode(False):
            self.clip = model.model.process_latent_in(latent.clone()).to(self.device, torch.float32)
            self.embedding = self.for_each(embedding, len(latent))
            sampling = model.get_model_object("model_sampling")
            self.sigmas = sampling.sigmas.clone().to(self.device)
            self.alphas = self.alphas_of(self.sigmas)
            # What the UNet is told of each level: its number, but where a node has thinned them out (LCM: every 20th).
            self.told = sampling.timestep(sampling.sigmas.clone()).float().to(self.device)
            self.weights = TrainedWeights(model, state, self.device, settings.trained)
            self.optimizer = adamw(self.weights.parameters.values(), settings)

    @staticmethod
    def alphas_of(sigmas: torch.Tensor) -> torch.Tensor:
        """The share of the clip's variance in a noised latent (alpha-bar) at each timestep."""
        return 1 / (1 + sigmas.float() ** 2)

    def for_each(self, embedding: torch.Tensor, count: int) -> torch.Tensor:
        """A prompt [k, T, C] for so many pictures, as the UNet takes it."""
        dealt = comfy.utils.repeat_to_batch_size(embedding.clone(), count)  # as ComfyUI deals them out
        return dealt.to(self.device, self.dtype).contiguous()

    def step(self, timestep: int, noise: torch.Tensor) -> float:
        """One step of the optimizer on the clip; the loss before it.

        Args:
            timestep: The noise level, 0 to the model's last.
            noise: [n, c, h, w], of the clip.
        """
        with self.recording():
            return self.optimize(lambda: self.loss(timestep, noise))

    def picture_step(self, pictures: torch.Tensor, embedding, timesteps: torch.Tensor, noise: torch.Tensor) -> float:
        """One step of the optimizer on pictures that are no clip: without temporal parts, key frames and joint norms.

        As FateZero's code, a whole step of its own. The temporal parts have no gradient from it, but once they had one
        their momentum moves them on.

        Args:
            pictures: [m, c, h, w], as a VAE gives them.
            embedding: Their prompt [1 or m, T, C].
            timesteps: The noise level of each, [m].
            noise: As pictures.
        """
        with self.recording(of_clip=False):
            pictures = self.model.model.process_latent_in(pictures.clone()).to(self.device, torch.float32)
            embedding = self.for_each(embedding, len(pictures))
            timesteps, noise = timesteps.clone().to(self.device), noise.clone().to(self.device)

            def loss() -> torch.Tensor:
                predicted, target = self.predict(pictures, embedding, timesteps, noise, of_clip=False)
                return (predicted - target).square().mean()

            return self.optimize(loss)

    def optimize(self, loss_of: Callable[[], torch.Tensor]) -> float:
        """One step of the optimizer down a loss, which is returned as it was before."""
        no_gradients = Refusal(
            "'model' cannot give gradients, because another node on it (IPAdapter, FreeU, a patch of its attention, a "
            "quantised loader ...) works on tensors that have none or changes them in place; connect the model without "
            "that node, and put it on the tuned model if you like."
        )
        while True:
            self.optimizer.zero_grad(set_to_none=False)
            with explained(no_gradients):
                loss = loss_of()
                (loss * self.scale).backward()
            if self.rescaled_gradients():
                break
        self.optimizer.step()
        return float(loss.detach())

    def rescaled_gradients(self) -> bool:
        """Takes the loss's scale back out and clips the norm; False where half precision overflowed: try again."""
        parameters = list(self.weights.parameters.values())
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= self.scale
        self.norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.largest_norm))
        if self.norm < float("inf"):  # false for NaN as well
            return True
        self.scale /= 2
        if self.scale < SMALLEST_SCALE or self.dtype != torch.float16:
            raise Refusal(
                "the loss is no longer a finite number; lower 'learning rate', or start ComfyUI with --force-fp32 or "
                "--bf16-unet."
            )
        return False

    def loss(self, timestep: int, noise: torch.Tensor) -> torch.Tensor:
        """The mean squared error of the model's prediction for the noised clip, as published."""
        predicted, target = self.predict_clip(timestep, noise)
        return (predicted - target).square().mean()

    def predict_clip(self, timestep: int, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model predicts for the clip under noise, and what it should; [n, c, h, w] each."""
        timesteps = torch.full((len(self.clip),), timestep, device=self.device)
        return self.predict(self.clip, self.embedding, timesteps, noise.clone().to(self.device))

    def predict(
        self, clean: torch.Tensor, embedding: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor, of_clip=True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model predicts for pictures [m, c, h, w] under noise at levels [m], and what it should."""
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        noised = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        predicted = self.model.model.diffusion_model(
            noised.to(self.dtype),
            self.told[timesteps],
            context=embedding,
            transformer_options=self.options(self.sigmas[timesteps], of_clip),
        ).float()
        if self.prediction == "v":
            return predicted, alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        return predicted, noise

    def drawn(self, timestep: int, noise: torch.Tensor) -> tuple[torch.Tensor, float]:
        """The clip as the model sees it through some noise, [n, c, h, w] in its own scale, and the loss."""
        with self.recording(), torch.no_grad():
            predicted, target = self.predict_clip(timestep, noise)
            missed = predicted - target
            alpha = self.alphas[timestep]
            scale = (1 - alpha).sqrt() if self.prediction == "v" else ((1 - alpha) / alpha).sqrt()
            # What the prediction misses the noise (or v) by, the drawn clip misses the clip by, scaled.
            return self.clip - scale * missed, float(missed.square().mean())

    def options(self, sigmas: torch.Tensor, of_clip: bool) -> dict:
        """ComfyUI's options for one call, which holds one row: other nodes' patches, which ask for the noise levels of
        the call [m] and for those of all calls, and attention with a gradient."""
        options = {**self.model.model_options["transformer_options"], "cond_or_uncond": [0], "uuids": [0]}
        options |= {"sigmas": sigmas, "sample_sigmas": self.sigmas.flip(0)}
        wrappers = {kind: dict(held) for kind, held in self.model.wrappers.items()}
        for key in (INFLATION, TEMPORAL_PARTS):  # set by `recording`, until the way back is done
            wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).pop(key, None)
        comfy.patcher_extension.merge_nested_dicts(wrappers, options.get("wrappers", {}), copy_dict1=False)
        options["wrappers"] = wrappers
        if not of_clip:
            patches = options["patches"] = dict(options["patches"])
            patches["attn1_patch"] = [one for one in patches["attn1_patch"] if not isinstance(one, KeyFramePatch)]
        make_differentiable(options)
        return options

    @contextmanager
    def recording(self, of_clip: bool = True) -> Iterator[None]:
        """Within it, the model computes with the trained weights and its operations are recorded.

        of_clip: whether pictures are frames of a clip, which pass the temporal parts and share their norms.
        """
        network, parts = self.model.model.diffusion_model, temporal_parts_of(self.model)
        assert parts is not None
        one_row = {"cond_or_uncond": [0], "uuids": [0]}
        with ExitStack() as stack:
            stack.enter_context(self.weights.in_place())
            stack.enter_context(gradients(network, parts))
            if of_clip:
                stack.enter_context(joint_group_norms(network, one_row))
                stack.enter_context(active_temporal_parts(network, parts, one_row))
            if self.checkpoint:
                stack.enter_context(checkpointed(network))
            yield


def adamw(parameters: Iterable[torch.nn.Parameter], settings: Tuning) -> torch.optim.Optimizer:
    """AdamW: PyTorch's, or the one of bitsandbytes, which keeps its averages in 8 bits."""
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if not settings.eight_bit:
        return torch.optim.AdamW(parameters, **options)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise Refusal(
            "'optimizer' is AdamW in 8 bits, for which the library bitsandbytes is missing; run 'pip install "
            "bitsandbytes' in ComfyUI's environment, or choose AdamW."
        ) from error
    return AdamW8bit(parameters, **options)
