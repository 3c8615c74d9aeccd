"""The pictures that are to be written, one after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from .frames import Placement, place
from .running import Progress, heed_cancel


@dataclass(frozen=True)
class Movie:
    """Images [n, H, W, 3 or 4] in the order of `indices`, with others to their left if given, scaled to `size` (width,
    height) where theirs is another."""

    images: torch.Tensor
    beside: torch.Tensor | None
    indices: tuple[int, ...]
    size: tuple[int, int]
    rate: Fraction

    def pictures(self, bits: int = 8) -> Iterator[np.ndarray]:
        """RGB [H, W, 3] of 8 or 16 bits, one after the other; cancels where ComfyUI is told to."""
        progress = Progress(len(self.indices))
        for index in self.indices:
            heed_cancel()
            picture = self.images[index][..., :3].float().cpu()
            if self.beside is not None:
                picture = torch.cat((self.beside[index][..., :3].float().cpu(), picture), dim=1)
            if picture.shape[1::-1] != self.size:
                picture = place(picture.clamp(0, 1), Placement(self.size, self.size))
            yield _to_numbers(picture, bits)
            progress.step()


def order(count: int, step: int, ping_pong: bool) -> tuple[int, ...]:
    """Which images are shown: every `step`th, and back again.

    >>> order(4, 1, True), order(4, 2, False)
    ((0, 1, 2, 3, 2, 1), (0, 2))
    """
    there = tuple(range(0, count, step))
    return there + there[-2:0:-1] if ping_pong else there


def _to_numbers(picture: torch.Tensor, bits: int) -> np.ndarray:
    """The nearest whole numbers, so that reading them gives the picture back exactly."""
    most = 2**bits - 1
    return picture.mul(most).round_().clamp_(0, most).numpy().astype(np.uint8 if bits == 8 else np.uint16)
