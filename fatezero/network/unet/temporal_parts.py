"""The temporal parts of a tuned video model on ComfyUI's own UNet, set for one call of it and gone after it.

The parts are a network of their own, beside the UNet: ComfyUI loads, offloads and counts it like any model. Its tree
has the UNet's names, so that `input_blocks.1.0.in_layers.2.temporal_convolution` belongs behind
`input_blocks.1.0.in_layers.2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from torch import nn

from ..option_keys import TEMPORAL_PARTS
from .inflation import frames_per_row
from .temporal_attention import ELEMENTS_AT_ONCE, TemporalAttention
from .temporal_convolution import FullTemporalConvolution, LowRankTemporalConvolution

ATTENTION, CONVOLUTION = "temporal_attention", "temporal_convolution"
# The weight by whose shape each kind of part is known.
_MADE_BY = {
    ".norm.weight": lambda shape, **options: TemporalAttention(shape[0], **options),
    ".down.weight": lambda shape, **options: LowRankTemporalConvolution(shape[1], shape[0], **options),
    ".full.weight": lambda shape, **options: FullTemporalConvolution(shape[0], shape[2], **options),
}


def build_temporal_parts(weights: dict[str, torch.Tensor], dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The network of the parts that some weights are of; ranks and kinds follow from their shapes.

    Args:
        weights: By name, such as `middle_block.1.transformer_blocks.0.temporal_attention.to_q.weight`.
        dtype: What the UNet computes in; layers cast where their input is of another.
        device: Where the weights lie while they are not in use.
    """
    parts = nn.Module()
    for name, weight in weights.items():
        for ending, make in _MADE_BY.items():
            if name.endswith(ending):
                part = make(weight.shape, operations=comfy.ops.manual_cast, dtype=dtype, device=device)
                _put(parts, name.removesuffix(ending), part)
    parts.load_state_dict(weights)
    return parts.requires_grad_(False).eval()


def _put(tree: nn.Module, name: str, module: nn.Module) -> None:
    """Places a module under a dotted name, with empty modules on the way."""
    *way, last = name.split(".")
    for step in way:
        if not hasattr(tree, step):
            tree.add_module(step, nn.Module())
        tree = getattr(tree, step)
    tree.add_module(last, module)


def with_temporal_parts(model, weights: dict[str, torch.Tensor]):
    """A clone of the model whose UNet has temporal parts in every call; no weights take the model's own parts away.

    The peak of the UNet's activations rises by .1 MB for each frame of 512x512 in fp16, from 65 MB (counted on tensors
    without data): when the parts run, more has just been let go. So ComfyUI's own reckoning of a call holds for them.

    Args:
        model: ModelPatcher of a UNet.
        weights: As for `build_temporal_parts`, fitting the UNet.
    """
    tuned = model.clone()
    tuned.remove_wrappers_with_key(WrappersMP.DIFFUSION_MODEL, TEMPORAL_PARTS)
    tuned.additional_models.pop(TEMPORAL_PARTS, None)
    if not weights:
        return tuned
    parts = build_temporal_parts(weights, model.model.get_dtype_inference(), model.offload_device)
    patcher = comfy.model_patcher.CoreModelPatcher(
        parts, load_device=model.load_device, offload_device=model.offload_device
    )
    tuned.set_additional_models(TEMPORAL_PARTS, [patcher])

    def diffusion_model(executor, x, timesteps, context=None, y=None, control=None, transformer_options=None, **kwargs):
        with active_temporal_parts(executor.class_obj, parts, transformer_options):
            return executor(x, timesteps, context, y, control, transformer_options, **kwargs)

    tuned.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, TEMPORAL_PARTS, diffusion_model)
    return tuned


def temporal_parts_of(model) -> nn.Module | None:
    """The network of a ModelPatcher's temporal parts, or None."""
    patchers = model.get_additional_models_with_key(TEMPORAL_PARTS)
    return patchers[0].model if patchers else None


@contextmanager
def active_temporal_parts(network, parts: nn.Module, transformer_options: dict) -> Iterator[None]:
    """Within it, the UNet's transformer blocks and 3x3 convolutions are followed by their temporal parts.

    All frames of a clip must be there. So that long ones fit, temporal attention runs some places at a time, and the
    feed-forward, at which memory peaks, some frames: a frame of 512x512 in fp16 then takes 37 MB instead of 70 (counted
    on tensors without data, with two key frames), and nothing in the result changes.

    Args:
        network: ComfyUI's UNetModel.
        parts: From `build_temporal_parts`.
        transformer_options: Of the call, for the number of its rows.
    """
    with ExitStack() as undo:
        for name, part in parts.named_modules():
            if name.endswith((ATTENTION, CONVOLUTION)):
                host = comfy.utils.get_attr(network, name.rpartition(".")[0])
                followed = _block_followed_by if name.endswith(ATTENTION) else _convolution_followed_by
                set_forward(undo, host, followed(host, part, transformer_options))
                if name.endswith(ATTENTION):
                    set_forward(undo, host.ff, _few_frames_at_once(host.ff))
        yield


def _few_frames_at_once(feed_forward):
    """Every token for itself, so that a long clip may go through in parts; nothing in a block holds more at once."""
    forward = feed_forward.forward

    def in_parts(hidden: torch.Tensor) -> torch.Tensor:
        frames_at_once = max(1, ELEMENTS_AT_ONCE // (4 * hidden[0].numel()))
        if hidden.numel() <= ELEMENTS_AT_ONCE:
            return forward(hidden)
        return torch.cat([forward(part) for part in hidden.split(frames_at_once)])

    return in_parts


def _block_followed_by(block, attention: TemporalAttention, call_options: dict):
    forward, rows = block.forward, len(call_options["cond_or_uncond"])

    def block_then_attention(hidden, context=None, transformer_options=None, **kwargs):
        hidden = forward(hidden, context=context, transformer_options=transformer_options, **kwargs)
        frames_per_row(len(hidden), transformer_options)
        extra = {
            **transformer_options,
            "block_index": transformer_options.get("block_index", 0),
            "n_heads": block.n_heads,
            "dim_head": block.d_head,
            "attn_precision": block.attn_precision,
        }
        return attention(hidden, rows, extra)

    return block_then_attention


def _convolution_followed_by(convolution, temporal, call_options: dict):
    forward, rows = convolution.forward, len(call_options["cond_or_uncond"])

    def convolution_then_temporal(hidden, *args, **kwargs):
        return temporal(forward(hidden, *args, **kwargs), rows)

    return convolution_then_temporal


def set_forward(undo: ExitStack, module: nn.Module, forward) -> None:
    """Gives a module another `forward` until the stack is unwound."""
    own = vars(module)
    undo.callback(own.__setitem__, "forward", own["forward"]) if "forward" in own else undo.callback(own.pop, "forward")
    own["forward"] = forward
