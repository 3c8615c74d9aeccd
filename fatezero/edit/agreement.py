"""Frames that agree on what is new: what the model predicts there is the mean of the frames around, each moved as the
thing or the ground moves that was there before.

Left to itself each frame draws a shape of its own, and the outline trembles.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..masks.mask_pictures import resize_mask
from ..masks.motion import Motion, ground_motion, parts_of, thing_motion
from .settings import INPUT_MASK, BlendSettings

REACH = 4  # frames before and after a frame that it agrees with
MOST = 0.5  # of the frames, and of the way from the ground's look to the thing's
LIKE, UNLIKE = 0.25, 0.75  # how far two frames' looks differ where they agree wholly, and not at all


class Part(NamedTuple):
    """One connected part of a mask and its way through the clip.

    mask: [n, h, w] of 0..1; ways: [2 REACH + 1, n, 2, 3], where each frame's part lies in the frame REACH before, ...,
    in itself, ..., REACH after it, as `affine_grid` takes it; weights: what is taken of those,
    [2 REACH + 1, n, h, w], in half precision, since a long clip has many.
    """

    mask: torch.Tensor
    ways: torch.Tensor
    weights: torch.Tensor


def parts_with_ways(latent: torch.Tensor, settings: BlendSettings, device: torch.device) -> list[Part]:
    """The parts of an edit's mask and their ways through the clip.

    Args:
        latent: The clip's, [n, c, h, w].
        settings: The mask, and whether it is the ground's, which is one part.
        device: Where the parts are needed.

    Returns:
        Each with its way, on the device; none where the mask is not known before the run, or with a single frame.
    """
    if settings.mask_from != INPUT_MASK or settings.mask is None or len(latent) == 1:
        return []
    size = (latent.shape[-2], latent.shape[-1])
    mask = resize_mask(settings.mask, size).float().cpu().expand(len(latent), *size)
    is_ground = settings.mask_is_ground
    parts = []
    for part in [mask] if is_ground else parts_of(mask):
        motion = (ground_motion if is_ground else thing_motion)(latent, part)
        ways, seen = ways_between_frames(motion, *size)
        parts.append(
            Part(part.to(device), ways.to(device), weights_of(part, ways, seen, motion.looks).half().to(device))
        )
    return parts


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


def ways_between_frames(motion: Motion, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`ways` of a Part for pictures of a height and width in cells, and which of those frames there are and show it,
    [2 REACH + 1, n] of 0 and 1."""
    frames = len(motion.runs)
    to_cells = torch.tensor([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]]).double()
    of_picture = torch.linalg.inv(to_cells)
    ways = torch.eye(2, 3).repeat(2 * REACH + 1, frames, 1, 1)
    seen = torch.zeros(2 * REACH + 1, frames)
    for frame, run in enumerate(motion.runs):
        for slot in range(2 * REACH + 1):
            other = frame + slot - REACH
            if 0 <= other < frames and motion.runs[other] == run:
                way = torch.linalg.solve(motion.poses[other], motion.poses[frame])
                ways[slot, frame] = (of_picture @ way @ to_cells)[:2]
                seen[slot, frame] = 1
    return ways, seen


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


def moved(
    clip: torch.Tensor, ways: torch.Tensor, slot: int, mode: str = "bicubic", beyond: str = "border"
) -> torch.Tensor:
    """The frames at a slot from each of a clip [n, c, h, w], each moved to where that has the part; at the clip's ends
    other frames come round, whose weight is 0. mode, beyond: how it is sampled, and what lies outside the picture."""
    others = clip.roll(REACH - slot, dims=0)
    grid = F.affine_grid(ways, list(others.shape), align_corners=False)
    return F.grid_sample(others, grid, mode=mode, padding_mode=beyond, align_corners=False)


def agreed(denoised: torch.Tensor, parts: list[Part]) -> torch.Tensor:
    """A clip whose frames agree in some parts.

    Args:
        denoised: The clean latent that the model predicts, [n, c, h, w].
        parts: Where.

    Returns:
        [n, c, h, w]; outside the parts as it was.
    """
    for part in parts:
        mask = part.mask[:, None]
        denoised = torch.lerp(denoised, mean_over_frames(denoised, part), mask.to(denoised))
    return denoised


def mean_over_frames(clip: torch.Tensor, part: Part) -> torch.Tensor:
    """Of a clip [n, c, h, w] the mean of what frames have in a part, where each frame has it."""
    total = torch.zeros_like(clip, dtype=torch.float32)
    weights = torch.zeros_like(part.mask)
    for slot, (ways, weight) in enumerate(zip(part.ways, part.weights)):
        total += weight[:, None] * (clip.float() if slot == REACH else moved(clip.float(), ways, slot))
        weights += weight
    return (total / weights[:, None]).to(clip)
