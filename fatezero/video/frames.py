"""Frames as ComfyUI passes them (IMAGE: [n, height, width, 3], 0..1): checking them, and fitting them to a size."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ..refusal import Refusal, counted
from .sizes import LITTLE, cut, size_of_side

FITS = ("crop", "pad", "stretch")
MOST_LEFT_OUT = 7  # frames, by the VAE of a video model: LTX-Video keeps 1 + 8 k, Wan 1 + 4 k

# FFmpeg's flags bicubic, accurate rounding and full chroma. Its defaults make colours 1/255 too dark on the average.
ACCURATE_COLORS = 0x4 | 0x40000 | 0x2000


class Placement(NamedTuple):
    """Where a picture goes: scaled to `scaled`, then cut or padded around its middle to `target`; (width, height)."""

    scaled: tuple[int, int]
    target: tuple[int, int]


def placement(source: tuple[int, int], size: tuple[int, int], fit: str, grid: int) -> Placement:
    """How a picture fits a size.

    Args:
        source: The picture's (width, height) in pixels.
        size: The wanted (width, height). A zero is derived from the other number and the source's aspect; two zeros
            keep the source's scale.
        fit: One of `FITS`.
        grid: Each side of the target is a multiple of this: for crop the one below, or for a derived side the one at
            which least is cut off (`size_of_side`); above for pad and the nearest for stretch.

    Returns:
        The placement; its scaled size covers the target (crop), fits in it (pad) or is it (stretch).
    """
    if fit == "crop" and (size[0] == 0) != (size[1] == 0):
        size = size_of_side(source, size, grid)
    target = (_on_grid(_wanted(source, size)[0], fit, grid), _on_grid(_wanted(source, size)[1], fit, grid))
    if fit == "stretch":
        return Placement(target, target)
    scales = [target[0] / source[0], target[1] / source[1]]
    if size == (0, 0):
        scales.append(1.0)
    if fit == "crop":
        width, height = (max(round(side * max(scales)), limit) for side, limit in zip(source, target))
    else:
        width, height = (min(round(side * min(scales)), limit) for side, limit in zip(source, target))
    return Placement((max(1, width), max(1, height)), target)


def what_is_lost(source: tuple[int, int], where: Placement) -> str:
    """What a person should know of a fit, such as "0 % cut"; `is_much` tells whether it is worth a sentence."""
    share, kind = _lost(source, where)
    return {"cut": "{} % cut", "bars": "{} % bars", "stretched": "{} % stretched"}[kind].format(round(100 * share))


def is_much(source: tuple[int, int], where: Placement) -> bool:
    """Whether more than a little is cut off, or distorted."""
    share, kind = _lost(source, where)
    return share > LITTLE and kind != "bars"


def _lost(source: tuple[int, int], where: Placement) -> tuple[float, str]:
    (width, height), target = where
    if target[0] * target[1] < width * height:
        return 1 - target[0] * target[1] / (width * height), "cut"
    if target[0] * target[1] > width * height:
        return 1 - width * height / (target[0] * target[1]), "bars"
    distorted = cut(source, target)
    return (distorted, "stretched") if distorted > LITTLE else (0.0, "cut")


def smaller(where: Placement, side: int) -> Placement:
    """The same fit in a picture that measures at most `side` pixels."""
    scale = min(1.0, side / max(where.target))
    if scale == 1.0:
        return where
    sizes = [(max(1, round(width * scale)), max(1, round(height * scale))) for width, height in where]
    return Placement(*sizes)


def _wanted(source: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    width, height = size
    if width and height:
        return size
    if width:
        return width, width * source[1] / source[0]
    if height:
        return height * source[0] / source[1], height
    return source


def _on_grid(side: float, fit: str, grid: int) -> int:
    steps = side / grid
    rounded = math.floor(steps) if fit == "crop" else math.ceil(steps) if fit == "pad" else round(steps)
    return max(grid, grid * rounded)


def place(picture: torch.Tensor, where: Placement, bars: float = 0.0) -> torch.Tensor:
    """A picture scaled, then cut or padded around its middle.

    Resamples with PyTorch's antialiased bicubic filter, and not at all where the scale is 1, so that such pixels stay
    as they were. One colour after the other, which keeps the memory for large pictures low.

    Args:
        picture: [H, W, colours] of 0..1.
        where: From `placement`.
        bars: The value of the bars where it is padded; 0 is black.

    Returns:
        [target height, target width, colours].
    """
    return torch.stack([_placed(channel, where, bars) for channel in picture.unbind(-1)], dim=-1)


def _placed(channel: torch.Tensor, where: Placement, bars: float) -> torch.Tensor:
    (width, height), (target_width, target_height) = where
    if channel.shape != (height, width):
        channel = F.interpolate(channel[None, None], (height, width), mode="bicubic", antialias=True)[0, 0].clamp(0, 1)
    left, top = (target_width - width) // 2, (target_height - height) // 2
    edges = (left, target_width - width - left, top, target_height - height - top)
    return F.pad(channel, edges, value=bars)


def to_float(pixels: np.ndarray) -> torch.Tensor:
    """8-bit pixels as float32 0..1."""
    return torch.from_numpy(pixels).float().div_(255)


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """A picture [H, W, 3 or 4] of 0..1 as 8-bit RGB; the nearest value, so that `to_float` is undone exactly."""
    pixels = image[..., :3].float().mul(255).round_().clamp_(0, 255)
    return pixels.to("cpu", torch.uint8).contiguous().numpy()


def check_images(images: torch.Tensor, name: str) -> None:
    """Refuses, in the user's words, what is not a clip.

    Args:
        images: What came over the wire; a clip is [n >= 1, height, width, 3 or 4] of finite numbers.
        name: The input, as on the node.

    Raises:
        Refusal: It is something else.
    """
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        raise Refusal(f"'{name}' is of the type {kind}; connect an IMAGE.")
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[3] not in (3, 4) or 0 in shape:
        raise Refusal(
            f"'{name}' has the shape {list(shape)}; expected frames, height, width and 3 colours; "
            "connect an IMAGE with at least one frame."
        )
    for index, image in enumerate(images):
        if not torch.isfinite(image).all():
            raise Refusal(
                f"'{name}' has invalid numbers (NaN or infinite) in frame {index}; look for the "
                "node that made them, often a VAE or model running in half precision."
            )


def without_lost_frames(clip: torch.Tensor, edited: torch.Tensor) -> torch.Tensor:
    """A clip [n, H, W, 3] without its last frames where a video model's VAE has left those out of the edited one."""
    lost = len(clip) - len(edited)
    return clip[: len(edited)] if clip.shape[1:3] == edited.shape[1:3] and 0 < lost <= MOST_LEFT_OUT else clip


def check_same_size(images: torch.Tensor, name: str, other: torch.Tensor, other_name: str, is_edited=False) -> None:
    """Refuses, in the user's words, two clips that differ in length or size.

    Args:
        images: A clip.
        name: Its input, as on the node.
        other: The other clip.
        other_name: Its input.
        is_edited: Whether the other one is the first one edited.

    Raises:
        Refusal: They differ.
    """
    if images.shape[:3] == other.shape[:3]:
        return
    if is_edited and len(images) > len(other) == len(without_lost_frames(images, other)):
        raise Refusal(
            f"'{other_name}' has {_describe(other)} but '{name}' has {_describe(images)}; connect clips of the same "
            "length: where a video model's VAE has left the last frames out, set 'count' of Video Load to as many."
        )
    raise Refusal(
        f"'{other_name}' has {_describe(other)} but '{name}' has {_describe(images)}; connect "
        "clips of the same length and size."
    )


def _describe(images: torch.Tensor) -> str:
    count, height, width = images.shape[:3]
    return f"{counted(count, 'frame')} of {width}x{height}"
