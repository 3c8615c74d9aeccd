"""The source's attention kept from one edit for the next ones, in VRAM, in RAM and on disk.

Kept is, per evaluated sigma, layer and frame, what queries and keys follow from: the self-attention's normalised hidden
states and the cross-attention's queries, in the model's dtype, bit for bit.
"""

import logging
import shutil
import uuid
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.model_management
import folder_paths
import psutil
import torch
from safetensors import SafetensorError

from ..network.attention_layers import Layer
from ..readable import readable
from ..refusal import Refusal, bytes_in_words
from .attention_parts import DISK, RAM, TIERS, InMemory, OnDisk, Part, copied, is_whole, read_rows, remove, write_part
from .tensor_list import TensorList

VRAM_FRACTION = 0.5  # the rest is for what comes after the edit (VAE, previews), which cannot ask for ours back
RAM_FRACTION = 0.5  # the rest is for the decoded frames and for other programs
DISK_HEADROOM = 4 << 30  # an operating system out of disk space is worse than a slow edit


@readable
@dataclass(frozen=True)
class CacheBytes:
    """Bytes in each place that a cache fills, in the order in which it fills them."""

    vram: int = 0
    ram: int = 0
    disk: int = 0

    @property
    def total(self) -> int:
        return self.vram + self.ram + self.disk

    def __str__(self):
        places = ((self.vram, "VRAM"), (self.ram, "RAM"), (self.disk, "disk"))
        return ", ".join(f"{bytes_in_words(size)} {place}" for size, place in places if size) or "nothing"


