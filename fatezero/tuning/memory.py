"""What a tuning takes in memory, known from shapes before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import comfy.model_management
import torch

from ..readable import readable
from ..refusal import Refusal, bytes_in_words, counted
from .layouts import TRAINED_QUERIES, temporal_names, unet_names
from .settings import AUTO, Tuning

# Values that a step holds at its peak beside the weights, per cell of the clip's latent and per channel of the UNet's
# finest level: counted for SD 1.5 with FateZero's parts and key frames, attention that keeps no probabilities.
VALUES_PER_CELL = {True: 68, False: 428}
# Of each trained value: itself, its gradient and AdamW's two averages, all in float32 or the averages in 8 bits.
STATE_BYTES = {False: 16, True: 10}
ON, OFF = "on", "off"


@readable
@dataclass(frozen=True)
class TuningMemory:
    """Bytes for the trained weights and for a step's activations, and whether blocks compute twice to save them."""

    state: int
    activations: int
    checkpoint: bool

    @property
    def total(self) -> int:
        return self.state + self.activations

    def __str__(self) -> str:
        blocks = "blocks computed twice" if self.checkpoint else "no block computed twice"
        return (
            f"about {bytes_in_words(self.total)} beside the model: {bytes_in_words(self.state)} for the trained "
            f"weights, {bytes_in_words(self.activations)} for a step ({blocks})"
        )


def trained_values(model, settings: Tuning) -> int:
    """How many values are trained: queries, temporal attention and, by rank, temporal convolutions."""
    network = model.model.diffusion_model
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    unet = unet_names(network, model.model.model_config.unet_config)
    count = sum(shapes[ours].numel() for name, ours in unet.items() if name.endswith(TRAINED_QUERIES))
    for ours in temporal_names(unet, settings.layout).values():
        host, _, part = ours.rpartition(".temporal_")
        if part == "attention.to_out.weight":
            width = shapes[f"{host}.norm1.weight"][0]
            count += 4 * width * width + width
        elif part == "convolution.down.weight" and settings.rank:
            channels = shapes[f"{host}.weight"][0]
            count += 6 * channels * settings.effective_rank(channels)
    return count


def step_bytes(shape: Sequence[int], channels: int, dtype: torch.dtype, checkpoint: bool) -> int:
    """What a step holds at its peak beside the weights.

    Args:
        shape: Of the clip's latent, [n, c, h, w].
        channels: Of the UNet's finest level.
        dtype: What it computes in.
        checkpoint: Whether blocks compute twice.
    """
    frames, _, height, width = shape
    return VALUES_PER_CELL[checkpoint] * frames * height * width * channels * dtype.itemsize


def plan_memory(model, latent: torch.Tensor, settings: Tuning, checkpointing: str) -> TuningMemory:
    """What a tuning will take, with blocks computed twice where that was chosen or, when automatic, where it must be.

    Args:
        model: ModelPatcher of SD 1.x or 2.x.
        latent: The clip [n, c, h, w].
        settings: Of the tuning.
        checkpointing: AUTO, ON or OFF.
    Raises: Refusal where even that does not fit the device's memory, less what ComfyUI keeps free.
    """
    state = STATE_BYTES[settings.eight_bit] * trained_values(model, settings)
    frames, _, height, width = latent.shape
    channels, dtype = model.model.model_config.unet_config["model_channels"], settings.dtype(model)
    activations = {twice: step_bytes(latent.shape, channels, dtype, twice) for twice in (True, False)}
    device = model.load_device
    free = comfy.model_management.get_total_memory(device) - comfy.model_management.minimum_inference_memory()
    if checkpointing == AUTO:
        checkpoint = state + activations[False] + model.model_size() > free
    else:
        checkpoint = checkpointing == ON
    memory = TuningMemory(state, activations[checkpoint], checkpoint)
    if memory.total > free:
        other = "" if checkpoint else ", or set 'checkpointing' to on"
        raise Refusal(
            f"{counted(frames, 'frame')} of {width * 8}x{height * 8} would take {memory}, but the device has "
            f"{bytes_in_words(free)}; use fewer frames or smaller pictures{other}."
        )
    return memory
