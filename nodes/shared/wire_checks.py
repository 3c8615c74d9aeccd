"""What comes over a wire, checked in one place for every node: one function for each type of wire.

Each takes a value and the name of its input. It refuses in a sentence what is not of that type, is empty, or holds
NaN. What a node asks beyond that (frames of one size, a prompt of the model's own encoder) it asks itself.
"""

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import torch

from ...fatezero.masks.fit import boxes_of_frames
from ...fatezero.prompts.prompt_edit import PromptEdit
from ...fatezero.prompts.tokens import PromptTokens
from ...fatezero.refusal import Refusal
from ...fatezero.source.axes import match_axes
from ...fatezero.source.source_document import NEWEST_VERSION, TENSORS
from ...fatezero.source.source_run import NullText, SourceRun
from ...fatezero.video.clip import ClipFit
from ...fatezero.video.frames import check_images

EDIT = {"mapper": "S T", "from_source": "T", "emphasis": "T"}  # the axes of an edit's tensors


def check_model(value: Any, name: str) -> None:
    if not _has(value, "model", "model_options", "clone") or not isinstance(value.model, torch.nn.Module):
        raise _wrong_type(value, name, "a MODEL, such as that of Load Checkpoint")


def check_clip(value: Any, name: str) -> None:
    if not _has(value, "tokenize") and not _has(value, "tokenize_with_weights"):
        raise _wrong_type(value, name, "a checkpoint that contains a text encoder, or a CLIP loader")


def check_clip_vision(value: Any, name: str) -> None:
    if not _has(value, "encode_image", "model"):
        raise _wrong_type(value, name, "Load CLIP Vision")


def check_latent(value: Any, name: str) -> None:
    """A latent of any model; which of them a node takes it says itself."""
    samples = value.get("samples") if isinstance(value, Mapping) else None
    if not isinstance(samples, torch.Tensor) and not getattr(samples, "is_nested", False):
        raise _wrong_type(value, name, "a LATENT, such as that of VAE Encode")
    if not getattr(samples, "is_nested", False) and 0 in samples.shape[1:]:
        raise Refusal(f"'{name}' has the shape {list(samples.shape)}; connect a LATENT that is not empty.")


def check_conditioning(value: Any, name: str) -> None:
    """Prompts as ComfyUI encodes them: embeddings [1 or n, T, C] with options."""
    connect = "CLIP Text Encode or Edit Prompts"
    if not isinstance(value, (list, tuple)):
        raise _wrong_type(value, name, connect)
    if not value:
        raise Refusal(f"'{name}' holds 0 conditionings; use {connect}.")
    for entry in value:
        if not (
            isinstance(entry, (list, tuple))
            and len(entry) == 2
            and isinstance(entry[0], torch.Tensor)
            and isinstance(entry[1], dict)
        ):
            raise Refusal(f"'{name}' is no CONDITIONING of ComfyUI; connect {connect}.")
        if entry[0].ndim != 3 or 0 in entry[0].shape:
            shape = list(entry[0].shape)
            raise Refusal(f"'{name}' has the shape {shape}; expected prompts, tokens and channels; connect {connect}.")
        if not bool(torch.isfinite(entry[0]).all()):
            raise Refusal(f"'{name}' holds NaN or infinite values; encode the prompt again with another CLIP.")


def check_image(value: Any, name: str) -> None:
    if value is None:
        raise _wrong_type(value, name, "an IMAGE")
    check_images(value, name)


def check_mask(value: Any, name: str) -> None:
    if not isinstance(value, torch.Tensor):
        raise _wrong_type(value, name, "a MASK")
    if value.ndim not in (2, 3) or 0 in value.shape:
        raise Refusal(
            f"'{name}' has the shape {list(value.shape)}; expected frames, height and width; use an ordinary MASK."
        )
    if not bool(torch.isfinite(value).all()):
        raise Refusal(f"'{name}' has invalid numbers (NaN or infinite); look for the node that made them.")


def check_video(value: Any, name: str) -> None:
    if not _has(value, "get_components"):
        raise _wrong_type(value, name, "a VIDEO, such as that of Load Video")


