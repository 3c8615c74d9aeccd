"""What stands beside the pack in a graph: by default what everybody has."""

from collections.abc import Callable
from dataclasses import dataclass

import comfy.samplers
import torch

from edit_cases import conditioning, negative


def unchanged(value):
    """What it is given."""
    return value


def cfg_guider(model, positive, negative):
    """ComfyUI's CFGGuider at cfg 4."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(4.0)
    return guider


def euler(model):
    """ComfyUI's euler."""
    return comfy.samplers.sampler_object("euler")


def prompt(tokens):
    """A prompt's CONDITIONING, with all that CLIP Text Encode gives out."""
    return conditioning(tokens, pooled_output=torch.zeros(1, 768))


def other_prompt():
    """Another prompt's."""
    return [[embedding, {**options, "pooled_output": torch.zeros(1, 768)}] for embedding, options in negative()]


@dataclass(frozen=True)
class Graph:
    """The nodes of others in a graph.

    patch: MODEL to MODEL; source, positive, negative: CONDITIONING to CONDITIONING; guider: of a model and its two
    conditionings; sampler: of the model.
    """

    patch: Callable = unchanged
    source: Callable = unchanged
    positive: Callable = unchanged
    negative: Callable = unchanged
    guider: Callable = cfg_guider
    sampler: Callable = euler

    @property
    def touches_inversion(self) -> bool:
        return self.patch is not unchanged or self.source is not unchanged


AS_USUAL = Graph()
