"""The parts of an attention cache: some frames of some layers at one sigma, in memory or in a file of their own."""

import json
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..network.attention_layers import Layer

VRAM, RAM, DISK = TIERS = "vram", "ram", "disk"
ENDING = ".safetensors"
SIGMA, FRAMES, BYTES, SUMS = "sigma", "frames", "bytes", "sums"  # in the header of a part's file


@dataclass(frozen=True, eq=False)
class InMemory:
    """A part in VRAM or RAM; name: its own, by which its file is called."""

    sigma: float
    frames: tuple[int, ...]
    size: int
    tensors: dict[Layer, torch.Tensor]
    tier: str
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self.tensors)


@dataclass(frozen=True, eq=False)
class OnDisk:
    """A part in a file, which tells all of it by itself; sums: of each row, by which a change on disk is noticed."""

    sigma: float
    frames: tuple[int, ...]
    size: int
    file: Path
    file_size: int
    sums: dict[Layer, list[int]]
    tier: str = DISK

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self.sums)


Part = InMemory | OnDisk


def copied(sigma: float, frames: tuple[int, ...], tensors: dict[Layer, torch.Tensor], size: int, tier: str) -> InMemory:
    """A part in VRAM or RAM that has tensors of its own."""
    copies = {layer: _copy(tensor, tensor.device if tier == VRAM else "cpu") for layer, tensor in tensors.items()}
    return InMemory(sigma, frames, size, copies, tier)


def write_part(part: InMemory, folder: Path) -> OnDisk:
    """Writes a part to a file in a folder, named for it; whole or not at all."""
    file, unfinished = folder / f"{part.name}{ENDING}", folder / f"{part.name}.unfinished"
    tensors = {_name(layer): _copy(tensor, "cpu") for layer, tensor in part.tensors.items()}
    sums = {name: [_sum(row) for row in tensor] for name, tensor in tensors.items()}
    about = {SIGMA: repr(part.sigma), FRAMES: json.dumps(part.frames), BYTES: str(part.size), SUMS: json.dumps(sums)}
    try:
        save_file(tensors, unfinished, about)
        unfinished.replace(file)
    finally:
        remove(unfinished)
    return read_part(file)


def read_part(file: Path) -> OnDisk:
    """A part that `write_part` has written, without its tensors.

    Raises:
        OSError, SafetensorError, ValueError: Where it is damaged or another kind of file.
    """
    with safe_open(file, framework="pt") as opened:
        about, names = opened.metadata() or {}, set(opened.keys())
    if not about.keys() >= {SIGMA, FRAMES, BYTES, SUMS}:
        raise ValueError("not a part of an attention cache")
    frames, sums = tuple(map(int, json.loads(about[FRAMES]))), dict(json.loads(about[SUMS]))
    if sums.keys() != names or any(len(rows) != len(frames) for rows in sums.values()):
        raise ValueError("a header that does not fit")
    layers = {_layer(name): rows for name, rows in sums.items()}
    return OnDisk(float(about[SIGMA]), frames, int(about[BYTES]), file, file.stat().st_size, layers)


def read_rows(part: OnDisk, wanted: list[tuple[Layer, int, int]]) -> list[torch.Tensor] | None:
    """Rows of a file, for each (layer, frame, row); None where it cannot be read or is not as it was written."""
    rows = []
    try:
        with safe_open(part.file, framework="pt") as file:
            for layer, _, row in wanted:
                rows.append(file.get_slice(_name(layer))[row : row + 1][0].clone())
                if _sum(rows[-1]) != part.sums[layer][row]:
                    return None
    except (OSError, SafetensorError):
        return None
    return rows


def is_whole(part: OnDisk) -> bool:
    """Whether a part's file is there with its whole length."""
    try:
        return part.file.stat().st_size == part.file_size
    except OSError:
        return False


def remove(file: Path) -> None:
    """Removes a file where that is possible."""
    with suppress(OSError):  # a file still open elsewhere on Windows goes with its folder
        file.unlink(missing_ok=True)


def _copy(tensor: torch.Tensor, device) -> torch.Tensor:
    """Always a copy, without the rest of a batch that a view would keep alive."""
    return tensor.detach().to(device, copy=True, memory_format=torch.contiguous_format)


def _name(layer: Layer) -> str:
    return ".".join(map(str, (layer.kind, *layer.block, layer.depth)))


def _layer(name: str) -> Layer:
    """The layer of a name of `_name`."""
    kind, place, number, depth = name.split(".")
    return Layer(kind, (place, int(number)), int(depth))


def _sum(row: torch.Tensor) -> int:
    """A checksum that costs little beside reading: the sum of the bits, taken as whole numbers."""
    return int(row.reshape(-1).view(torch.int64 if row.nbytes % 8 == 0 else torch.uint8).sum(dtype=torch.int64))
