"""The temporal parts before any tuning: they change nothing yet, whatever the checkpoint."""

from __future__ import annotations

import torch

from .layouts import temporal_names, unet_names
from .settings import Tuning
from .tuned_state import TunedState, checkpoint_fingerprint


def first_state(model, settings: Tuning) -> TunedState:
    """A state with the temporal parts as tuning begins with them, and no changed weights.

    As the official codes: queries, keys and values as PyTorch begins a linear layer, `down` normal with a deviation of
    1 / rank, norms neutral, and outputs zero. Differs in the output's bias, which they leave random (bug B4).

    Args:
        model: ModelPatcher of SD 1.x or 2.x.
        settings: For the layout, the rank and the seed.
    """
    unet = unet_names(model.model.diffusion_model, model.model.model_config.unet_config)
    shapes = {ours: weight.shape for ours, weight in model.model.diffusion_model.state_dict().items()}
    generator = torch.Generator().manual_seed(settings.seed)
    tensors = {}
    for name, ours in temporal_names(unet, settings.layout).items():
        host, _, part = ours.rpartition(".temporal_")
        kind, _, attribute = part.partition(".")
        if kind == "attention":
            tensors[name] = _attention_weight(attribute, shapes[f"{host}.norm1.weight"][0], generator)
        elif settings.rank and attribute in ("down.weight", "up.weight"):
            channels = shapes[f"{host}.weight"][0]
            tensors[name] = _convolution_weight(attribute, channels, settings.effective_rank(channels), generator)
    return TunedState(settings.layout, tensors, settings.key_frames, checkpoint_fingerprint(model))


def _attention_weight(attribute: str, width: int, generator: torch.Generator) -> torch.Tensor:
    if attribute.startswith("norm."):
        return torch.full((width,), float(attribute == "norm.weight"))
    if attribute == "to_out.bias":
        return torch.zeros(width)
    if attribute == "to_out.weight":
        return torch.zeros(width, width)
    return (torch.rand(width, width, generator=generator) * 2 - 1) * width**-0.5


def _convolution_weight(attribute: str, channels: int, rank: int, generator: torch.Generator) -> torch.Tensor:
    if attribute == "up.weight":
        return torch.zeros(channels, rank, 3)
    return torch.randn(rank, channels, 3, generator=generator) / rank
