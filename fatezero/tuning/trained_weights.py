"""The weights that tuning moves: parameters of our own, which layers take in the place of what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import comfy.utils
import torch

from ..network.unet.temporal_parts import temporal_parts_of
from .fit import base_weights
from .layouts import TRAINED_QUERIES, temporal_names, unet_names
from .settings import ALL, QUERIES, TEMPORAL
from .tuned_state import PREFIX, TunedState


class TrainedWeights:
    """Parameters in float32, {name in a file: parameter}, that move while the model's own weights stay as they are.

    As the official codes: the queries of self- and cross-attention, and all of the temporal parts but their norms.
    """

    def __init__(self, model, state: TunedState, device: torch.device, trained: str = ALL):
        """model: `tuned_model` of the state; device: where the parameters lie; trained: ALL, QUERIES or TEMPORAL."""
        network, self.model = model.model.diffusion_model, model
        self.unet = unet_names(network, model.model.model_config.unet_config)
        self.temporal = temporal_names(self.unet, state.layout)
        base = base_weights(model)
        start = {name: base[ours] for name, ours in self.unet.items() if name.endswith(TRAINED_QUERIES)}
        start.update(
            (name, tensor)
            for name, tensor in state.tensors.items()
            if name in start or (name in self.temporal and f".{state.layout.norm}." not in name)
        )
        moved = {ALL: start.keys(), QUERIES: start.keys() & self.unet.keys(), TEMPORAL: start.keys() - self.unet.keys()}
        self.parameters = {
            name: torch.nn.Parameter(start[name].detach().to(device, torch.float32, copy=True))
            for name in sorted(moved[trained])
        }
        self.starts = {name: self.parameters[name].detach().clone() for name in self.names_under_loras(state)}

    def names_under_loras(self, state: TunedState) -> list[str]:
        """The parameters of weights that carry other patches than what the state sets, such as those of Load LoRA."""
        own = state.tensors.keys() & self.unet.keys()
        counts = {name: len(self.model.patches.get(PREFIX + ours, [])) for name, ours in self.unet.items()}
        return [name for name in self.parameters if counts.get(name, 0) > (name in own)]

    def module_and_attribute(self, name: str) -> tuple[torch.nn.Module, str]:
        """The layer of the UNet or of the temporal parts that a parameter stands in for, and "weight" or "bias"."""
        inside = self.model.model.diffusion_model if name in self.unet else temporal_parts_of(self.model)
        host, _, attribute = (self.unet.get(name) or self.temporal[name]).rpartition(".")
        return comfy.utils.get_attr(inside, host), attribute

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it, layers compute with the parameters; LoRAs on the model's queries still add to them."""
        with ExitStack() as undo:
            for name, parameter in self.parameters.items():
                module, attribute = self.module_and_attribute(name)
                start = self.starts.get(name)
                function = _replaced(parameter) if start is None else _moved(parameter, start)
                _append_until(undo, module, f"{attribute}_function", function)
            yield

    def snapshot(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters on the CPU."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.parameters.items()}


def _replaced(parameter: torch.Tensor):
    return lambda weight: parameter.to(weight.dtype)


def _moved(parameter: torch.Tensor, start: torch.Tensor):
    """For a weight that another patch has changed: it moves from there as the parameter moves from its start."""
    return lambda weight: weight + (parameter - start).to(weight.dtype)


def _append_until(undo: ExitStack, module: torch.nn.Module, name: str, function) -> None:
    """Adds to one of ComfyUI's lists of functions of a layer's weight, until the stack is unwound."""
    own = vars(module)
    undo.callback(own.__setitem__, name, own[name]) if name in own else undo.callback(own.pop, name)
    own[name] = [*getattr(module, name), function]
