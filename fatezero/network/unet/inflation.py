"""Spatio-temporal self-attention and normalisation across frames, as patches of an ordinary ComfyUI UNet.

Frames are the batch. The key frames' hidden states are concatenated to keys and values before the projections, so the
pretrained weights stay untouched and other patches still see an ordinary attention call.
"""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from comfy.patcher_extension import WrappersMP

from ...readable import readable
from ...refusal import Refusal
from ..frame_chunks import active_chunk
from ..key_frames import key_frame_indices
from ..option_keys import INFLATION
from .attention import is_replaced


@readable
@dataclass(frozen=True)
class Inflation:
    """How a UNet was inflated; travels on the MODEL so that inversion and edit can be compared."""

    key_frames: tuple[str, ...]
    minimum_width: int = 0
    normalise_across_frames: bool = False

    def __str__(self):
        text = f"key frames {', '.join(self.key_frames)}"
        if self.minimum_width:
            text += f"; layers at least {self.minimum_width} wide"
        if self.normalise_across_frames:
            text += "; normalised across frames"
        return text


def inflation_of(model) -> Inflation | None:
    """The Inflation that a ModelPatcher carries, or None."""
    return model.model_options.get("transformer_options", {}).get(INFLATION)


def inflate(model, inflation: Inflation):
    """A clone of the model whose self-attention spans the key frames.

    model: ModelPatcher of a UNet. Inflating again replaces the earlier inflation.
    Source: FateZero Eq. 8 and Tune-A-Video's sparse-causal attention; `minimum_width` is the official code's
    `least_sc_channel`; normalisation across frames is what the official 3-D UNet's ResNet blocks do.
    """
    inflated = model.clone()
    options = inflated.model_options["transformer_options"]
    options[INFLATION] = inflation
    patches = options.setdefault("patches", {})
    others = [patch for patch in patches.get("attn1_patch", []) if not isinstance(patch, KeyFramePatch)]
    patches["attn1_patch"] = others + [KeyFramePatch(inflation.key_frames, inflation.minimum_width)]
    inflated.remove_wrappers_with_key(WrappersMP.DIFFUSION_MODEL, INFLATION)
    if inflation.normalise_across_frames:
        inflated.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, INFLATION, normalise_across_frames)
    return inflated


class KeyFramePatch:
    """ComfyUI `attn1_patch`: keys and values from the key frames' hidden states."""

    def __init__(self, key_frames: tuple[str, ...], minimum_width: int):
        self.key_frames = key_frames
        self.minimum_width = minimum_width

    def __call__(self, query, key, value, extra):
        """query, key, value: normalised hidden states [rows·frames, tokens, width]; returns them with the keys and
        values of the f key frames concatenated along the tokens, [rows·frames, f·tokens, width]."""
        # What replaces self-attention (PAG, SAG ...) expects as many keys as queries: there a frame looks at itself.
        if not spans_key_frames(self, query.shape[-1], extra):
            return query, key, value
        wide_key = self.widen(key, extra, "key")
        return query, wide_key, wide_key if value is key else self.widen(value, extra, "value")

    def widen(self, hidden, extra, kind: str):
        frames = frames_per_row(hidden.shape[0], extra)
        clip = hidden.unflatten(0, (-1, frames))
        active = active_chunk(extra)
        if active is None:
            return gather_frames(clip, key_frame_indices(self.key_frames, frames))
        if len(active.frames) != frames:
            raise Refusal(
                f"a self-attention layer got {frames} frames where {len(active.frames)} "
                "were asked for; another node on this model cuts the clip up; remove it."
            )
        return gather_chunk(clip, active, extra, kind)


def spans_key_frames(inflation: "Inflation | KeyFramePatch", width: int, transformer_options: dict) -> bool:
    """Whether a layer's self-attention spans the key frames; width: of its hidden states."""
    return width >= inflation.minimum_width and not is_replaced(transformer_options)


def frames_per_row(batch: int, transformer_options: dict) -> int:
    """Frames in each conditioning row of a batch; refuses a batch where another node has cut the batch up."""
    rows = len(transformer_options["cond_or_uncond"])
    if batch % rows:
        raise Refusal(
            f"a self-attention layer got {batch} inputs for {rows} conditionings; "
            "another node on this model (HyperTile, ToMe ...) changes the batch; remove it."
        )
    return batch // rows


