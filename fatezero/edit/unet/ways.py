"""Where each frame's part of a thing or a ground lies in the frames around it."""

import torch
import torch.nn.functional as F

from ...masks.motion import Motion

REACH = 4  # frames before and after a frame


def ways_between_frames(motion: Motion, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ways of a motion through a clip.

    Args:
        motion: Of n frames.
        height, width: The pictures', in cells.

    Returns:
        Where each frame's part lies in the frame REACH before, ..., in itself, ..., REACH after it, as `affine_grid`
        takes it, [2 REACH + 1, n, 2, 3]; and which of those frames there are and show it, [2 REACH + 1, n] of 0 and 1.
    """
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


def moved(
    clip: torch.Tensor, ways: torch.Tensor, slot: int, mode: str = "bicubic", beyond: str = "border"
) -> torch.Tensor:
    """The frames at a slot from each of a clip [n, c, h, w], each moved to where that has the part; at the clip's ends
    other frames come round, whose weight is 0. mode, beyond: how it is sampled, and what lies outside the picture."""
    others = clip.roll(REACH - slot, dims=0)
    grid = F.affine_grid(ways, list(others.shape), align_corners=False)
    return F.grid_sample(others, grid, mode=mode, padding_mode=beyond, align_corners=False)
