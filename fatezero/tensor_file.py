"""Safetensors files of our own: written whole or not at all, checked before a tensor is loaded, never trusted."""

import json
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from safetensors import SafetensorError, safe_open

from .disk import unfinished_folder

# By falling size of an element: tensors lie in this order, so that each begins at a multiple of its own.
DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}

LARGEST = 65504.0  # in half precision: no model's weight, latent or embedding goes beyond
DOCUMENT, _CHECKSUM = "fatezero", "crc32"
_LONGEST_DOCUMENT = 10_000_000  # characters
_BLOCK = 64 * 2**20  # bytes


class DefectiveFile(ValueError):
    """What is wrong with a file, as a part of a sentence that has named the file."""


class Layout(NamedTuple):
    """Element type (as safetensors writes it) and shape of a tensor in a file."""

    dtype: str
    shape: tuple[int, ...]


def can_be_written(value) -> bool:
    """Whether a value is a tensor of a kind that `write_tensors` takes."""
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.dtype in DTYPES


def write_tensors(path: str, tensors: dict[str, torch.Tensor], document: dict) -> None:
    """Writes tensors and a JSON document to a file that appears when it is complete or not at all.

    Needs no second copy of the tensors in memory. Raises OSError where the disk refuses; see `explained_disk_errors`.
    """
    with unfinished_folder(path) as folder:
        unfinished = os.path.join(folder, os.path.basename(path))
        order = list(DTYPES)
        # The same tensors give the same file, in whichever order they come.
        names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
        with open(unfinished, "wb") as file:
            file.write(_header(tensors, names, json.dumps(document)))
            for name in names:
                for block in _blocks(tensors[name]):
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)


def read_tensors(path: str, check) -> tuple[dict, dict[str, torch.Tensor]]:
    """The document and the tensors of a file of `write_tensors`.

    check(document, {name: Layout}): asked before any tensor is loaded; raises when these are not what the file should
    hold. Raises DefectiveFile for whatever is wrong with the file itself.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}
            layout = {name: Layout(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            if any(dtype not in DTYPES.values() for dtype, _ in layout.values()):
                raise DefectiveFile("its tensors are of unknown types")
            document = _read_document(metadata.get(DOCUMENT))
            check(document, layout)
            tensors = {name: file.get_tensor(name).clone() for name in layout}  # the file may go, the tensors stay
    except OSError as error:
        raise DefectiveFile(f"it cannot be opened ({error.strerror or error})") from error
    except SafetensorError as error:
        raise DefectiveFile("it is not a safetensors file, or not all of it is there") from error
    if _checksum(tensors, metadata[DOCUMENT]) != metadata.get(_CHECKSUM):
        raise DefectiveFile("its contents have changed since it was written")
    return document, tensors


def _header(tensors, names, document: str) -> bytes:
    header: dict[str, dict] = {"__metadata__": {DOCUMENT: document, _CHECKSUM: _checksum(tensors, document)}}
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(tensors, document: str) -> str:
    checksum = zlib.crc32(document.encode())
    for name in sorted(tensors):
        for block in _blocks(tensors[name]):
            checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}"


def _blocks(tensor: torch.Tensor) -> Iterator[memoryview]:
    """A tensor's bytes in parts, between which a long write or read can be cancelled."""
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    for start in range(0, len(data), _BLOCK):
        if start:
            throw_exception_if_processing_interrupted()
        yield data[start : start + _BLOCK]


def _read_document(text: str | None) -> dict:
    if text is None:
        raise DefectiveFile("it was not written by FateZero")
    try:
        if len(text) > _LONGEST_DOCUMENT:
            raise ValueError
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # no NaN, infinity or half a character
    except (ValueError, RecursionError) as error:
        raise DefectiveFile("its description cannot be read") from error
    if not isinstance(document, dict):
        raise DefectiveFile("its description cannot be read")
    return document
