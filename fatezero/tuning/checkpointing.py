"""Less memory for a gradient: the UNet's blocks forget what they computed and compute it again on the way back."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

from ..network.unet.temporal_parts import set_forward


@contextmanager
def checkpointed(network: torch.nn.Module):
    """Within it, ResNet blocks and spatial transformers keep their inputs alone for the gradient.

    Whatever changes the blocks' layers must stay in place until the gradient has been taken.
    """
    with ExitStack() as undo:
        for module in network.modules():
            if isinstance(module, (ResBlock, SpatialTransformer)):
                set_forward(undo, module, _checkpointed(module.forward))
        yield


def _checkpointed(forward):
    from torch.utils.checkpoint import checkpoint

    def again_on_the_way_back(*arguments):
        # The UNet writes each block's place into one dictionary: this block's must be as it was.
        arguments = tuple(dict(argument) if isinstance(argument, dict) else argument for argument in arguments)
        return checkpoint(forward, *arguments, use_reentrant=False, preserve_rng_state=False)

    return again_on_the_way_back
