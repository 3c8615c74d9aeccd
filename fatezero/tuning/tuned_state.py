"""What tuning on a clip leaves behind, and a model that carries it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ..network.inspection.model_identity import fingerprint, has_fingerprint, own_sampling
from ..network.option_keys import TUNED
from ..network.unet.check import size_in_pixels
from ..network.unet.inflation import Inflation, inflate
from ..network.unet.temporal_parts import with_temporal_parts
from ..readable import readable
from ..refusal import counted
from .layouts import Layout, temporal_names, unet_names

PREFIX = "diffusion_model."  # before the UNet's names in ComfyUI's patches
KEY_FRAMES = ("-1", "first")  # Tune-A-Video's; files of the official codes do not say theirs


@readable
@dataclass(frozen=True, eq=False)
class TunedState:
    """The weights that tuning changed or added, by their names in files, and how they came about; immutable.

    layout: of the names; tensors: on the CPU; key_frames: from `parse_key_frames`; base: `checkpoint_fingerprint` of
    the checkpoint that was tuned; frames, steps, prompt, size: of the tuning, size as (height, width) of the latent.
    What a file does not say is None.
    """

    layout: Layout
    tensors: dict[str, torch.Tensor] = field(repr=False)
    key_frames: tuple[str, ...] = KEY_FRAMES
    base: str | None = None
    frames: int | None = None
    steps: int | None = None
    prompt: str | None = None
    size: tuple[int, int] | None = None

    def summary(self) -> str:
        """The state in a few readable lines."""
        trained = sum(tensor.numel() for tensor in self.tensors.values())
        lines = [f"{self.layout.name} layout, {len(self.tensors)} tensors of {trained / 1e6:.1f} million values"]
        if self.steps is not None and self.frames is not None:
            if self.size is None:
                lines.append(f"tuned in {counted(self.steps, 'step')} on {counted(self.frames, 'frame')}")
            else:
                size = size_in_pixels(self.size)
                lines.append(f"tuned in {counted(self.steps, 'step')} on {counted(self.frames, 'frame')} of {size}")
        if self.prompt:
            lines.append(f"prompt: {self.prompt}")
        return "\n".join(lines)


def rank_of(state: TunedState) -> int:
    """The rank of a state's temporal convolutions, 0 where it has none."""
    ranks = [len(tensor) for name, tensor in state.tensors.items() if name.endswith(".conv_temporal.down.weight")]
    return max(ranks, default=0)


def in_half_precision(state: TunedState) -> TunedState:
    """A state with its tensors in float16."""
    return replace(state, tensors={name: tensor.half() for name, tensor in state.tensors.items()})


def checkpoint_fingerprint(model) -> str:
    """The fingerprint of a model's checkpoint alone, without LoRAs, tuning and another node's model sampling."""
    bare = _bare(model)
    bare.add_object_patch("model_sampling", own_sampling(model))
    return fingerprint(bare)


def has_checkpoint(model, known: str) -> bool:
    """Whether a `checkpoint_fingerprint`, perhaps one of an earlier version, is that of a model's checkpoint."""
    # Before, another node's model sampling counted.
    return known == checkpoint_fingerprint(model) or has_fingerprint(_bare(model), known)


def _bare(model):
    """A clone of the model without LoRAs and tuning."""
    bare = with_temporal_parts(model, {})
    bare.patches = {}
    return bare


def tuned_model(model, state: TunedState, key_frames: tuple[str, ...] | None = None):
    """A clone of the model in a tuned state: temporal parts, changed weights, key frames and norms over all frames.

    Changed weights stand before the model's other weight patches, so that LoRAs add to them in any order of the nodes.

    Args:
        model: ModelPatcher of the UNet that the state's tensors fit.
        state: What to put on it; an earlier state is taken off.
        key_frames: From `parse_key_frames`; None for those of the state.
    """
    unet = unet_names(model.model.diffusion_model, model.model.model_config.unet_config)
    temporal = temporal_names(unet, state.layout)
    tuned = with_temporal_parts(
        untuned_model(model), {temporal[name]: value for name, value in state.tensors.items() if name in temporal}
    )
    others, tuned.patches = tuned.patches, {}
    tuned.add_patches({PREFIX + unet[name]: ("set", (value,)) for name, value in state.tensors.items() if name in unet})
    for name, patches in others.items():
        tuned.patches[name] = tuned.patches.get(name, []) + patches
    tuned.set_attachments(TUNED, state)
    return inflate(tuned, Inflation(key_frames or state.key_frames, normalise_across_frames=True))


def untuned_model(model):
    """A clone of the model without its tuned state; its inflation stays."""
    state = tuned_state_of(model)
    bare = with_temporal_parts(model, {})
    if state is not None:
        unet = unet_names(model.model.diffusion_model, model.model.model_config.unet_config)
        for name in state.tensors:
            if name in unet:
                del bare.patches[PREFIX + unet[name]][0]
        bare.patches = {name: patches for name, patches in bare.patches.items() if patches}
        bare.add_patches({})  # marks the weights as other ones
        bare.remove_attachments(TUNED)
    return bare


def tuned_state_of(model) -> TunedState | None:
    """The tuned state that a ModelPatcher carries, or None."""
    return model.get_attachment(TUNED)
