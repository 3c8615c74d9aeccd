"""Frames as ComfyUI passes them (IMAGE: [n, height, width, 3], 0..1): checking them, and fitting them to a size."""

import math
from typing import NamedTuple

import numpy as np
import psutil
import torch
import torch.nn.functional as F

FITS = ("crop", "pad", "stretch")

# FFmpeg's flags bicubic, accurate rounding and full chroma. Its defaults make colours 1/255 too dark on the average.
ACCURATE_COLORS = 0x4 | 0x40000 | 0x2000

_ROUNDING = {"crop": math.floor, "pad": math.ceil, "stretch": round}


class Placement(NamedTuple):
    """Where a picture goes: scaled to `scaled`, then cut or padded around its middle to `target`; (width, height)."""

    scaled: tuple[int, int]
    target: tuple[int, int]


def placement(source: tuple[int, int], size: tuple[int, int], fit: str, grid: int) -> Placement:
    """How a picture of size `source` fits `size` (width, height in pixels) on a grid.

    A zero in `size` is derived from the other number and the source's aspect; two zeros keep the source's scale. Each
    side of the target is a multiple of `grid`: the one below for crop, above for pad and the nearest for stretch.
    """
    wanted = size
    if 0 in size:
        width, height = size
        if width:
            wanted = (width, width * source[1] / source[0])
        elif height:
            wanted = (height * source[0] / source[1], height)
        else:
            wanted = source
    target = tuple(max(grid, grid * _ROUNDING[fit](side / grid)) for side in wanted)
    if fit == "stretch":
        return Placement(target, target)
    scales = [target[0] / source[0], target[1] / source[1]]
    if size == (0, 0):
        scales.append(1.0)
    cover = fit == "crop"
    scale, bound = (max(scales), max) if cover else (min(scales), min)
    scaled = tuple(max(1, bound(round(side * scale), limit)) for side, limit in zip(source, target))
    return Placement(scaled, target)


def place(picture: torch.Tensor, where: Placement) -> torch.Tensor:
    """A picture [H, W, 3] scaled, then cut or padded with black around its middle; values 0..1.

    Returns [target height, target width, 3]. Resamples with PyTorch's antialiased bicubic filter, and not at all where
    the scale is 1, so that such pixels stay as they were.
    """
    picture = picture.movedim(-1, 0)
    (width, height), (target_width, target_height) = where
    if picture.shape[1:] != (height, width):
        picture = F.interpolate(picture[None], (height, width), mode="bicubic", antialias=True)[0].clamp(0, 1)
    left, top = (target_width - width) // 2, (target_height - height) // 2
    picture = F.pad(picture, (left, target_width - width - left, top, target_height - height - top))
    return picture.movedim(0, -1)


def to_float(pixels: np.ndarray) -> torch.Tensor:
    """8-bit pixels as float32 0..1."""
    return torch.from_numpy(pixels).float().div_(255)


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """A picture [H, W, 3 or 4] of 0..1 as 8-bit RGB; the nearest value, so that `to_float` is undone exactly."""
    pixels = image[..., :3].float().mul(255).round_().clamp_(0, 255)
    return pixels.to("cpu", torch.uint8).contiguous().numpy()


def allocate(
    count: int, size: tuple[int, int], node: str, advice: str = "choose a smaller 'count', 'width' or 'height'"
) -> torch.Tensor:
    """Room for `count` frames of size (width, height), refused when it does not fit in the free memory."""
    needed, free = count * size[0] * size[1] * 3 * 4, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"{node}: {count} frames of {size[0]}x{size[1]} need {needed / 1e9:.1f} GB but "
            f"{free / 1e9:.1f} GB of memory are free; {advice}."
        )
    return torch.empty(count, size[1], size[0], 3)


def check_images(images: torch.Tensor, node: str, name: str) -> None:
    """Refuses, in the user's words, what is not a clip: [n >= 1, height, width, 3 or 4] of finite numbers."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[3] not in (3, 4) or 0 in shape:
        raise ValueError(
            f"{node}: '{name}' has the shape {list(shape)}; expected frames, height, width and 3 colours; "
            "connect an IMAGE with at least one frame."
        )
    for index, image in enumerate(images):
        if not torch.isfinite(image).all():
            raise ValueError(
                f"{node}: '{name}' has invalid numbers (NaN or infinite) in frame {index}; look for the "
                "node that made them, often a VAE or model running in half precision."
            )


def check_same_size(images: torch.Tensor, name: str, other: torch.Tensor, other_name: str, node: str) -> None:
    """Refuses, in the user's words, two clips that differ in length or size."""
    if images.shape[:3] != other.shape[:3]:
        raise ValueError(
            f"{node}: '{other_name}' has {_describe(other)} but '{name}' has {_describe(images)}; connect "
            "clips of the same length and size."
        )


def _describe(images: torch.Tensor) -> str:
    count, height, width = images.shape[:3]
    return f"{count} frame{'s' * (count > 1)} of {width}x{height}"
