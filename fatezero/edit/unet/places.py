"""Where an edit keeps its own attention: masks of the whole clip, made once a step.

A layer that made its own would make a GPU wait, since whether a mask is empty is known on the CPU alone.
"""

from dataclasses import dataclass, replace

import torch

from ...masks.mask_pictures import resize_mask
from ...network.attention_layers import CROSS, SELF
from ...network.frame_chunks import ActiveChunk
from ...network.unet.layer_sizes import layer_areas
from ...prompts.edit_kind import own_words
from ...prompts.prompt_edit import PromptEdit
from ..edit_mask import edit_mask
from ..settings import NO_MASK, BlendSettings, reads_words


@dataclass(frozen=True)
class ClipMask:
    """A mask of the clip, [n, height, width] of 0..1, and for each frame whether anything is in it."""

    mask: torch.Tensor
    filled: tuple[bool, ...]

    def of(self, active: ActiveChunk) -> torch.Tensor | None:
        """A chunk's frames of it, [b, height, width]; None where it is empty in all of them."""
        if not any(self.filled[frame] for frame in active.frames):
            return None
        return self.mask if len(active.chunks) == 1 else self.mask[active.chunk.index]


# A thing's new words, as positions in the target prompt, and its masks by their sizes.
ThingPlaces = tuple[tuple[int, ...], dict[tuple[int, int], ClipMask]]


class Places:
    """The masks of one run.

    sizes: (height, width) of the layers that are masked, as far as the network tells; another node may bring others.
    """

    def __init__(self, diffusion_model, size: tuple[int, int], frames: int, edit: PromptEdit, settings: BlendSettings):
        """size: the latent's; the other arguments as of the run."""
        self.edit, self.settings, self.frames = edit, settings, frames
        kinds = {SELF} if settings.mask_self_attention or settings.mask_uncovers else set()
        kinds |= {CROSS} if settings.new_words_until else set()
        areas = {area for layer, area, _ in layer_areas(diffusion_model, *size) if layer.kind in kinds}
        self.sizes = set() if settings.mask_from == NO_MASK else areas
        self.fitted: dict[tuple[int, int], BlendSettings] = {}
        self.known: dict[tuple[int, int], ClipMask] = {}
        self.things: tuple[ThingPlaces, ...] = ()

    def at_size(self, size: tuple[int, int], device: torch.device) -> BlendSettings:
        """The run's settings with the person's mask resized and on the device: it is sent there once."""
        if self.settings.mask is None:
            return self.settings
        if size not in self.fitted:
            self.fitted[size] = replace(self.settings, mask=resize_mask(self.settings.mask, size).to(device))
        return self.fitted[size]

    def at_step(self, device: torch.device, source_words: torch.Tensor | None) -> dict[tuple[int, int], ClipMask]:
        """The masks of a step by their sizes, of those that are known before its layers run.

        source_words: the source's word maps of the clip at this step, [n, T, h, w], where they are known.
        """
        if not self.sizes or (reads_words(self.settings) and source_words is None):
            return {}
        if reads_words(self.settings) or not self.known:
            frames = range(self.frames)
            masks = {
                size: edit_mask(self.at_size(size, device), self.edit, size, frames, device, source_words)
                for size in self.sizes
            }
            self.known = with_filled({size: mask for size, mask in masks.items() if mask is not None})
        return self.known

    def of_things(self, device: torch.device) -> "tuple[ThingPlaces, ...]":
        """Of things that each see their own words, these and the masks by their sizes; the same at each step."""
        masks = self.settings.thing_masks
        if masks is not None and not self.things:
            places = [{size: resize_mask(mask, size).to(device) for size in self.sizes} for mask in masks]
            self.things = tuple(zip(own_words(self.edit), map(with_filled, places)))
        return self.things


def with_filled(masks: dict[tuple[int, int], torch.Tensor]) -> dict[tuple[int, int], ClipMask]:
    """Masks [n, height, width] as ClipMasks, whose frames are looked at together: a GPU waits once."""
    if not masks:
        return {}
    filled = torch.stack([mask.flatten(1).any(dim=1) for mask in masks.values()]).tolist()
    return {size: ClipMask(mask, tuple(row)) for (size, mask), row in zip(masks.items(), filled)}
