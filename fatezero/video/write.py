"""Writes a clip as a film, an animation or pictures; nothing stays on disk but a finished one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..disk import unfinished_folder
from ..refusal import Refusal
from .encoding import AUTO, encodings, offered
from .movie import Movie, order
from .write_gif import write_gif
from .write_limits import held_rate, held_size, held_sound
from .write_pictures import png_name, write_apng, write_pngs, write_webp
from .write_video import write_video

PNG_16, APNG = "png 16 bit", "animated png"
__all__ = ["APNG", "PNG_16", "SaveOptions", "endings", "formats", "png_name", "write_clip"]


@dataclass(frozen=True)
class SaveOptions:
    """quality: 0..100; crf: the codec's own number instead, -1 for none; pixel_format: FFmpeg's, or AUTO; ping_pong:
    whether it plays back again; loops: how often an animation plays, 0 for ever."""

    quality: int = 70
    crf: int = -1
    pixel_format: str = AUTO
    ping_pong: bool = False
    loops: int = 0


def endings() -> dict[str, str]:
    """The ending of each format's file by the format's name; none: a folder of pictures."""
    films = {name: encoding.ending for name, encoding in encodings().items()}
    first = {name: films.pop(name) for name in ("mp4", "webm")}
    return {**first, "gif": "gif", "png": "", **films, "webp": "webp", PNG_16: "", APNG: "png"}


def formats() -> list[str]:
    """The formats that this machine can write."""
    films = offered()
    return [name for name in endings() if name in films or name not in encodings()]


def write_clip(
    path: str,
    images: torch.Tensor,
    fps: float,
    beside: torch.Tensor | None = None,
    audio: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
    quality: int = 70,
    format: str | None = None,
    options: SaveOptions | None = None,
) -> list[str]:
    """Writes a clip; `path` appears when it is complete, or not at all.

    Args:
        path: The file, or the folder of pictures.
        images: [n, H, W, 3 or 4] of 0..1.
        fps: Frames per second.
        beside: Images of the same shape to show to their left.
        audio: ComfyUI's AUDIO, cut to the clip's length (films).
        metadata: Texts by name (not in gif).
        quality: 0..100 (films, webp), where there are no `options`.
        format: One of `endings`; None: mp4, webm or gif by the path's ending, png without one.
        options: What else a person can choose.

    Returns:
        What had to be changed so that the format can hold the clip, each a sentence.

    Raises:
        OSError: The disk refuses.
        Refusal: The encoder refuses, or does not have what the options ask for.
    """
    notes: list[str] = []
    format = format or os.path.splitext(path)[1][1:] or "png"
    options = options or SaveOptions(quality)
    whole = (images.shape[2] * (1 if beside is None else 2), images.shape[1])
    step, rate = held_rate(fps, format, notes)
    indices = order(len(images), step, options.ping_pong)
    movie = Movie(images, beside, indices, held_size(whole, format, notes), rate)
    sound = None if audio is None else held_sound(audio, format, float(len(movie.indices) / rate), notes)
    with unfinished_folder(path) as folder:
        unfinished = os.path.join(folder, os.path.basename(path))
        with _explained_encoder_errors(format):
            _write(unfinished, format, movie, sound, metadata or {}, options)
        os.replace(unfinished, path)
    return notes


def _write(
    path: str, format: str, movie: Movie, sound: dict[str, Any] | None, metadata: dict[str, str], options: SaveOptions
) -> None:
    if format in encodings():
        encoding = encodings()[format]
        encoding.require_codec()
        rate_factor = encoding.rate_factor(options.quality, options.crf)
        write_video(path, movie, encoding, encoding.pixel_format(options.pixel_format), rate_factor, sound, metadata)
    elif format == "gif":
        write_gif(path, movie.pictures, movie.size, movie.rate, options.loops)
    elif format == "webp":
        write_webp(path, movie, metadata, options.quality, options.loops)
    elif format == APNG:
        write_apng(path, movie, metadata, options.loops)
    else:
        write_pngs(path, movie, metadata, 16 if format == PNG_16 else 8)


@contextmanager
def _explained_encoder_errors(format: str) -> Iterator[None]:
    import av

    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):  # the disk's
            raise
        raise Refusal(
            f"the encoder of {format} refused the clip ({error.strerror}); choose another format or a smaller size."
        ) from error