def free_budget(device: torch.device, working_memory: int = 0, folder=None) -> CacheBytes:
    """What a cache may take of what is free now.

    device: on which the model runs and is loaded; working_memory: bytes of VRAM that one evaluation of the model needs
    besides ComfyUI's own reserve; folder: where the disk's part will be, by default ComfyUI's temp folder.
    """
    vram = 0
    if device.type not in ("cpu", "mps"):  # an Apple GPU's memory is the RAM
        reserve = comfy.model_management.minimum_inference_memory() + working_memory
        vram = max(0, int(VRAM_FRACTION * (comfy.model_management.get_free_memory(device) - reserve)))
    memory = psutil.virtual_memory()
    # ComfyUI drops large node outputs, this cache among them, where less than this is free.
    headroom = min(10 << 30, max(2 << 30, memory.total // 10))
    ram = max(0, int(RAM_FRACTION * (memory.available - headroom)))
    folder = Path(folder or folder_paths.get_temp_directory()).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return CacheBytes(vram, ram, max(0, shutil.disk_usage(existing).free - DISK_HEADROOM))


def plan_cache(chunk_bytes, budget: CacheBytes) -> CacheBytes:
    """Where chunks of these sizes go, in the order in which they are stored.

    chunk_bytes: bytes of each chunk of frames at each step (a chunk is never split). Refuses what does not fit.
    """
    chunk_bytes = list(chunk_bytes)
    left = budget
    for size in chunk_bytes:
        tier = next(_tiers_with_room(size, left), None)
        if tier is None:
            raise Refusal(
                f"a cache of the source's attention needs {bytes_in_words(sum(chunk_bytes))} and can have "
                f"{budget}; choose replay, fewer frames or narrower windows."
            )
        left = _less(left, tier, size)
    return CacheBytes(*(getattr(budget, tier) - getattr(left, tier) for tier in TIERS))


def _tiers_with_room(size: int, left: CacheBytes):
    return (tier for tier in TIERS if size <= getattr(left, tier))


def _less(left: CacheBytes, tier: str, size: int) -> CacheBytes:
    return replace(left, **{tier: getattr(left, tier) - size})


@readable
class AttentionCache(TensorList):
    """The source's attention by sigma, layer and frame. Its elements are the tensors in RAM.

    Whoever owns a cache shows it to ComfyUI's RAM cache, in a list of its own. What is on disk lies in a folder of its
    own in ComfyUI's temp folder and goes with the object. A crash leaves it until ComfyUI starts the next time:
    `main.py` empties the temp folder at its start and at its end (0.18 and 0.30 alike).

    budget: bytes that may still be added in each place; set it before a run. It shrinks as chunks are stored, and a
    place that fails gets 0. It starts empty, so that nothing is stored. made_with: what its owner has to remember about
    where the tensors came from.
    """

    def __init__(self, folder: Path | None = None):
        """folder: where to make the folder on disk, by default ComfyUI's temp folder; made when it is first needed."""
        super().__init__()
        self.budget = CacheBytes()
        self.made_with: list = []
        self._parent = folder
        self._folder: Path | None = None
        self._remove_folder: weakref.finalize | None = None
        self.parts: set[Part] = set()
        # By sigma and layer, each frame's part and its row there.
        self._places: dict[tuple[float, Layer], dict[int, tuple[Part, int]]] = {}

    def __repr__(self):
        return f"AttentionCache({self.bytes})"

    @property
    def bytes(self) -> CacheBytes:
        """What is held in each place."""
        return CacheBytes(*(sum(part.size for part in self.parts if part.tier == tier) for tier in TIERS))

    def clear(self) -> None:
        """Drops everything, in memory and on disk."""
        super().clear()
        self._places.clear()
        self.parts.clear()
        if self._remove_folder is not None:
            self._remove_folder()
        self._folder = self._remove_folder = None

    def store(self, sigma: float, frames, tensors: dict[Layer, torch.Tensor]) -> bool:
        """Keeps copies of one chunk's tensors; False where no place had room for all of them.

        sigma: exactly as it will be asked for; frames: the chunk's indices in the clip; tensors: [len(frames), tokens,
        width] per layer. What is held already is left as it is. A chunk is held as a whole or, after any error or a
        cancel, not at all.
        """
        # Layers that lack the same frames are stored together.
        new_rows: dict[tuple[int, ...], dict[Layer, torch.Tensor]] = {}
        for layer, tensor in tensors.items():
            held = self._places.get((sigma, layer), {})
            rows = {frame: row for row, frame in enumerate(frames) if frame not in held}
            if rows:
                tensor = tensor if len(rows) == len(tensor) else tensor[list(rows.values())]
                new_rows.setdefault(tuple(rows), {})[layer] = tensor
        stored = [self._store_new(sigma, new, group) for new, group in new_rows.items()]  # each, whatever the others do
        return all(stored)

    def adopt(self, part: OnDisk) -> None:
        """Holds a part that lies in a file of somebody else's, which stays when the cache goes."""
        if all(part.name != held.name for held in self.parts):
            self._add(part)

    def holds(self, sigma: float, frames, layers) -> bool:
        """Whether these frames of all these layers are held; forgets files that are gone or cut short."""
        frames = set(frames)
        parts: set[Part] = set()
        for layer in layers:
            places = self._places.get((sigma, layer), {})
            if not frames <= places.keys():
                return False
            parts.update(places[frame][0] for frame in frames)
        damaged = [part for part in parts if isinstance(part, OnDisk) and not is_whole(part)]
        for part in damaged:
            self._forget(part)
        return not damaged

    def open(self, sigma: float, frames, layers) -> "CachedStep | None":
        """These frames of these layers, ready to be read; None where any of it is not held or not readable.

        What lies on disk is read here, so that reading a CachedStep inside the UNet cannot fail: that takes CPU memory
        for as much of the step as is on disk, until the CachedStep goes.
        """
        layers, frames = list(layers), list(dict.fromkeys(frames))
        if not self.holds(sigma, frames, layers):
            return None
        step: dict[Layer, dict[int, torch.Tensor]] = {layer: {} for layer in layers}
        on_disk: dict[OnDisk, list[tuple[Layer, int, int]]] = {}
        for layer in layers:
            for frame in frames:
                part, row = self._places[sigma, layer][frame]
                if isinstance(part, OnDisk):
                    on_disk.setdefault(part, []).append((layer, frame, row))
                else:
                    step[layer][frame] = part.tensors[layer][row]
        for part, wanted in on_disk.items():
            tensors = read_rows(part, wanted)
            if tensors is None:
                self._forget(part)
                return None
            for (layer, frame, _), tensor in zip(wanted, tensors):
                step[layer][frame] = tensor
        return CachedStep(step)

    def _store_new(self, sigma: float, frames, tensors: dict[Layer, torch.Tensor]) -> bool:
        """Stores tensors of which nothing is held yet in the first place with room that does not fail."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        on_gpu = all(tensor.device.type != "cpu" for tensor in tensors.values())
        for tier in _tiers_with_room(size, self.budget if on_gpu else replace(self.budget, vram=0)):
            try:
                part = self._part(sigma, tuple(frames), tensors, size, tier)
            except (OSError, SafetensorError, torch.cuda.OutOfMemoryError) as error:
                self.budget = replace(self.budget, **{tier: 0})
                logging.warning(
                    "FateZero: the attention cache cannot use any more %s in this edit (%s); what it does "
                    "not hold is computed again.",
                    "disk" if tier == DISK else tier.upper(),
                    error,
                )
                continue
            self.budget = _less(self.budget, tier, size)
            self._add(part)
            if tier == RAM and isinstance(part, InMemory):
                self.extend(part.tensors.values())
            return True
        return False

    def _add(self, part: Part) -> None:
        self.parts.add(part)
        for layer in part.layers:
            places = self._places.setdefault((part.sigma, layer), {})
            places.update((frame, (part, row)) for row, frame in enumerate(part.frames) if frame not in places)

    def _part(self, sigma: float, frames: tuple[int, ...], tensors: dict[Layer, torch.Tensor], size: int, tier) -> Part:
        if tier == DISK:
            return self._write(sigma, frames, tensors, size)
        return copied(sigma, frames, tensors, size, tier)

    def _write(self, sigma: float, frames: tuple[int, ...], tensors: dict[Layer, torch.Tensor], size: int) -> OnDisk:
        if self._folder is None or not self._folder.exists():
            parent = Path(self._parent or folder_paths.get_temp_directory())
            folder = parent / f"fatezero_cache_{uuid.uuid4().hex}"
            folder.mkdir(parents=True)
            self._folder, self._remove_folder = (
                folder,
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True),
            )
        free = shutil.disk_usage(self._folder).free - DISK_HEADROOM
        if size > free:
            raise OSError(
                f"{bytes_in_words(size)} needed, {bytes_in_words(max(0, free))} free above a reserve of "
                f"{bytes_in_words(DISK_HEADROOM)}"
            )
        return write_part(InMemory(sigma, frames, size, tensors, DISK), self._folder)

    def _forget(self, part: OnDisk) -> None:
        """Treats a damaged file as not held."""
        logging.warning("FateZero: the attention cache lost a file in the temp folder; what it held is computed again.")
        self.parts.discard(part)
        for places in self._places.values():
            for frame in [frame for frame, (holder, _) in places.items() if holder is part]:
                del places[frame]
        remove(part.file)


class CachedStep:
    """What was asked for of one step: {layer: {frame: [tokens, width]}}, all of it in memory."""

    def __init__(self, rows: dict[Layer, dict[int, torch.Tensor]]):
        self._rows = rows

    def read(self, layer: Layer, frames, device) -> torch.Tensor:
        """[len(frames), tokens, width] on a device, a new tensor; frames in any order, repeated or not."""
        rows = [self._rows[layer][frame] for frame in frames]
        result = torch.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype, device=device)
        for target, row in zip(result, rows):
            target.copy_(row)
        return result