def gather_frames(clip: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Concatenates each frame's key frames along the tokens.

    clip: [rows, n, tokens, width]; indices: int64 [b, f], of the n. Returns [rows·b, f·tokens, width].
    """
    _, _, tokens, width = clip.shape
    return clip[:, indices.to(clip.device).reshape(-1)].reshape(-1, indices.shape[1] * tokens, width)


def gather_chunk(clip: torch.Tensor, active, transformer_options: dict, kind: str) -> torch.Tensor:
    """As `gather_frames` for one chunk of a clip, whose key frames may have been in an earlier one.

    Leaves the hidden states that later chunks need in `active.carried`, by layer and conditioning, since ComfyUI may
    evaluate the conditionings together in one chunk and apart in the next.

    Args:
        clip: The chunk's hidden states, [rows, b, tokens, width].
        active: The chunk.
        transformer_options: Of the layer's call.
        kind: "key" or "value".
    """
    chunk, carried = active.chunk, active.carried
    names = [
        (kind, transformer_options["block"], transformer_options["block_index"], row)
        for row in transformer_options["uuids"]
    ]
    if names[0] in carried:
        clip = torch.cat([clip, torch.stack([carried[name] for name in names])], dim=1)
    if chunk.carry is not None and not active.is_last:
        carried.update(zip(names, clip[:, chunk.carry.to(clip.device)]))
    return gather_frames(clip, chunk.keys)


def normalise_across_frames(
    executor, x, timesteps, context=None, y=None, control=None, transformer_options=None, **kwargs
):
    """DIFFUSION_MODEL wrapper: for this one call, the ResNet blocks and the output take their group norms over all
    frames of a row (official 3-D UNet: GroupNorm on a b·c·f·h·w tensor; the transformers' own norm stays per frame).

    Where the clip runs in chunks, the first chunk's frames give the statistics for all: all frames are then normalised
    alike, though not quite as by the whole clip.
    """
    with joint_group_norms(executor.class_obj, transformer_options):
        return executor(x, timesteps, context, y, control, transformer_options, **kwargs)


@contextmanager
def joint_group_norms(diffusion_model, transformer_options: dict):
    """Within it, the ResNet and output GroupNorms see [rows, channels, frames·h, w] instead of single frames."""
    norms = list(residual_group_norms(diffusion_model))
    before = [norm.__dict__.get("forward") for norm in norms]  # another node's, where there is one
    try:
        for index, norm in enumerate(norms):
            norm.forward = _over_frames(norm, norm.forward, index, transformer_options)
        yield
    finally:
        for norm, forward in zip(norms, before):
            norm.__dict__.pop("forward", None)
            if forward is not None:
                norm.forward = forward


def _over_frames(norm, forward, index: int, transformer_options: dict):
    rows = transformer_options.get("uuids", transformer_options["cond_or_uncond"])
    active = active_chunk(transformer_options)

    def joint(x):
        batch, channels, height, width = x.shape
        names = [("norm", index, row) for row in rows]
        if active is not None and active.index > 0:
            return normalise_as(x, torch.stack([active.carried[name] for name in names]), norm, forward)
        clip = x.unflatten(0, (len(rows), -1))
        if active is not None and not active.is_last:
            active.carried.update(zip(names, group_statistics(clip, norm)))
        tall = clip.transpose(1, 2).reshape(len(rows), channels, -1, width)
        tall = forward(tall).reshape(len(rows), channels, -1, height, width)
        return tall.transpose(1, 2).reshape(batch, channels, height, width)

    return joint


def group_statistics(clip: torch.Tensor, norm) -> torch.Tensor:
    """Mean and reciprocal deviation of every group of channels over all frames of a row.

    clip: [rows, n, channels, h, w]. Returns float32 [rows, groups, 2].
    """
    groups = clip.float().unflatten(2, (norm.num_groups, -1)).transpose(1, 2).flatten(2)
    variance, mean = torch.var_mean(groups, dim=-1, correction=0)
    return torch.stack([mean, (variance + norm.eps).rsqrt()], dim=-1)


def normalise_as(x: torch.Tensor, statistics: torch.Tensor, norm, forward) -> torch.Tensor:
    """A group norm [rows·n, channels, h, w] with other frames' statistics [rows, groups, 2].

    Scale and shift are read off the norm's own answer to 0 and ±1: its weights may be elsewhere or patched.
    """
    channels = x.shape[1]
    shift = forward(x.new_zeros(1, channels, 1, 2))[0, :, 0, 0].float()
    plus_and_minus = x.new_tensor([1.0, -1.0]).expand(1, channels, 1, 2)
    scale = (forward(plus_and_minus)[0, :, 0, 0].float() - shift) * (1 + norm.eps) ** 0.5
    mean, factor = statistics.repeat_interleave(channels // norm.num_groups, dim=1).unbind(-1)
    scale = scale * factor
    shift = shift - mean * scale
    clip = x.unflatten(0, (len(statistics), -1))
    per_channel = lambda values: values[:, None, :, None, None].to(x.dtype)  # noqa: E731
    return (clip * per_channel(scale) + per_channel(shift)).flatten(0, 1)


def residual_group_norms(diffusion_model):
    """The GroupNorms of a UNet's ResNet blocks and of its output."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

    for module in diffusion_model.modules():
        if isinstance(module, ResBlock):
            yield module.in_layers[0]
            yield module.out_layers[0]
    yield diffusion_model.out[0]
