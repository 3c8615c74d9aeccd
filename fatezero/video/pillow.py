"""What Pillow reads: animated WebP, of which FFmpeg reads only still ones, and how a photograph lies."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from comfy.model_management import throw_exception_if_processing_interrupted

from ..refusal import Refusal
from .clip import STILL_FPS, Selection
from .memory import require_picture_memory
from .orientation import is_turned, oriented, photo_orientation
from .picture import Picture

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


def webp_pictures(image: Any, selection: Selection) -> Iterator[Picture]:
    """The selected pictures of an animation; those between them are decoded, since each builds on the one before."""
    seconds, turn = 0.0, photo_orientation(image)
    for index in range(image.n_frames):
        throw_exception_if_processing_interrupted()
        image.seek(index)
        image.load()
        if index >= selection.start and (index - selection.start) % selection.every_nth == 0:
            kind = "RGBA" if image.has_transparency_data else "RGB"
            size = image.size[::-1] if is_turned(turn) else image.size
            yield Picture(seconds, oriented(np.array(image.convert(kind)), turn), size)
        seconds += image.info["duration"] / 1000 if image.info.get("duration") else 1 / STILL_FPS
