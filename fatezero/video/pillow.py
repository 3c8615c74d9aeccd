"""What Pillow reads: animated WebP, of which FFmpeg reads only still ones, and how a photograph lies."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ..refusal import Refusal
from .clip import STILL_FPS
from .memory import require_picture_memory
from .orientation import is_turned, oriented, photo_orientation
from .picture import Picture
from .running import heed_cancel

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
_HELD_BYTES = 8  # of a pixel: two pictures, as of an animation


def open_picture(file: BinaryIO, formats: tuple[str, ...]) -> Any:
    """A picture or animation as a Pillow image, of which no pixel is read yet; raises OSError if it is none."""
    from PIL import Image

    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise OSError(str(error)) from error


def require_memory_for_header(file: BinaryIO, name: str) -> None:
    """Counts the memory by the size in the file's header, if Pillow knows the format: FFmpeg decodes while it opens.

    Args:
        file: The file; its position is moved.
        name: What the clip is called in the sentence.

    Raises:
        Refusal: A picture does not fit in the free memory, or has more pixels than Pillow takes.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=_FORMATS) as image:
            require_picture_memory(image.size, _HELD_BYTES, name)
    except Refusal:
        raise
    except Image.DecompressionBombError as error:
        raise Refusal(f"the pictures of {name} are too large ({error}); choose a smaller copy.") from error
    except (OSError, SyntaxError, ValueError):  # a film, or damaged: others will tell
        return


def webp_seconds(image: Any) -> list[float]:
    """When each picture of an animation is shown; all of them are decoded for this."""
    seconds = [0.0]
    for index in range(image.n_frames):
        heed_cancel()
        image.seek(index)
        image.load()
        seconds.append(seconds[-1] + _duration(image))
    return seconds[:-1]


def webp_pictures(image: Any, last: int) -> Iterator[Picture]:
    """The pictures of an animation up to an index; all are decoded, since each builds on the one before."""
    seconds, turn = 0.0, photo_orientation(image)
    for index in range(last + 1):
        heed_cancel()
        image.seek(index)
        image.load()
        kind = "RGBA" if image.has_transparency_data else "RGB"
        size = image.size[::-1] if is_turned(turn) else image.size
        yield Picture(seconds, oriented(np.array(image.convert(kind)), turn), size)
        seconds += _duration(image)


def _duration(image: Any) -> float:
    return image.info["duration"] / 1000 if image.info.get("duration") else 1 / STILL_FPS
