"""Clips for the tests of Video Load and Video Save: every frame shows its own number, so that each one can be told."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

BITS = 10


def numbered_frame(number: int, width: int = 80, height: int = 48) -> np.ndarray:
    """8-bit RGB with the number's bits as black and white bars."""
    columns = np.arange(width) * BITS // width
    bars = np.where(number >> columns & 1, 255, 0).astype(np.uint8)
    return np.broadcast_to(bars[None, :, None], (height, width, 3)).copy()


def numbers(images: torch.Tensor) -> list[int]:
    """The numbers that frames [n, H, W, 3] of 0..1 show."""
    width = images.shape[2]
    bars = [images[:, :, (2 * bit + 1) * width // (2 * BITS)].mean(dim=(1, 2)) > 0.5 for bit in range(BITS)]
    return sum(bar.long() << bit for bit, bar in enumerate(bars)).tolist()


def write_numbered(
    path: Path,
    codec: str = "libx264",
    count: int = 120,
    fps=24,
    options: dict | None = None,
    pixel_format: str = "yuv420p",
    audio: torch.Tensor | None = None,
    times=None,
    pixel_aspect: Fraction | None = None,
    size=(80, 48),
    **container,
) -> Path:
    """A video of numbered frames; audio: [channels, samples] at 48 kHz; times: of the frames in ms instead of fps."""
    with av.open(str(path), "w", **container) as output:
        video = output.add_stream(codec, rate=Fraction(fps))
        video.width, video.height = size
        video.pix_fmt, video.options = pixel_format, options or {}
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if audio is not None:
            sound = output.add_stream("aac", rate=48000, layout="stereo" if len(audio) == 2 else "mono")
            frame = av.AudioFrame.from_ndarray(audio.numpy(), "fltp", sound.layout.name)
            frame.sample_rate, frame.pts = 48000, 0
            output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), "rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def beep(at: float, seconds: float, rate: int = 48000) -> torch.Tensor:
    """Silence of that length with a beep of 20 ms that begins at `at` seconds; [1, samples]."""
    time = torch.arange(round(seconds * rate)) / rate
    return (torch.sin(2 * math.pi * 1000 * time) * ((time >= at) & (time < at + 0.02)))[None] * 0.8


def beep_time(audio: dict) -> float:
    """Where in an AUDIO the beep begins, in seconds: where its energy passes a tenth of its whole."""
    energy = audio["waveform"][0, 0].double().square().cumsum(0)
    return torch.searchsorted(energy, energy[-1] / 10).item() / audio["sample_rate"]


def smooth_clip(count: int, height: int, width: int) -> torch.Tensor:
    """Soft colours that brighten with time, which any codec keeps well; float32 [count, height, width, 3]."""
    seed = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.interpolate(seed, (height, width), mode="bicubic")[0].movedim(0, -1).clamp(0, 1)
    return torch.stack([picture * (0.5 + 0.5 * index / count) for index in range(count)])
