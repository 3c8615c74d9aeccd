"""The finished steps of an inversion on disk, so that after a cancel or crash it goes on where it stopped."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress

import torch

from ..disk import explained_disk_errors, is_abandoned
from ..tensor_file import DefectiveFile, read_tensors, write_tensors

FOLDER = "fatezero/unfinished"  # within the output folder; temporary files would be gone when ComfyUI starts again

_OWNER = "process_"  # an empty file, named after the process that goes on with the inversion


class UnfinishedInversion:
    """The finished steps of one inversion, a file each, in a folder of its own.

    folder: named after all that determines the result (`digest.inversion_digest`), made when missing; steps: N of the
    inversion; latent_shape: [n, c, h, w]. finished: how many steps `finished_steps` has found so far.
    """

    def __init__(self, folder: str, steps: int, latent_shape):
        self.folder, self.steps, self.latent_shape = folder, steps, tuple(latent_shape)
        self.finished = 0
        with explained_disk_errors(folder, resumes=True):
            os.makedirs(folder, exist_ok=True)
            self._take_over()

    def finished_steps(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields latent [n, c, h, w] and word maps [n, T, h', w'] after each step, up to the first that is damaged or
        missing: what lies behind that one is not used."""
        maps_shape = None
        while self.finished < self.steps:
            try:
                _, tensors = read_tensors(self._path(self.finished), self._check)
            except DefectiveFile:
                return
            maps_shape = maps_shape or tensors["word_maps"].shape
            if tensors["word_maps"].shape != maps_shape:
                return
            self.finished += 1
            yield tensors["latent"], tensors["word_maps"]

    def write(self, step: int, latent: torch.Tensor, word_maps: torch.Tensor) -> None:
        """Keeps a step; a DiskRefusal where the disk has no room."""
        with explained_disk_errors(f"step {step + 1} of {self.steps} in {self.folder}", resumes=True):
            write_tensors(self._path(step), {"latent": latent, "word_maps": word_maps}, {"step": step})

    def remove(self) -> None:
        """Deletes all of it, once the result no longer needs it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            os.rmdir(os.path.dirname(self.folder))  # unless another inversion waits there

    def _take_over(self) -> None:
        for name in _owners(self.folder):
            os.remove(os.path.join(self.folder, name))
        open(os.path.join(self.folder, f"{_OWNER}{os.getpid()}"), "wb").close()

    def _path(self, step: int) -> str:
        return os.path.join(self.folder, f"step_{step + 1:04}.safetensors")

    def _check(self, document, layout) -> None:
        latent, maps = layout.get("latent"), layout.get("word_maps")
        if (
            set(layout) != {"latent", "word_maps"}
            or latent != ("F32", self.latent_shape)
            or maps.dtype != "F32"
            or len(maps.shape) != 4
            or maps.shape[0] != self.latent_shape[0]
            or document.get("step") != self.finished
        ):
            raise DefectiveFile("it is not this step")


def remove_abandoned(output: str) -> None:
    """Removes what inversions have left that nobody went on with: older than a day, and of no living process.

    Never raises; what it does not get to is found the next time.

    Args:
        output: ComfyUI's output folder.
    """
    parent = os.path.join(output, *FOLDER.split("/"))
    with suppress(OSError):
        for folder in [entry.path for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]:
            with suppress(OSError):
                if is_abandoned(_last_touched(folder), "".join(_owners(folder)).removeprefix(_OWNER)):
                    shutil.rmtree(folder, ignore_errors=True)
        os.rmdir(parent)  # unless an inversion waits there


def _last_touched(folder: str) -> float:
    return max(
        os.stat(path, follow_symlinks=False).st_mtime
        for path in [folder, *(entry.path for entry in os.scandir(folder))]
    )


def _owners(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(_OWNER)]
