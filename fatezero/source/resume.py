"""The finished steps of an inversion on disk, so that after a cancel or crash it goes on where it stopped."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress

import comfy.controlnet
import torch

from ..network.model_identity import fingerprint, lasting_parts
from ..network.unet_inflation import Inflation
from ..prompts.tokens import PromptTokens
from ..refusal import Refusal
from .tensor_file import DefectiveFile, explain_disk_errors, read_tensors, write_tensors

FOLDER = "fatezero/unfinished"  # within the output folder; temporary files would be gone when ComfyUI starts again

_ADVICE = "free space on the disk or switch 'resume' off"


class UnfinishedInversion:
    """The finished steps of one inversion, a file each, in a folder of its own.

    folder: named after all that determines the result (`inversion_digest`), made when missing; steps: N of the
    inversion; latent_shape: [n, c, h, w]. finished: how many steps `finished_steps` has found so far.
    """

    def __init__(self, folder: str, steps: int, latent_shape):
        self.folder, self.steps, self.latent_shape = folder, steps, tuple(latent_shape)
        self.finished = 0
        with explain_disk_errors(f"the folder {folder}", _ADVICE):
            os.makedirs(folder, exist_ok=True)

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
        with explain_disk_errors(f"step {step + 1} of {self.steps} in {self.folder}", _ADVICE):
            write_tensors(self._path(step), {"latent": latent, "word_maps": word_maps}, {"step": step})

    def remove(self) -> None:
        """Deletes all of it, once the result no longer needs it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            os.rmdir(os.path.dirname(self.folder))  # unless another inversion waits there

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


def inversion_digest(
    model, conditioning, latent: torch.Tensor, *, sigmas: torch.Tensor, label: str, refinement: int
) -> str:
    """A text that is the same for two inversions only where they give the same result; arguments as for `invert`.

    Refuses a model or a conditioning that holds what cannot be recognised again after a restart.
    """
    digest = hashlib.sha256(b"FateZero inversion 1;")
    _add(digest, [fingerprint(model), lasting_parts(model), latent, sigmas, label, refinement], "'model'")
    for embedding, options in conditioning:
        _add(digest, embedding, "'source'")
        _add(digest, options, "'source'")
    return digest.hexdigest()[:32]


def _add(digest, value, where: str) -> None:
    """Adds a value to a digest; where: the input that holds it."""
    if isinstance(value, (bool, int, float, str, type(None), PromptTokens, Inflation)):
        digest.update(f"{value!r};".encode())
    elif isinstance(value, torch.Tensor) and value.layout == torch.strided:
        digest.update(f"{value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)} items;".encode())
        for item in value:
            _add(digest, item, where)
    elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
        digest.update(f"{len(value)} entries;".encode())
        for name in sorted(value):
            _add(digest, name, where)
            _add(digest, value[name], f"'{name}' of {where}" if where == "'source'" else where)
    elif isinstance(value, comfy.controlnet.ControlBase):
        _add(digest, _control_parts(value, where), where)
    else:
        raise Refusal(
            f"{where} holds a {type(value).__name__}, which cannot be recognised again after a "
            "restart; switch 'resume' off, or remove the node that adds it."
        )


def _control_parts(control, where: str) -> list:
    """What a ControlNet does depends on: its network, picture, strength and range, and those of the ones before it."""
    networks = {
        comfy.controlnet.ControlNet: "control_model",
        comfy.controlnet.ControlLora: "control_weights",
        comfy.controlnet.T2IAdapter: "t2i_model",
    }
    if type(control) not in networks or control.vae is not None or control.extra_hooks is not None:
        raise Refusal(
            f"{where} is a {type(control).__name__}, which cannot be recognised again after a "
            "restart; switch 'resume' off, or use an ordinary ControlNet."
        )
    network = getattr(control, networks[type(control)])
    weights = network if isinstance(network, dict) else network.state_dict()
    # As the model's own fingerprint does: a little of each weight tells networks apart and is quick to read.
    weights = {name: weight.detach().reshape(-1)[:64].float() for name, weight in weights.items()}
    return [
        type(control).__name__,
        weights,
        control.cond_hint_original,
        control.strength,
        list(control.timestep_percent_range),
        control.strength_type.name,
        control.global_average_pooling,
        control.compression_ratio,
        control.upscale_algorithm,
        control.extra_args,
        control.extra_conds,
        control.extra_concat_orig,
        control.previous_controlnet,
    ]
