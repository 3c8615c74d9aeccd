"""A decoded frame as a person sees it: turned upright, in sRGB, fitted to its place, its transparent parts filled."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from .clip import Color
from .frames import ACCURATE_COLORS, Placement, place
from .hdr import Signal, signal_of, to_sdr
from .orientation import Orientation, is_turned, oriented

if TYPE_CHECKING:
    import av


@dataclass(frozen=True)
class Picture:
    """seconds: its time in the clip, if known; pixels: [H, W, 3 or 4] of uint8, uint16 or float of 0..1, the fourth
    being the opacity; size: (width, height) with square pixels; signal: what the numbers mean if not sRGB."""

    seconds: float | None
    pixels: np.ndarray
    size: tuple[int, int]
    signal: Signal | None = None


def frame_picture(frame: "av.VideoFrame", pixel_aspect: Fraction, signal: Signal | None, turn: Orientation) -> Picture:
    """A decoded frame, turned upright.

    Args:
        frame: From `decode`.
        pixel_aspect: Width of its pixels by their height.
        signal: From `frame_signal`.
        turn: How it lies.
    """
    from av.video.reformatter import Colorspace

    kind = "rgba" if has_alpha(frame) else "rgb24" if signal is None else "gbrp16le"
    # Older PyAV heeds the source's colour matrix only if another is named as target, which RGB does not have.
    rgb = frame.reformat(format=kind, dst_colorspace=Colorspace.ITU601, interpolation=ACCURATE_COLORS)
    size = (max(1, round(frame.width * pixel_aspect)), frame.height)
    return Picture(frame.time, oriented(rgb.to_ndarray(), turn), size[::-1] if is_turned(turn) else size, signal)


def has_alpha(frame: "av.VideoFrame") -> bool:
    """Whether a frame's format has room for transparency."""
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def frame_signal(frame: "av.VideoFrame", context: "av.VideoCodecContext") -> Signal | None:
    """What a frame's numbers mean, by its own marks or, in older PyAV, by those of its stream."""
    source = frame if hasattr(frame, "color_trc") else context
    return signal_of(source.color_trc, source.color_primaries)


def placed(picture: Picture, where: Placement, background: Color) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A picture in its place.

    Args:
        picture: The picture.
        where: Its place; bars around it are black and opaque.
        background: Fills what is transparent.

    Returns:
        sRGB [height, width, 3] of 0..1, and the opacity [height, width] or None where all is opaque.
    """
    pixels = picture.pixels
    if pixels.shape[2] == 4 and (pixels[..., 3] >= _one(pixels)).all():
        pixels = pixels[..., :3]
    alpha = _placed(pixels[..., 3], where, bars=1.0) if pixels.shape[2] == 4 else None
    # Weighted by the opacity before scaling, so that the hidden colours of transparent pixels do not bleed in.
    weight = None if alpha is None else _fractions(pixels[..., 3])
    rgb = torch.stack([_placed(pixels[..., color], where, weight=weight) for color in range(3)], dim=-1)
    if picture.signal is not None:
        rgb = to_sdr(rgb, picture.signal)
    if alpha is not None:
        rgb += (1 - alpha[..., None]) * torch.tensor(background)
    return rgb.clamp_(0, 1), alpha


def _placed(
    channel: np.ndarray, where: Placement, bars: float = 0.0, weight: torch.Tensor | None = None
) -> torch.Tensor:
    values = _fractions(channel)
    return place((values if weight is None else values * weight)[..., None], where, bars)[..., 0]


def _fractions(channel: np.ndarray) -> torch.Tensor:
    """Numbers of any type as float32 of 0..1."""
    return torch.from_numpy(channel.astype(np.float32)).div_(_one(channel))


def _one(pixels: np.ndarray) -> float:
    return np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
