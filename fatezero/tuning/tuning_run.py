"""Tuning on one clip (Tune-A-Video 3.3, FateZero 3.3, Video-P2P 3.1): the UNet learns to draw it under its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import comfy.model_management
import comfy.patcher_extension
import torch
from comfy.patcher_extension import WrappersMP

from ..network.option_keys import INFLATION, TEMPORAL_PARTS
from ..network.unet.check import prediction_type
from ..network.unet.gradients import gradients, make_differentiable
from ..network.unet.inflation import joint_group_norms
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
            embedding: The clip's prompt [1 or n, T, C].
            latent: The clip [n, c, h, w], as a VAE gives it.
            settings: Of the optimizer.
            checkpoint: Whether blocks compute twice to save memory.
        """
        self.model, self.settings, self.checkpoint = model, settings, checkpoint
        self.device, self.dtype = model.load_device, model.model.get_dtype_inference()
        self.prediction = prediction_type(model)
        self.scale = FIRST_SCALE if self.dtype == torch.float16 else 1.0
        with torch.inference_mode(False):
            self.clip = model.model.process_latent_in(latent.clone()).to(self.device, torch.float32)
            self.embedding = embedding.clone().to(self.device, self.dtype).expand(len(latent), -1, -1).contiguous()
            self.alphas = self.alphas_of(model.get_model_object("model_sampling").sigmas.clone()).to(self.device)
            self.weights = TrainedWeights(model, state, self.device)
            self.optimizer = torch.optim.AdamW(
                self.weights.parameters.values(), settings.learning_rate, weight_decay=settings.weight_decay
            )

    @staticmethod
    def alphas_of(sigmas: torch.Tensor) -> torch.Tensor:
        """The share of the clip's variance in a noised latent (alpha-bar) at each timestep."""
        return 1 / (1 + sigmas.float() ** 2)

    def step(self, timestep: int, noise: torch.Tensor) -> float:
        """One step of the optimizer on the clip; the loss before it.

        Args:
            timestep: 0 to the model's last.
            noise: [n, c, h, w], of the clip.
        """
        with self.recording():
            while True:
                self.optimizer.zero_grad()
                loss = self.loss(timestep, noise)
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
        predicted, target = self.predict(timestep, noise.clone().to(self.device))
        return (predicted - target).square().mean()

    def predict(self, timestep: int, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model predicts for the clip under noise, and what it should; [n, c, h, w] each."""
        alpha = self.alphas[timestep]
        noised = alpha.sqrt() * self.clip + (1 - alpha).sqrt() * noise
        network, options = self.model.model.diffusion_model, self.options()
        predicted = network(
            noised.to(self.dtype),
            torch.full((len(noised),), float(timestep), device=self.device),
            context=self.embedding,
            transformer_options=options,
        ).float()
        if self.prediction == "v":
            return predicted, alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clip
        return predicted, noise

    def drawn(self, timestep: int, noise: torch.Tensor) -> tuple[torch.Tensor, float]:
        """The clip as the model sees it through some noise, [n, c, h, w] in its own scale, and the loss."""
        with self.recording(), torch.no_grad():
            predicted, target = self.predict(timestep, noise.clone().to(self.device))
            missed = predicted - target
            alpha = self.alphas[timestep]
            scale = (1 - alpha).sqrt() if self.prediction == "v" else ((1 - alpha) / alpha).sqrt()
            # What the prediction misses the noise (or v) by, the drawn clip misses the clip by, scaled.
            return self.clip - scale * missed, float(missed.square().mean())

    def options(self) -> dict:
        """ComfyUI's options for one call, which holds one row: other nodes' patches, and attention with a gradient."""
        options = {**self.model.model_options["transformer_options"], "cond_or_uncond": [0], "uuids": [0]}
        wrappers = {kind: dict(held) for kind, held in self.model.wrappers.items()}
        for key in (INFLATION, TEMPORAL_PARTS):  # set by `recording`, until the way back is done
            wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).pop(key, None)
        comfy.patcher_extension.merge_nested_dicts(wrappers, options.get("wrappers", {}), copy_dict1=False)
        options["wrappers"] = wrappers
        make_differentiable(options)
        return options

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, the model computes with the trained weights and its operations are recorded."""
        network, parts = self.model.model.diffusion_model, temporal_parts_of(self.model)
        assert parts is not None
        one_row = {"cond_or_uncond": [0], "uuids": [0]}
        with ExitStack() as stack:
            stack.enter_context(self.weights.in_place())
            stack.enter_context(gradients(network, parts))
            stack.enter_context(joint_group_norms(network, one_row))
            stack.enter_context(active_temporal_parts(network, parts, one_row))
            if self.checkpoint:
                stack.enter_context(checkpointed(network))
            yield
