"""What a tuning step holds at SD 1.5's real size, counted without arithmetic, against what is told before it starts."""

from contextlib import ExitStack

import comfy.ops
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from activation_bytes import HeldBytes, MemoryEfficientAttention
from fatezero_pack.fatezero.network.unet.inflation import KeyFramePatch, joint_group_norms
from fatezero_pack.fatezero.network.unet.temporal_parts import active_temporal_parts, build_temporal_parts
from fatezero_pack.fatezero.tuning.checkpointing import checkpointed
from fatezero_pack.fatezero.tuning.layouts import FATEZERO, TRAINED_QUERIES, temporal_names, unet_names
from fatezero_pack.fatezero.tuning.memory import VALUES_PER_CELL
from golden_unet import UNET_CONFIG

SD15 = {
    **UNET_CONFIG,
    "model_channels": 320,
    "channel_mult": [1, 2, 4, 4],
    "num_heads": 8,
    "context_dim": 768,
    "transformer_depth_output": [1] * 9 + [0] * 3,
}
WHERE = {"dtype": torch.float16, "device": "meta"}


def part_shapes(network, rank: int = 160):
    """Temporal parts' weights of FateZero's layout, without data."""
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    weights = {}
    for ours in temporal_names(unet_names(network, SD15), FATEZERO).values():
        host, _, part = ours.rpartition(".temporal_")
        if part.startswith("attention"):
            width = shapes[f"{host}.norm1.weight"][0]
            square = part.endswith("weight") and "norm" not in part
            weights[ours] = torch.empty((width, width) if square else (width,), **WHERE)
        elif "full" not in part:
            channels = shapes[f"{host}.weight"][0]
            r = rank if rank <= channels else channels // 2
            weights[ours] = torch.empty((r, channels, 3) if "down" in part else (channels, r, 3), **WHERE)
    return weights


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_step_at_real_size(checkpoint):
    """8 frames of 512x512 in fp16: at most 1.5 GiB with checkpointing, and as told."""
    with torch.inference_mode(False), torch.enable_grad():
        network = UNetModel(**SD15, **WHERE, operations=comfy.ops.disable_weight_init).requires_grad_(False)
        parts = build_temporal_parts(part_shapes(network), **WHERE)
        for name, parameter in [*network.named_parameters(), *parts.named_parameters()]:
            parameter.requires_grad_(name.endswith(TRAINED_QUERIES) or ("temporal" in name and ".norm." not in name))
        weights = [*network.parameters(), *parts.parameters()]
        options = {
            "cond_or_uncond": [0],
            "uuids": [0],
            "patches": {"attn1_patch": [KeyFramePatch(("-1", "first"), 0)]},
            "optimized_attention_override": lambda attention, q, k, v, heads, *arguments, **others: (
                MemoryEfficientAttention.apply(q, k, v, heads)
            ),
        }
        with ExitStack() as stack:
            stack.enter_context(joint_group_norms(network, options))
            stack.enter_context(active_temporal_parts(network, parts, options))
            if checkpoint:
                stack.enter_context(checkpointed(network))
            held = stack.enter_context(HeldBytes(weights))
            predicted = network(
                torch.empty(8, 4, 64, 64, **WHERE),
                torch.empty(8, device="meta"),
                context=torch.empty(8, 77, 768, **WHERE),
                transformer_options=options,
            )
            predicted.float().square().mean().backward()
    gradients = sum(weight.numel() * 2 for weight in weights if weight.requires_grad)
    step = held.peak - gradients
    told = VALUES_PER_CELL[checkpoint] * 8 * 64 * 64 * 320 * 2
    assert told * 0.8 <= step <= told * 1.05
    assert not checkpoint or step <= 1.5 * 2**30
