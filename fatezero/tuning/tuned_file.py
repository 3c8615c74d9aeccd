"""Tuned models as files: our own with a description in its header, and those of the official codes.

Ours is a safetensors file under diffusers' key names that holds only what was tuned, so that the official codes' tools
can read its tensors too.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping

import comfy.utils
import torch
from safetensors import SafetensorError, safe_open

from ..disk import explained_disk_errors
from ..network.key_frames import parse_key_frames
from ..refusal import Refusal
from ..tensor_file import DOCUMENT, LARGEST, DefectiveFile, read_tensors, write_tensors
from .layouts import LAYOUTS, layout_of
from .tuned_state import KEY_FRAMES, TunedState

FORMAT, VERSION = "FateZero tuned model", 1
ENDINGS = (".safetensors", ".bin")
_FLOATS = ("F32", "F16", "BF16")
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # the last as PyTorch may have it in a .bin


def write_tuned(path: str, state: TunedState) -> None:
    """Saves a tuned state; the file appears when it is complete or not at all.

    Args:
        path: Where to, ending in .safetensors.
        state: What to write, in the dtypes of its tensors.
    Raises: DiskRefusal where the disk refuses.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "layout": state.layout.name,
        "key_frames": list(state.key_frames),
        "base": state.base,
        "frames": state.frames,
        "steps": state.steps,
        "prompt": state.prompt,
        "size": state.size,
    }
    with explained_disk_errors(os.path.basename(path)):
        write_tensors(path, state.tensors, document)


def read_tuned(path: str) -> TunedState:
    """The tuned state of a file of ours or of the official codes, a diffusers UNet in .safetensors or .bin.

    Args:
        path: Of the file; nothing in it is run, and its tensors are not loaded before its header was checked.
    Raises: Refusal, one sentence with the file's name, for everything wrong with it.
    """
    name = os.path.basename(path)
    try:
        if not os.path.isfile(path):
            raise DefectiveFile("it is not there")
        state = _read_ours(path) if _is_ours(path) else _read_foreign(path)
        _check_tensors(state.tensors)
        return state
    except DefectiveFile as defect:
        raise Refusal(f"'{name}' cannot be used: {defect}; choose another file.") from defect


def _is_ours(path: str) -> bool:
    """Whether a file has a description of this pack in its header."""
    if not path.endswith(".safetensors"):
        return False
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return DOCUMENT in (file.metadata() or {})
    except OSError as error:
        raise DefectiveFile(f"it cannot be opened ({error.strerror or error})") from error
    except SafetensorError as error:
        raise DefectiveFile("it is not a safetensors file, or not all of it is there") from error


def _read_ours(path: str) -> TunedState:
    document, tensors = read_tensors(path, _check)
    return TunedState(
        LAYOUTS[document["layout"]],
        tensors,
        tuple(document["key_frames"]),
        document["base"],
        document["frames"],
        document["steps"],
        document["prompt"],
        tuple(document["size"]) if document.get("size") is not None else None,
    )


def _check(document: dict, layout: Mapping) -> None:
    """What our header must say, before a tensor is loaded."""
    if document.get("format") != FORMAT:
        raise DefectiveFile("it is not a tuned model")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise DefectiveFile("its 'version' is wrong")
    if version > VERSION:
        raise DefectiveFile(
            f"a newer FateZero wrote it (version {version}, this one knows {VERSION}), so that it needs an update of "
            "the pack"
        )
    if document.get("layout") not in list(LAYOUTS):  # it may be anything, also what cannot be looked up
        raise DefectiveFile("its 'layout' is wrong")
    entries = document.get("key_frames")
    try:
        readable = isinstance(entries, list) and parse_key_frames(", ".join(entries)) == tuple(entries)
    except (TypeError, ValueError):
        readable = False
    if not readable:
        raise DefectiveFile("its 'key_frames' are wrong")
    for name, kind in (("base", str), ("prompt", str), ("frames", int), ("steps", int)):
        value = document.get(name)
        wrong = value is not None and (type(value) is not kind or (isinstance(value, int) and value < 0))
        if wrong or name not in document:
            raise DefectiveFile(f"its '{name}' is wrong")
    size = document.get("size")  # files of the first versions do not have it
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(_is_side(side) for side in size)):
        raise DefectiveFile("its 'size' is wrong")
    if any(dtype not in _FLOATS for dtype, _ in layout.values()):
        raise DefectiveFile("its tensors are not of a floating-point type that a tuned model has")


def _is_side(value) -> bool:
    return type(value) is int and value > 0


def _read_foreign(path: str) -> TunedState:
    """A UNet as diffusers saves it, by ComfyUI's loader, which refuses a pickle that would run code."""
    try:
        tensors = comfy.utils.load_torch_file(path, safe_load=True)
    except pickle.UnpicklingError as error:
        raise DefectiveFile("it is damaged, or a pickle that would run code, which is refused") from error
    except Exception as error:  # there is no end to the ways in which a damaged pickle fails
        raise DefectiveFile("it is damaged, or not a file of weights") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in tensors.items()
    ):
        raise DefectiveFile("it holds other things than tensors")
    layout = layout_of(tensors)
    if layout is None:
        raise DefectiveFile(
            "it has no temporal attention (attn_temp or attn_temporal), so that it is not a tuned video model's UNet"
        )
    return TunedState(layout, tensors, KEY_FRAMES)


def _check_tensors(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
            raise DefectiveFile(f"its '{name[:80]}' is not of a floating-point type that a tuned model has")
        if not bool(torch.isfinite(tensor).all()):
            raise DefectiveFile(f"its '{name[:80]}' holds NaN or infinite values")
        if tensor.numel() and float(tensor.abs().max()) > LARGEST:
            raise DefectiveFile(f"its '{name[:80]}' holds values beyond what a model computes with")
