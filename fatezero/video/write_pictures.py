"""Writes pictures: numbered png files of 8 or 16 bits, and animations as webp or png."""

import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from .movie import Movie

_HEADER_END = 33  # of a png: its signature and the chunk IHDR
_CAMERA_MODEL, _CAMERA_MAKER = 0x0110, 0x010F  # the EXIF tags in which ComfyUI looks for the graph


def png_name(index: int) -> str:
    """The name of a frame's file in a sequence of png files, as editors number them."""
    return f"{index:05}.png"


def write_pngs(folder: str, movie: Movie, metadata: Mapping[str, str], bits: int = 8) -> None:
    """Writes a folder of numbered png files.

    Args:
        folder: Is made.
        movie: Its pictures.
        metadata: Texts by name, for each file.
        bits: Of a colour: 8 or 16.
    """
    texts = b"".join(_text_chunk(name, text) for name, text in metadata.items())
    os.mkdir(folder)
    for index, picture in enumerate(movie.pictures(bits)):
        png = _encoded(picture, bits)
        with open(os.path.join(folder, png_name(index)), "wb") as file:
            file.write(png[:_HEADER_END] + texts + png[_HEADER_END:])


def _encoded(picture: Any, bits: int) -> bytes:
    from io import BytesIO

    if bits == 8:
        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(picture).save(buffer, format="png", compress_level=4)
        return buffer.getvalue()
    import av

    encoder: Any = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt = "rgb48be"
    encoder.time_base = 1
    frame = av.VideoFrame.from_ndarray(picture, format="rgb48be")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _text_chunk(name: str, text: str) -> bytes:
    """A png chunk with a text; JSON is ASCII, which the old kind of chunk holds and every program reads."""
    body = b"tEXt" + name.encode("latin-1", "replace") + b"\0" + text.encode("latin-1", "replace")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def write_webp(path: str, movie: Movie, metadata: Mapping[str, str], quality: int, loops: int) -> None:
    """Writes an animation.

    Args:
        path: The file.
        movie: Its pictures.
        metadata: Texts by name, which ComfyUI reads back.
        quality: 0..100; 100 is exact.
        loops: How often it plays; 0 is for ever.
    """
    from PIL import Image

    first, *_ = pictures = [Image.fromarray(picture) for picture in movie.pictures()]
    exif = first.getexif()
    for index, (name, text) in enumerate(sorted(metadata.items(), key=lambda item: item[0] != "prompt")):
        exif[_CAMERA_MODEL if name == "prompt" else _CAMERA_MAKER - index + ("prompt" in metadata)] = f"{name}:{text}"
    first.save(
        path,
        format="webp",
        save_all=True,
        append_images=pictures[1:],
        duration=_durations(movie),
        loop=loops,
        quality=quality,
        lossless=quality == 100,
        exif=exif,
    )


def write_apng(path: str, movie: Movie, metadata: Mapping[str, str], loops: int) -> None:
    """Writes an exact animation as one png; FFmpeg could, too, but leaves the texts out.

    Args:
        path: The file.
        movie: Its pictures.
        metadata: Texts by name, which ComfyUI reads back.
        loops: How often it plays; 0 is for ever.
    """
    from PIL import Image, PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    for name, text in metadata.items():
        texts.add_text(name, text)
    first, *others = [Image.fromarray(picture) for picture in movie.pictures()]
    animation = {"save_all": True, "append_images": others, "duration": _durations(movie), "loop": loops}
    first.save(path, format="png", pnginfo=texts, compress_level=4, **(animation if others else {}))


def _durations(movie: Movie) -> list[int]:
    """How long each picture is shown, in ms, so that no error adds up."""
    ticks = [round(1000 * index / movie.rate) for index in range(len(movie.indices) + 1)]
    return [after - before for before, after in zip(ticks, ticks[1:])]
