"""Whether a tuned state belongs on a model, and what of it there is to put on."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..network.transformer.families import family_of
from ..network.unet.check import require_unet
from ..network.unet.temporal_parts import ATTENTION, CONVOLUTION
from ..refusal import Refusal
from .layouts import TRAINED_QUERIES, temporal_names, unet_names
from .tuned_state import PREFIX, TunedState, has_checkpoint


def require_sd(model) -> None:
    """Refuses what temporal parts are not defined for: all but SD 1.x and SD 2.x."""
    family = family_of(model)
    if family is not None:
        raise Refusal(
            f"'model' is {family.name}, a video model, which knows motion without being tuned; leave this node out, "
            "and edit with Coupled Edit Sampler, or with DDIM Invert and Attention Blend Sampler."
        )
    require_unet(model)
    if model.model.model_config.unet_config.get("adm_in_channels") is not None:
        raise Refusal(
            f"'model' is a {type(model.model).__name__}, but tuned video models exist for SD 1.x and SD 2.x; load one "
            "of those checkpoints."
        )


def base_weights(model) -> dict[str, torch.Tensor]:
    """A checkpoint's own weights by ComfyUI's names in the UNet, without LoRAs, wherever ComfyUI keeps them now."""
    weights = {}
    for name, weight in model.model.state_dict().items():
        if name.startswith(PREFIX):
            backup = model.backup.get(name)
            weights[name.removeprefix(PREFIX)] = weight if backup is None else getattr(backup, "weight", backup)
    return weights


def fitted(state: TunedState, model) -> tuple[TunedState, list[str]]:
    """A state reduced to what differs from the model's checkpoint, complete, and what a person should know about it.

    Args:
        state: From `read_tuned`; may hold a whole UNet.
        model: ModelPatcher of SD 1.x or 2.x.
    Raises: Refusal where the state cannot be put on this model.
    """
    network = model.model.diffusion_model
    unet = unet_names(network, model.model.model_config.unet_config)
    base = base_weights(model)
    strangers = [name for name in state.tensors if name not in unet and name not in temporal_names(unet, state.layout)]
    if strangers:
        raise _misfit(f"its '{strangers[0][:80]}' has no place in 'model'")
    spatial, others = _changed(state.tensors, unet, base)
    temporal = _completed(state, unet, base)
    remarks = [f"key frames of the tuning: {', '.join(state.key_frames)}"]
    if state.base is None:
        remarks[0] = (
            f"key frames: {', '.join(state.key_frames)} (assumed; the file does not say which it was tuned with)"
        )
    elif not has_checkpoint(model, state.base):
        remarks.append("it was tuned on another checkpoint than 'model', or on the same in another precision")
    if others:
        untouched = sum(name in unet and not name.endswith(TRAINED_QUERIES) for name in state.tensors)
        remarks.append(
            f"it was tuned on another checkpoint than 'model': {others} of {untouched} weights that tuning does not "
            "touch differ; those of the file are used"
        )
    return replace(state, tensors={**spatial, **temporal}), remarks


def _misfit(what: str) -> Refusal:
    return Refusal(
        f"'file' does not fit 'model': {what}; load the checkpoint that it was tuned from, an SD 1.x or SD 2.x."
    )


def _changed(tensors: dict, unet: dict[str, str], base: dict) -> tuple[dict[str, torch.Tensor], int]:
    """The UNet's own weights that differ from the checkpoint's, and how many of them tuning never trains.

    A whole UNet is searched for what was trained. A file of some weights holds a query because it was trained, however
    little that moved it: without it, this would be another model than the one that was saved.
    """
    changed, others, whole = {}, 0, unet.keys() <= tensors.keys()
    for name, tensor in tensors.items():
        if name not in unet:
            continue
        own, trained = base[unet[name]], name.endswith(TRAINED_QUERIES)
        if tensor.numel() != own.numel() or tensor.shape[:1] != own.shape[:1]:
            raise _misfit(f"its '{name}' is {_size(tensor)}, that of 'model' {_size(own)}")
        tensor = tensor.reshape(own.shape)  # projections are 1x1 convolutions or linear
        kept = own.is_meta or (trained and not whole)
        if kept or not _alike(tensor, own, exactly=trained):
            changed[name] = tensor
            others += not trained
    return changed, others


def _alike(tensor: torch.Tensor, own: torch.Tensor, exactly: bool) -> bool:
    """Whether two weights are the same one in the coarser of their precisions; exactly: value by value, since a short
    tuning moves a weight by less than rounding does."""
    coarser = max(tensor.dtype, own.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    one, other = (value.cpu().to(coarser).float() for value in (tensor, own))
    if exactly:
        return torch.equal(one, other)
    return bool((one - other).norm() <= torch.finfo(coarser).eps * other.norm())


def _completed(state: TunedState, unet: dict[str, str], base: dict) -> dict[str, torch.Tensor]:
    """The temporal parts' weights, checked for shape and number; norms that nobody trained are added as they begin."""
    names = temporal_names(unet, state.layout)
    parts: dict[str, dict[str, str]] = {}  # {part: {attribute: name in the file}}
    for name, ours in names.items():
        part, kind, attribute = ours.rpartition(f".{ATTENTION}.")
        if not kind:
            part, kind, attribute = ours.rpartition(f".{CONVOLUTION}.")
        parts.setdefault(part + kind, {})[attribute] = name
    completed = {}
    for part, attributes in parts.items():
        found = {attribute: state.tensors[name] for attribute, name in attributes.items() if name in state.tensors}
        if part.endswith(f".{CONVOLUTION}.") and not found:
            continue
        expected = _expected_shapes(part, found, base)
        if part.endswith(f".{ATTENTION}."):
            width = expected["norm.bias"]
            found = {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width), **found}
        for attribute, shape in expected.items():
            name = attributes[attribute]
            if attribute not in found:
                raise _misfit(f"its '{name}' is missing")
            if tuple(found[attribute].shape) != shape:
                raise _misfit(f"its '{name}' is {_size(found[attribute])}, where {_size(shape)} was expected")
            completed[name] = found[attribute]
    return completed


def _expected_shapes(part: str, found: dict[str, torch.Tensor], base: dict) -> dict[str, tuple[int, ...]]:
    """Shapes of a part's weights: a convolution's rank, or that it is a full one, is known by what is there, which may
    have any shape."""
    host = part.rpartition(".temporal_")[0]
    if part.endswith(f".{ATTENTION}."):
        width = len(base[f"{host}.norm1.weight"])
        square = {f"{name}.weight": (width, width) for name in ("to_q", "to_k", "to_v", "to_out")}
        return {"norm.weight": (width,), "norm.bias": (width,), **square, "to_out.bias": (width,)}
    channels = len(base[f"{host}.weight"])
    if "full.weight" in found:
        kernel = [1, *found["full.weight"].shape][-1]
        return {"full.weight": (channels, channels, kernel | 1), "full.bias": (channels,)}
    rank = max(1, *found["down.weight"].shape[:1]) if "down.weight" in found and found["down.weight"].ndim else 1
    return {"down.weight": (rank, channels, 3), "up.weight": (channels, rank, 3)}


def _size(shape) -> str:
    return "x".join(str(side) for side in getattr(shape, "shape", shape)) or "a single number"
