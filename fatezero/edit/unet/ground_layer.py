"""Of the room of a new thing, what is ground: that goes with the clip's ground, and not with the thing.

Where the old thing was and the new one is not, ground comes. Moved along with the thing it would flicker.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ...masks.ground_motion import surrounding_motion
from .ways import REACH, moved, ways_between_frames

ROUNDS = 3  # in which thing and ground are told apart, each better than before
KNOWN = 0.05  # of a frame: where the frames around show less of the ground, nothing tells how it is
FITS = 0.5  # of the clip's variance: how far a ground that fits may be from the frame's
DRAWN = 0.1  # what a place counts where the model draws the ground, beside 1 where another frame shows it
SAME = 1e-4  # of the variance: pictures that differ by less are the same


class Ground(NamedTuple):
    """The ground around a thing's room, and its way through the clip.

    ways: as of `ways_between_frames`; fits: in which of those frames it looks as in the frame itself,
    [2 REACH + 1, n] of 0 and 1; other_rooms: where other things come, or stay beside one that goes, of which nothing is
    taken, [n, h, w] of 0..1.
    """

    ways: torch.Tensor
    fits: torch.Tensor
    other_rooms: torch.Tensor


def ground_around(latent: torch.Tensor, room: torch.Tensor, other_rooms: torch.Tensor, device: torch.device) -> Ground:
    """The ground around a thing's room.

    A fine texture is finer than the latent's cells, and its motion may be found wrong: a frame counts only where it
    fits.

    Args:
        latent: The clip's, [n, c, h, w].
        room: Where the thing may be, [n, h, w] of 0..1.
        other_rooms: Where others may be, likewise.
        device: Where the ground is needed.

    Returns:
        The ground, on the device.
    """
    motion, places = surrounding_motion(latent, room, other_rooms)
    ways, fits = ways_between_frames(motion, room.shape[-2], room.shape[-1])
    latent = latent.float().cpu().nan_to_num(posinf=0, neginf=0)
    both = torch.cat([latent, places[:, None]], dim=1)
    contrast = latent.var(dim=(2, 3), correction=0).mean()
    for slot, way in enumerate(ways):
        others = moved(both, way, slot, "bilinear", "zeros")
        where = others[:, -1] * places
        unlike = ((others[:, :-1] - latent).square().mean(dim=1) * where).sum(dim=(1, 2))
        fits[slot] *= unlike < FITS * contrast * where.sum(dim=(1, 2))
    return Ground(ways.to(device), fits.to(device), other_rooms.to(device))


def thing_and_ground(
    clip: torch.Tensor, along_thing: Callable[[torch.Tensor], torch.Tensor], room: torch.Tensor, ground: Ground
) -> torch.Tensor:
    """A room in which the thing goes its way, and the ground its own.

    A place belongs to what it looks like: to the thing as frames have it along the thing's way, or to the ground as
    they have it along the ground's.

    Args:
        clip: What the model predicts, float32 [n, c, h, w].
        along_thing: The mean over the frames around, each moved as the thing moves; a clip to a clip.
        room: Where the thing may be, [n, h, w] of 0..1.
        ground: The ground around.

    Returns:
        [n, c, h, w], of use in the room alone.
    """
    thing = along_thing(clip)
    same = (SAME * clip.nan_to_num(posinf=0, neginf=0).var()).clamp_min(1e-12)
    share = 0.5 * (room > 0).float()[:, None]
    for _ in range(ROUNDS):
        behind, known = ground_behind(clip, share, room, ground)
        off_thing, off_ground = ((mean_square(clip - layer) + same).square() for layer in (thing, behind))
        share = torch.where(known, off_ground / (off_ground + off_thing), 1)
    share = F.max_pool2d(share, 3, stride=1, padding=1)  # the thing's edge is the thing's, else it trembles
    return torch.lerp(behind, thing, along_thing(share).clamp(0, 1))


def uncovered(clip: torch.Tensor, room: torch.Tensor, ground: Ground) -> torch.Tensor:
    """A room whose thing goes, with the ground as the frames around show it, or else as the model draws it in all of
    them. Where another thing is in one of these, nobody knows what is behind, and the room stays as it was. Arguments
    and result as of `thing_and_ground`."""
    behind, _ = ground_behind(clip, (1 - DRAWN) * (room > 0).float()[:, None], room, ground)
    things = ground.other_rooms[:, None]
    passing = sum(
        fits[:, None, None, None] * moved(things, ways, slot, "bilinear", "zeros")
        for slot, (ways, fits) in enumerate(zip(ground.ways, ground.fits))
    )
    return torch.where(passing > KNOWN, clip, behind)


def ground_behind(
    clip: torch.Tensor, share: torch.Tensor, room: torch.Tensor, ground: Ground
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ground as the frames around show it, and where enough of them do, bool [n, 1, h, w]; elsewhere it is the
    clip. Arguments as of `thing_and_ground`; share: the thing's, as far as it is known, [n, 1, h, w]."""
    free = 1 - torch.maximum(share * (room > 0)[:, None], ground.other_rooms[:, None])
    layers = torch.cat([clip * free, free], dim=1)
    around = torch.zeros_like(layers)
    for slot, (ways, fits) in enumerate(zip(ground.ways, ground.fits)):
        if slot != REACH:
            around += fits[:, None, None, None] * moved(layers, ways, slot, "bilinear")
    known = around[:, -1:] > KNOWN
    total = around + layers
    return torch.where(known, total[:, :-1] / total[:, -1:].clamp_min(KNOWN), clip), known


def mean_square(difference: torch.Tensor) -> torch.Tensor:
    """The mean square of a difference [n, c, h, w] over its channels and the cells next to each, [n, 1, h, w]."""
    square = difference.square().mean(dim=1, keepdim=True)
    return F.avg_pool2d(square, 3, stride=1, padding=1, count_include_pad=False)
