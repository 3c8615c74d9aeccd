"""The films that can be written: one JSON file each in encodings/, so that a new one needs no code."""

import json
from dataclasses import dataclass, field
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
    tag: of the codec in the container, where the usual one is not understood everywhere.
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
        return {"crf": str(crf if crf >= 0 else round(self.worst_crf * (100 - quality) / 100))}

    def require_codec(self) -> None:
        """Refuses what this PyAV was built without."""
        import av

        try:
            av.Codec(self.codec, "w")
        except av.codec.codec.UnknownCodecError:
            raise Refusal(
                f"'format' is {self.name}, but this PyAV has no {self.codec}; choose mp4, or install PyAV's own wheel "
                "(pip install --force-reinstall av)."
            ) from None


@cache
def encodings() -> dict[str, Encoding]:
    """The encodings by name: mp4 and webm, then the others."""
    read: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in _FOLDER.glob("*.json")]
    found = sorted((Encoding(**entry) for entry in read), key=lambda one: one.name.lower())
    return {one.name: one for one in sorted(found, key=lambda one: one.name not in ("mp4", "webm"))}


def pixel_formats() -> list[str]:
    """All pixel formats that some encoding has, in alphabetical order."""
    return sorted({name for encoding in encodings().values() for name in encoding.pixel_formats})
