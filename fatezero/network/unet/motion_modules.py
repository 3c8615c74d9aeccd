"""The temporal attention of motion modules, which AnimateDiff-Evolved puts among a UNet's blocks while it samples.

Each of its attention layers calls the function that stands in its attribute `actual_attention`. For one call of the
UNet ours stands there, around the function that was there before; after the call that one is back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import torch
from torch import nn

from ..attention_layers import TEMPORAL, Layer
from ..option_keys import LAYERS_OWN
from .walk import Place, unet_blocks


def motion_models(model) -> list:
    """The ModelPatchers of a ModelPatcher's motion modules, whose temporal attention can be reached."""
    if not model.injections:
        return []
    others = [other for held in model.additional_models.values() for other in held]
    return [other for other in others if any(map(_is_temporal, other.model.modules()))]


@contextmanager
def hooked_motion_modules(network, transformer_options: dict, attend: Callable) -> Iterator[None]:
    """Within it, the attention layers of the motion modules in a UNet are asked of attend().

    Args:
        network: ComfyUI's UNetModel, with the modules in it.
        transformer_options: Of the call; ComfyUI notes in them how far it has come.
        attend: As of `install_hooks`; query, key and value are [rows·tokens, n, width]. A layer is named by its block
            and by how many have been asked before it there: a module that looks at parts of the clip (AnimateDiff's
            view options) asks once for each.
    """
    with ExitStack() as undo:
        for place, block in unet_blocks(network):
            asked = count()
            for module in block:
                for layer in _temporal_layers(module):
                    ours = _hooked(layer.actual_attention, place, asked, transformer_options, attend)
                    undo.callback(_put_back, layer, layer.actual_attention, ours)
                    layer.actual_attention = ours
        yield


def _temporal_layers(module: nn.Module) -> Iterator[Any]:  # of a class that we cannot import
    transformer = getattr(module, "temporal_transformer", None)
    if isinstance(transformer, nn.Module):
        yield from filter(_is_temporal, transformer.modules())


def _is_temporal(module: nn.Module) -> bool:
    """Whether it is one of AnimateDiff's layers in which each place attends to itself in all frames."""
    return (
        getattr(module, "attention_mode", None) == "Temporal"
        and callable(getattr(module, "actual_attention", None))
        and not getattr(module, "is_cross_attention", False)
    )


def _hooked(own: Callable, place: Place, asked: Iterator[int], transformer_options: dict, attend: Callable) -> Callable:
    def attention(query, key, value, heads, mask=None):
        extra = {
            **transformer_options,
            "n_heads": heads,
            "activations_shape": _shape(query, transformer_options),
            LAYERS_OWN: lambda query, key, value: own(query, key, value, heads, mask),
        }
        return attend(Layer(TEMPORAL, (f"motion {place[0]}", place[1]), next(asked)), query, key, value, extra, None)

    return attention


def _shape(query: torch.Tensor, transformer_options: dict) -> list[int]:
    """[rows·n, width, height, width in cells] of a layer; ComfyUI notes it for its own transformers alone."""
    batch, _, height, width = transformer_options["original_shape"]
    places = len(query) // len(transformer_options["cond_or_uncond"])
    finer = (height * width / places) ** 0.5
    return [batch, query.shape[-1], round(height / finer), round(width / finer)]


def _put_back(layer: Any, own: Callable, ours: Callable) -> None:
    """Unless the layer has taken another function meanwhile, as it does where its first one fails."""
    if layer.actual_attention is ours:
        layer.actual_attention = own
