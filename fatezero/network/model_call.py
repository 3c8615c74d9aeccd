"""One evaluation of a model, for a whole clip or for some of its frames."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .frame_chunks import ActiveChunk, active_chunk
from .option_keys import AD_PARAMS, CHUNK

Conds = list[dict[str, Any]]  # a conditioning as `calc_cond_batch` takes it


@dataclass(frozen=True)
class ModelCall:
    """What a CALC_COND_BATCH wrapper is asked for, with the executor that answers it.

    executor: what lies within the wrapper; model: BaseModel; conds: conditionings, or None for each that is left out;
    x: latents [b, c, h, w]; timestep: their sigmas [b].
    """

    executor: Callable[..., list[torch.Tensor]]
    model: Any
    conds: Sequence[Conds | None]
    x: torch.Tensor
    timestep: torch.Tensor
    model_options: dict[str, Any]

    @property
    def active(self) -> ActiveChunk | None:
        """The chunk of frames that this is a call for, None in a call for the clip."""
        return active_chunk(self.model_options["transformer_options"])

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames of that chunk, as indices into the clip."""
        assert self.active is not None
        return self.active.frames

    def run(self) -> list[torch.Tensor]:
        """The denoised latents [b, c, h, w] under each conditioning."""
        return self.executor(self.model, self.conds, self.x, self.timestep, self.model_options)

    def of_chunk(self, active: ActiveChunk) -> "ModelCall":
        """The same call for one chunk of its clip."""
        if len(active.chunks) == 1:
            return self.within(active)
        frames = active.chunk.index.to(self.x.device)
        conds = [conds_of_frames(cond, active.frames) for cond in self.conds]
        return replace(self.within(active), conds=conds, x=self.x[frames], timestep=self.timestep[frames])

    def of_rows(self, conds: Sequence[Conds | None], x: torch.Tensor) -> "ModelCall":
        """The same call with other rows, at the same sigma: conditionings and latents [b, c, h, w]."""
        return replace(self, conds=conds, x=x, timestep=self.timestep[:1].expand(len(x)))

    def within(self, active: ActiveChunk) -> "ModelCall":
        """The same call, told of which chunk it is; the chunk's `carried` receives the hidden states of its rows."""
        return replace(self, model_options=with_chunk(self.model_options, active))


def with_chunk(model_options: dict[str, Any], active: ActiveChunk) -> dict[str, Any]:
    """Options for one chunk; `ad_params` is how AnimateDiff tells IPAdapter and others which frames are there."""
    options = {**model_options["transformer_options"], CHUNK: active}
    if len(active.chunks) > 1:
        options[AD_PARAMS] = {
            "full_length": active.clip_frames,
            "context_length": len(active.frames),
            "sub_idxs": list(active.frames),
        }
    return {**model_options, "transformer_options": options}


def conds_of_frames(conds: Conds | None, frames: Sequence[int]) -> Conds | None:
    """One of `calc_cond_batch`'s conditionings for some of the clip's frames.

    What has an entry for each frame is cut: embeddings, masks, concatenated latents and the pictures of ControlNets;
    shorter ones are repeated, as ComfyUI does.
    """
    return None if conds is None else [_cond_of_frames(cond, frames) for cond in conds]


def _cond_of_frames(cond: dict[str, Any], frames: Sequence[int]) -> dict[str, Any]:
    cond = cond.copy()
    cond["model_conds"] = {
        name: value._copy_with(_of_frames(value.cond, frames)) if isinstance(value.cond, torch.Tensor) else value
        for name, value in cond["model_conds"].items()
    }
    if "mask" in cond:
        cond["mask"] = _of_frames(cond["mask"], frames)
    if cond.get("control") is not None:
        cond["control"] = _control_of_frames(cond["control"], frames)
    return cond


def _control_of_frames(control, frames: Sequence[int]):
    """A ControlNet for the duration of a call: with only these frames' pictures, not yet fitted to the latent."""
    previous = control.previous_controlnet
    previous = None if previous is None else _control_of_frames(previous, frames)
    hint = control.cond_hint_original
    if previous is control.previous_controlnet and (hint is None or len(hint) == 1):
        return control
    control = copy.copy(control)
    control.previous_controlnet = previous
    if hint is not None and len(hint) > 1:
        control.cond_hint_original = _of_frames(hint, frames)
        control.extra_concat_orig = [_of_frames(picture, frames) for picture in control.extra_concat_orig]
        control.cond_hint = None
        if hasattr(control, "control_input"):
            control.control_input = None
    return control


def _of_frames(values: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """Rows of a tensor for some frames: one row is everyone's, fewer rows than frames are repeated in turn."""
    if len(values) <= 1:
        return values
    index = torch.tensor(frames, device=values.device)
    return values[index % len(values)]
