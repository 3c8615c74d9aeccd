"""Whether an edit shows, frame by frame: in colours, in small areas such as a new outline, and in texture."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from .metrics import cell_sizes, check_clips, inside_cells, mean_of_most

# A measure at its limit shows. Chosen on the demo world's true edits (200 scenes) and on what is no edit (150 clips
# through the VAE, 14 with their own prompt sampled at guidance 4, 14 at 7.5), where colours alone had missed 45 % of
# new shapes and all mosaics. Colours: true edits 5 to 229, what is no edit up to 31, at guidance 7.5 up to 54.
LITTLE_CHANGE = 40 / 255
# 90 % of new shapes, 94 % of removals and all new colours have more, what is no edit up to 49 (of other scenes 1
# of 304 had more), at guidance 7.5 in the median 52: there the demo model burns outlines, which can be seen.
LITTLE_AREA = 52 / 255
# 95 % of true mosaics 4 to 46, what is no edit up to 1.8, at guidance 7.5 in the median 2.7 and up to 6.5.
LITTLE_TEXTURE = 3.5 / 255
# A frame without the edit has less than this of the frame that shows most; frames of 240 true edits had 0.6 or more.
OF_STRONGEST = 0.6
COLOUR_SHARE, AREA_SHARE = 0.05, 0.002
FINE, THICK, TILE = 2, 3, 8  # pixels, places of FINE, pixels


class VisibleChange(NamedTuple):
    """How much each frame changed, [n] of 0..1; NaN where the mask is empty.

    colours: As `metrics.strongest_change`, by frame; areas: as `area_change`; texture: as `new_texture`; cells: the
    change of each 8x8 cell of the whole picture, [n, h, w].
    """

    colours: torch.Tensor
    areas: torch.Tensor
    texture: torch.Tensor
    cells: torch.Tensor

    def strength(self, with_texture: bool = True) -> torch.Tensor:
        """How much of what shows each frame has, [n]; from 1 on it shows."""
        kinds = [self.colours / LITTLE_CHANGE, self.areas / LITTLE_AREA]
        return torch.stack([*kinds, *[self.texture / LITTLE_TEXTURE] * with_texture]).amax(dim=0)

    def frames_without(self, with_texture: bool = True) -> torch.Tensor:
        """Frames in which an edit that shows in others does not, [k] of indices."""
        strength = self.strength(with_texture)
        most = strength[torch.isfinite(strength)].max(dim=0).values if torch.isfinite(strength).any() else 0
        return ((strength < 1) & (strength < OF_STRONGEST * most)).nonzero().flatten() if most >= 1 else torch.zeros(0)


def visible_change(before: torch.Tensor, after: torch.Tensor, region: torch.Tensor | None = None) -> VisibleChange:
    """What shows in each frame.

    Args:
        before: [n, H, W, 3] of 0..1.
        after: The same.
        region: [1 or n, H, W] of 0..1; None for the whole picture.

    Raises:
        ValueError: For sizes that differ and for numbers that are not finite.
    """
    check_clips(before, after, region)
    rows, cells = [], []
    for index, (old, new) in enumerate(zip(before, after)):  # a long clip has no room for copies of it
        inside = None if region is None else region[index % len(region)]
        changed = cell_sizes(new.float() - old.float())
        most = mean_of_most(inside_cells(changed, inside), COLOUR_SHARE)
        rows.append((most, area_change(old, new, inside), new_texture(old, new, inside)))
        cells.append(changed.cpu())
    colours, areas, texture = torch.tensor(rows).T
    return VisibleChange(colours, areas, texture, torch.stack(cells))


def area_change(old: torch.Tensor, new: torch.Tensor, region: torch.Tensor | None = None) -> float:
    """How much a frame changed in the small areas that changed most: a moved outline counts, thin lines do not.

    The difference of the colours is averaged over 2x2 pixels, its size in the channel of most taken, and of each 3x3 of
    those the least; the mean of the 0.2 % of the places that have most. A VAE loses lines and texture, not areas.

    Args:
        old: [H, W, 3] of 0..1.
        new: The same.
        region: [H, W] of 0..1; None for the whole picture.

    Returns:
        0..1; NaN for an empty region.
    """
    difference = (new.float() - old.float()).movedim(-1, 0).contiguous()
    fine = min(FINE, *old.shape[:2])
    size = F.avg_pool2d(difference, fine).abs().amax(dim=0)
    thick = min(THICK, *size.shape)
    least = -F.max_pool2d(-size[None], thick, 1)[0]
    if region is not None:
        inside = F.avg_pool2d(F.avg_pool2d(region.to(old).float()[None], fine), thick, 1)[0]
        least = least[inside >= 0.5]
    return mean_of_most(least.flatten(), AREA_SHARE)


def new_texture(old: torch.Tensor, new: torch.Tensor, region: torch.Tensor | None = None) -> float:
    """How much texture a frame has that it did not have: tiles, strokes, lines.

    In tiles of 8x8, what is left of the new one's deviation when the old one's is fitted to it
    (a least-squares factor, none below 0), beyond the old one's own: a texture that a VAE has only blurred or
    scrambled leaves nothing. Mean over the tiles.

    Args:
        old: [H, W, 3] of 0..1.
        new: The same.
        region: [H, W] of 0..1; None for the whole picture.

    Returns:
        0..1; NaN for an empty region.
    """
    tile = min(TILE, *old.shape[:2])
    before, after = (image.float().movedim(-1, 0).contiguous() for image in (old, new))

    def mean(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(values, tile)

    def product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (mean(first * second) - mean(first) * mean(second)).mean(dim=0).clamp_min(0)

    had = product(before, before)
    left = product(after, after) - product(before, after) ** 2 / had.clamp_min(1e-8)
    gained = (left - had).clamp_min(0).sqrt()
    if region is not None:
        gained = gained[mean(region.to(old).float()[None])[0] >= 0.5]
    return float(gained.mean())
