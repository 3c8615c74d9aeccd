"""The films that can be written: one JSON file each in encodings/, so that a new one needs no code."""

import json
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from ..refusal import Refusal

AUTO = "auto"
_FOLDER = Path(__file__).with_name("encodings")


@dataclass(frozen=True)
class Encoding:
    """A codec in a container.

    name: as a person chooses it; ending: of the file; codec, sound: FFmpeg's encoders; pixel_formats: FFmpeg's, the
    first being the default; worst_crf: the rate factor of quality 0 (that of quality 100 is 0), None for a codec
    without one; most_pixels: a side may have; browsers_play: the pixel formats that need no other file to be shown;
    tag: of the codec in the container, where the usual one is not understood everywhere; rate_option: what the codec
    calls its rate factor; pixel_options: options that go with a pixel format; least_pixels: (width, height) of the
    smallest picture; most_fps: frames per second that the encoder may be told, whatever the file's time stamps say;
    graphics_card: whether the codec is a part of a graphics card, which a machine may lack.
    """

    name: str
    ending: str
    codec: str
    sound: str
    pixel_formats: list[str]
    worst_crf: int | None
    most_pixels: int
    browsers_play: list[str] = field(default_factory=list)
    codec_options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    rate_option: str = "crf"
    pixel_options: dict[str, dict[str, str]] = field(default_factory=dict)
    least_pixels: tuple[int, int] = (1, 1)
    graphics_card: bool = False
    most_fps: int = 1000

    def pixel_format(self, wanted: str) -> str:
        """The pixel format to write.

        Raises:
            Refusal: The codec has no such one.
        """
        if wanted == AUTO:
            return self.pixel_formats[0]
        if wanted not in self.pixel_formats:
            raise Refusal(
                f"'pixel format' is {wanted}, which {self.name} does not have; choose {AUTO} or "
                f"{', '.join(self.pixel_formats)}."
            )
        return wanted

    def rate_factor(self, quality: int, crf: int) -> dict[str, str]:
        """The codec's option that sets its quality.

        Args:
            quality: 0..100.
            crf: The codec's own number, where it is not negative.

        Raises:
            Refusal: The codec has no such number.
        """
        if self.worst_crf is None:
            return {}
        if crf > self.worst_crf:
            raise Refusal(f"'crf' is {crf}; {self.name} takes 0 (best) to {self.worst_crf}, or -1 for 'quality'.")
        return {self.rate_option: str(crf if crf >= 0 else round(self.worst_crf * (100 - quality) / 100))}

    def require_codec(self) -> None:
        """Refuses what this PyAV was built without, and what the machine has no part for."""
        import av

        try:
            av.Codec(self.codec, "w")
        except av.codec.codec.UnknownCodecError:
            raise Refusal(
                f"'format' is {self.name}, but this PyAV has no {self.codec}; choose mp4, or install PyAV's own wheel "
                "(pip install --force-reinstall av)."
            ) from None
        if self.graphics_card and not _opens(self.codec):
            raise Refusal(
                f"'format' is {self.name}, but no graphics card here encodes it, or its driver is missing; choose mp4, "
                "h265 or av1."
            )


@cache
def _opens(codec: str) -> bool:
    """Whether an encoder can be opened on this machine."""
    import av

    try:
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt, context.time_base = 256, 256, "yuv420p", Fraction(1, 25)
        context.open()
    except (av.FFmpegError, ValueError):  # it is not there, or the card or its driver is not
        return False
    return True


@cache
def encodings() -> dict[str, Encoding]:
    """The encodings by name: mp4 and webm, then the others."""
    read: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in _FOLDER.glob("*.json")]
    found = sorted((Encoding(**entry) for entry in read), key=lambda one: one.name.lower())
    return {one.name: one for one in sorted(found, key=lambda one: one.name not in ("mp4", "webm"))}


def offered() -> list[str]:
    """The names of the encodings that a person is offered: those of graphics cards only where they can be opened."""
    return [name for name, one in encodings().items() if not one.graphics_card or _opens(one.codec)]


def require_options(format: str, crf: int | None, pixel_format: str | None) -> None:
    """Refuses what a film does not have, before there are frames.

    Args:
        format: Its name; a format that is no film has none of these.
        crf: As for `Encoding.rate_factor`; None where it is not known yet.
        pixel_format: As for `Encoding.pixel_format`; None where it is not known yet.
    """
    if format in encodings():
        encodings()[format].pixel_format(AUTO if pixel_format is None else pixel_format)
        encodings()[format].rate_factor(0, -1 if crf is None else crf)


def pixel_formats() -> list[str]:
    """All pixel formats that some encoding has, in alphabetical order."""
    return sorted({name for encoding in encodings().values() for name in encoding.pixel_formats})