def check_audio(value: Any, name: str) -> None:
    waveform = value.get("waveform") if isinstance(value, Mapping) else None
    if not isinstance(waveform, torch.Tensor) or waveform.ndim != 3 or "sample_rate" not in value:
        raise Refusal(f"'{name}' is no AUDIO of ComfyUI; connect Video Load's or that of an audio loader.")


def check_source(value: Any, name: str) -> None:
    """A source run whose parts fit each other."""
    connect = "DDIM Invert or Load Inverted Clip"
    if not isinstance(value, SourceRun):
        raise _wrong_type(value, name, connect)
    _check_version(value, name, NEWEST_VERSION)
    parts = {part: getattr(value, part, None) for part in ("sigmas", "trajectory", "word_maps")}
    if not _fit(parts, TENSORS, {}):
        raise Refusal(f"'{name}' does not hold a latent and a word map for each of its steps; connect {connect}.")
    if not all(bool(torch.isfinite(part).all()) for part in parts.values()):
        raise Refusal(f"'{name}' holds NaN or infinite values; invert the clip again.")
    check_conditioning(getattr(value, "conditioning", None), name)
    if not isinstance(value.tokens, (PromptTokens, NoneType)) or not isinstance(value.null_text, (NullText, NoneType)):
        raise Refusal(f"'{name}' holds parts of another type; connect {connect}.")


def check_edit(value: Any, name: str) -> None:
    """An edit whose parts fit each other."""
    if not isinstance(value, PromptEdit):
        raise _wrong_type(value, name, "Edit Prompts")
    _check_version(value, name, PromptEdit.version)
    source, target = getattr(value, "source", None), getattr(value, "target", None)
    if not isinstance(source, PromptTokens) or not isinstance(target, PromptTokens):
        raise Refusal(f"'{name}' holds no prompts; connect Edit Prompts.")
    parts = {part: getattr(value, part) for part in EDIT}
    tuples = (value.windows, value.source_mask_tokens, value.target_mask_tokens, value.rows)
    if not _fit(parts, EDIT, {"S": source.length, "T": target.length}) or not all(isinstance(t, tuple) for t in tuples):
        raise Refusal(f"'{name}' does not fit its prompts; connect Edit Prompts.")


def check_fit(value: Any, name: str) -> None:
    if not isinstance(value, ClipFit):
        raise _wrong_type(value, name, "Video Load's fit")


def check_boxes(value: Any, name: str) -> None:
    """Bounding boxes of any form that ComfyUI's nodes have."""
    boxes_of_frames(value)


WIRES: dict[str, Callable[[Any, str], None]] = {
    "MODEL": check_model,
    "CLIP": check_clip,
    "CLIP_VISION": check_clip_vision,
    "LATENT": check_latent,
    "CONDITIONING": check_conditioning,
    "IMAGE": check_image,
    "MASK": check_mask,
    "VIDEO": check_video,
    "AUDIO": check_audio,
    "BOUNDING_BOX": check_boxes,
    "FZ_SOURCE": check_source,
    "FZ_EDIT": check_edit,
    "FZ_FIT": check_fit,
}


def _wrong_type(value: Any, name: str, connect: str) -> Refusal:
    if value is None:
        return Refusal(f"'{name}' is empty; connect {connect}.")
    return Refusal(f"'{name}' is of the type {type(value).__name__}; connect {connect}.")


def _has(value: Any, *names: str) -> bool:
    return value is not None and all(hasattr(value, name) for name in names)


def _check_version(value: Any, name: str, known: int) -> None:
    if type(value.version) is not int or not 1 <= value.version <= known:
        raise Refusal(
            f"'{name}' is of version {value.version}, but this FateZero knows 1 to {known}; update FateZero, or make "
            "it again with the nodes that are installed."
        )


def _fit(tensors: dict[str, Any], axes: dict[str, str], sizes: dict[str, int]) -> bool:
    """Whether tensors have the axes of a table; sizes: those known by name, to which the others are added."""
    return all(
        isinstance(tensor, torch.Tensor) and 0 not in tensor.shape and match_axes(axes[name], tensor.shape, sizes)
        for name, tensor in tensors.items()
    )
