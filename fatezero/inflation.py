"""Spatio-temporal self-attention and normalisation across frames, as patches of an ordinary ComfyUI UNet.

Frames are the batch. The key frames' hidden states are concatenated to keys and values before the projections, so the
pretrained weights stay untouched and other patches still see an ordinary attention call.
"""
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from comfy.patcher_extension import WrappersMP

from .key_frames import key_frame_indices

KEY = "fatezero_inflation"


@dataclass(frozen=True)
class Inflation:
    """How a UNet was inflated; travels in `transformer_options[KEY]` so that inversion and edit can be compared."""

    key_frames: tuple[str, ...]
    minimum_width: int = 0
    normalise_across_frames: bool = False

    def __str__(self):
        parts = ["key frames " + ", ".join(self.key_frames)]
        if self.minimum_width:
            parts.append(f"layers at least {self.minimum_width} wide")
        if self.normalise_across_frames:
            parts.append("normalised across frames")
        return "; ".join(parts)


def inflation_of(model) -> Inflation | None:
    """The Inflation that a ModelPatcher carries, or None."""
    return model.model_options.get("transformer_options", {}).get(KEY)


def inflate(model, inflation: Inflation):
    """A clone of the model whose self-attention spans the key frames.

    model: ModelPatcher of a UNet. Inflating again replaces the earlier inflation.
    Source: FateZero Eq. 8 and Tune-A-Video's sparse-causal attention; `minimum_width` is the official code's
    `least_sc_channel`; normalisation across frames is what the official 3-D UNet's ResNet blocks do.
    """
    inflated = model.clone()
    options = inflated.model_options["transformer_options"]
    options[KEY] = inflation
    patches = options.setdefault("patches", {})
    others = [patch for patch in patches.get("attn1_patch", []) if not isinstance(patch, KeyFramePatch)]
    patches["attn1_patch"] = others + [KeyFramePatch(inflation.key_frames, inflation.minimum_width)]
    inflated.remove_wrappers_with_key(WrappersMP.DIFFUSION_MODEL, KEY)
    if inflation.normalise_across_frames:
        inflated.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, normalise_across_frames)
    return inflated


class KeyFramePatch:
    """ComfyUI `attn1_patch`: keys and values from the key frames' hidden states."""

    def __init__(self, key_frames: tuple[str, ...], minimum_width: int):
        self.key_frames = key_frames
        self.minimum_width = minimum_width

    def __call__(self, query, key, value, extra):
        """query, key, value: normalised hidden states [rows·frames, tokens, width]; returns them with the keys and
        values of the f key frames concatenated along the tokens, [rows·frames, f·tokens, width]."""
        if query.shape[-1] < self.minimum_width:
            return query, key, value
        frames = frames_per_row(key.shape[0], extra)
        indices = key_frame_indices(self.key_frames, frames).to(key.device)
        spread = lambda hidden: gather_frames(hidden, indices)  # noqa: E731
        wide_key = spread(key)
        return query, wide_key, wide_key if value is key else spread(value)


def frames_per_row(batch: int, transformer_options: dict) -> int:
    """Frames in each conditioning row of a batch; raises ValueError where another node has cut the batch up."""
    rows = len(transformer_options["cond_or_uncond"])
    if batch % rows:
        raise ValueError(
            f"Inflate UNet to ST-Attention: a self-attention layer got {batch} inputs for {rows} conditionings; "
            "another node on this model (HyperTile, ToMe ...) changes the batch; remove it.")
    return batch // rows


def gather_frames(hidden: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Concatenates each frame's key frames along the tokens.

    hidden: [rows·n, tokens, width]; indices: int64 [n, f]. Returns [rows·n, f·tokens, width].
    """
    frames, keys = indices.shape
    _, tokens, width = hidden.shape
    clip = hidden.reshape(-1, frames, tokens, width)
    return clip[:, indices.reshape(-1)].reshape(-1, keys * tokens, width)


def normalise_across_frames(executor, x, timesteps, context=None, y=None, control=None, transformer_options=None,
                            **kwargs):
    """DIFFUSION_MODEL wrapper: for this one call, the ResNet blocks and the output take their group norms over all
    frames of a row (official 3-D UNet: GroupNorm on a b·c·f·h·w tensor; the transformers' own norm stays per frame)."""
    rows = len(transformer_options["cond_or_uncond"])
    with joint_group_norms(executor.class_obj, rows):
        return executor(x, timesteps, context, y, control, transformer_options, **kwargs)


@contextmanager
def joint_group_norms(diffusion_model, rows: int):
    """Within it, the ResNet and output GroupNorms see [rows, channels, frames·h, w] instead of single frames."""
    norms = list(residual_group_norms(diffusion_model))
    before = [norm.__dict__.get("forward") for norm in norms]  # another node's, where there is one
    try:
        for norm in norms:
            norm.forward = _over_frames(norm.forward, rows)
        yield
    finally:
        for norm, forward in zip(norms, before):
            norm.__dict__.pop("forward", None)
            if forward is not None:
                norm.forward = forward


def _over_frames(forward, rows: int):
    def joint(x):
        batch, channels, height, width = x.shape
        frames = batch // rows
        tall = x.reshape(rows, frames, channels, height, width).transpose(1, 2).reshape(rows, channels, -1, width)
        tall = forward(tall).reshape(rows, channels, frames, height, width)
        return tall.transpose(1, 2).reshape(batch, channels, height, width)
    return joint


def residual_group_norms(diffusion_model):
    """The GroupNorms of a UNet's ResNet blocks and of its output."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

    for module in diffusion_model.modules():
        if isinstance(module, ResBlock):
            yield module.in_layers[0]
            yield module.out_layers[0]
    yield diffusion_model.out[0]
