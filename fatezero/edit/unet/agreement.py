"""Frames that agree on what is new: what the model predicts there is the mean of the frames around, each moved as the
thing or the ground moves that was there before.

Left to itself each frame draws a shape of its own, and the outline trembles. What a new thing leaves free of its room
is ground, and goes with the clip's (`ground_layer`).
"""

from functools import partial
from typing import NamedTuple

import torch

from ...masks.ground_motion import ground_motion
from ...masks.mask_pictures import resize_mask
from ...masks.motion import Motion, parts_of, thing_motion
from ..settings import INPUT_MASK, BlendSettings
from .ground_layer import Ground, ground_around, thing_and_ground, uncovered
from .ways import REACH, moved, ways_between_frames

MOST = 0.5  # of the frames, and of the way from the ground's look to the thing's
LIKE, UNLIKE = 0.25, 0.75  # how far two frames' looks differ where they agree wholly, and not at all


class Part(NamedTuple):
    """One connected part of a mask and its way through the clip.

    mask: [n, h, w] of 0..1; ways: as of `ways_between_frames`; weights: what is taken of those frames,
    [2 REACH + 1, n, h, w], in half precision, since a long clip has many; ground: what is around a thing, or None
    where the part is the ground itself; goes: whether the thing goes.
    """

    mask: torch.Tensor
    ways: torch.Tensor
    weights: torch.Tensor
    ground: Ground | None
    goes: bool = False


def parts_with_ways(
    latent: torch.Tensor, settings: BlendSettings, device: torch.device, things: torch.Tensor | None = None
) -> list[Part]:
    """The parts of an edit's mask and their ways through the clip.

    Args:
        latent: The clip's, [n, c, h, w].
        settings: The mask, and whether it is the ground's, which is one part.
        device: Where the parts are needed.
        things: Where things are that stay beside one that goes, [n, h, w] of 0..1.

    Returns:
        Each with its way, on the device; none where the mask is not known before the run, or with a single frame.
    """
    if settings.mask_from != INPUT_MASK or settings.mask is None or len(latent) == 1:
        return []
    size = (latent.shape[-2], latent.shape[-1])
    mask = resize_mask(settings.mask, size).float().cpu().expand(len(latent), *size)
    if settings.mask_is_ground:
        return [part_with_way(mask, ground_motion(latent, mask), None, device)]
    parts = []
    for part in parts_of(mask):
        others = mask - part if things is None else torch.maximum(mask - part, things)
        ground = ground_around(latent, part, others, device)
        parts.append(part_with_way(part, thing_motion(latent, part), ground, device))
    return [part._replace(goes=settings.mask_uncovers) for part in parts]


def part_with_way(mask: torch.Tensor, motion: Motion, ground: Ground | None, device: torch.device) -> Part:
    """A Part on a device; arguments as there, on the CPU but for the ground."""
    ways, seen = ways_between_frames(motion, mask.shape[-2], mask.shape[-1])
    weights = weights_of(mask, ways, seen, motion.looks).half()
    return Part(mask.to(device), ways.to(device), weights.to(device), ground)


def steadied(room: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """A thing's room, found in each frame by itself, as most of the frames around have it along the thing's way; and
    all that looks like the thing in a frame.

    Args:
        room: [n, h, w] of 0 and 1.
        latent: The clip's, [n, c, h, w].

    Returns:
        Like the room; what is not followed stays as it was.
    """
    parts = parts_of(room)
    steady = room - sum(parts)
    for part in parts:
        motion = thing_motion(latent, part)
        ways, seen = ways_between_frames(motion, part.shape[-2], part.shape[-1])
        both = torch.stack([part, torch.ones_like(part)], dim=1)
        found, there = sum(
            is_seen[:, None, None, None] * moved(both, way, slot, "bilinear", "zeros")
            for slot, (way, is_seen) in enumerate(zip(ways, seen))
        ).unbind(dim=1)
        most = found > MOST * there
        own = part > 0 if motion.looks is None else (part > 0) & (motion.looks > MOST)
        steady = torch.maximum(steady, (most | own).to(room))
    return steady


def weights_of(mask: torch.Tensor, ways: torch.Tensor, seen: torch.Tensor, looks: torch.Tensor | None) -> torch.Tensor:
    """`weights` of a Part: 1 for the frame itself, and of others where they have the part and look there as it does,
    so that what moves by itself, such as legs, is not blurred. Arguments as of a Part, a Motion and `seen`."""
    weights = torch.zeros(*seen.shape, *mask.shape[-2:])
    inside = (mask > 0).float()
    for slot, (way, is_seen) in enumerate(zip(ways, seen)):
        weight = moved(inside[:, None], way, slot, "bilinear", "zeros")[:, 0] * is_seen[:, None, None]
        if looks is not None:
            unlike = (moved(looks[:, None], way, slot, "bilinear")[:, 0] - looks).abs()
            weight *= ((UNLIKE - unlike) / (UNLIKE - LIKE)).clamp(0, 1)
        weights[slot] = weight
    weights[REACH] = 1
    return weights


def agreed(denoised: torch.Tensor, parts: list[Part]) -> torch.Tensor:
    """A clip whose frames agree in some parts.

    Args:
        denoised: The clean latent that the model predicts, [n, c, h, w].
        parts: Where.

    Returns:
        [n, c, h, w]; outside the parts as it was.
    """
    clip = denoised.float()
    for part in parts:
        mean = mean_of_part(clip, part)
        mask = part.mask[:, None].to(denoised)
        denoised = torch.where(mask > 0, torch.lerp(denoised, mean.to(denoised), mask), denoised)
    return denoised


def mean_of_part(clip: torch.Tensor, part: Part) -> torch.Tensor:
    """What the frames around say of a part, in a clip, float32 [n, c, h, w]; of use in the part alone."""
    along_part = partial(mean_over_frames, part=part)
    if part.ground is None:
        return along_part(clip)
    if part.goes:
        return uncovered(clip, part.mask, part.ground)
    return thing_and_ground(clip, along_part, part.mask, part.ground)


def mean_over_frames(clip: torch.Tensor, part: Part) -> torch.Tensor:
    """Of a clip, float32 [n, c, h, w], the mean of what frames have in a part, where each frame has it."""
    total = torch.zeros_like(clip)
    weights = torch.zeros_like(part.mask)
    for slot, (ways, weight) in enumerate(zip(part.ways, part.weights)):
        total += weight[:, None] * (clip if slot == REACH else moved(clip, ways, slot))
        weights += weight
    return total / weights[:, None]
