"""Writes a film with its sound, by PyAV."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from .encoding import Encoding
from .frames import ACCURATE_COLORS
from .movie import Movie
from .write_limits import LAYOUTS

_MANY_COLORS = ("10le", "12le", "14le", "16le")  # endings of pixel formats with more than 8 bits
_BLOCK = 4096  # bytes, what a file takes at least
_ONE_THREAD_BELOW = 64  # pixels; sides of up to 24 were seen to hang, those of 26 not


def write_video(
    path: str,
    movie: Movie,
    encoding: Encoding,
    pixel_format: str,
    rate_factor: Mapping[str, str],
    audio: dict[str, Any] | None,
    metadata: Mapping[str, str],
) -> None:
    """Writes a film.

    Args:
        path: The file.
        movie: Its pictures.
        encoding: How.
        pixel_format: One of the encoding's.
        rate_factor: The option that sets its quality.
        audio: ComfyUI's AUDIO, as the encoding's sound can hold it.
        metadata: Texts by name.

    Raises:
        av.FFmpegError: The encoder or the disk refuses.
        OSError: The disk has no room at all.
    """
    import av

    with open(path, "wb") as file:  # FFmpeg leaves a file open for good whose header finds no room
        file.write(bytes(_BLOCK))
    width, height = _even(movie.size, pixel_format)
    container = {"mkv": "matroska"}.get(encoding.ending, encoding.ending)
    with av.open(path, "w", format=container, options=encoding.container_options) as output:
        output.metadata.update(metadata)
        video: Any = output.add_stream(encoding.codec, rate=movie.rate)
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        own = encoding.pixel_options.get(pixel_format, {})
        video.options = {**rate_factor, **own, **_codec_options(encoding, len(movie.indices), (width, height))}
        context = video.codec_context
        context.time_base, context.framerate = 1 / movie.rate, min(movie.rate, Fraction(encoding.most_fps))
        if encoding.tag:
            context.codec_tag = encoding.tag
        if pixel_format.startswith("yuv"):
            # BT.601 is what readers assume that ignore the tags; those that heed them are right as well.
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = 6, 1, 1, 1
        if audio is not None:
            encode_audio(output, encoding.sound, audio)
        bits = 16 if pixel_format.endswith(_MANY_COLORS) else 8
        for picture in movie.pictures(bits):
            edges = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
            picture = np.ascontiguousarray(np.pad(picture, edges, mode="edge"))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if bits == 8 else "rgb48le")
            _mux(output, video.encode(frame.reformat(format=pixel_format, interpolation=ACCURATE_COLORS)), movie.rate)
        _mux(output, video.encode(None), movie.rate)


def _mux(output: Any, packets: list, rate: Fraction) -> None:
    """Writes pictures, each of which lasts as long as the film's rate says, whatever the encoder was told."""
    for packet in packets:
        packet.duration = round(1 / rate / packet.time_base)
        output.mux(packet)


def _codec_options(encoding: Encoding, frames: int, size: tuple[int, int]) -> dict[str, str]:
    """The encoder's options. x265 gives clips of one or two frames arbitrary times where it may reorder frames; SVT-AV1
    4.1 waits for ever in several threads where a side is short."""
    options = dict(encoding.codec_options)
    if encoding.codec == "libx265" and frames < 3:
        options["x265-params"] = f"{options.get('x265-params', '')}:bframes=0".lstrip(":")
    if encoding.codec == "libsvtav1" and min(size) < _ONE_THREAD_BELOW:
        options["svtav1-params"] = "lp=1"
    return options


def _even(size: tuple[int, int], pixel_format: str) -> tuple[int, int]:
    """The size in which a pixel format holds a picture: where colours are kept for pairs of pixels, the last row or
    column is repeated."""
    width, height = size
    pairs = (pixel_format.startswith(("yuv420", "yuv422")), pixel_format.startswith("yuv420"))
    return width + width % 2 * pairs[0], height + height % 2 * pairs[1]


def encode_audio(output: Any, codec_name: str, audio: dict[str, Any]) -> None:
    """All the sound at once, before the pictures: it is small, and the container interleaves the two."""
    import av

    rate, waveform = audio["sample_rate"], audio["waveform"][0]
    layout, rates = LAYOUTS[len(waveform)], av.Codec(codec_name, "w").audio_rates
    stream = output.add_stream(codec_name, rate=rate if rates is None or rate in rates else 48000, layout=layout)
    # One sample of each channel after the other: PyAV cannot take eight channels apart.
    samples = waveform.T.reshape(1, -1).contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
