"""What Pillow reads: animated WebP, of which FFmpeg reads only still ones, and how a photograph lies."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from comfy.model_management import throw_exception_if_processing_interrupted

from .clip import STILL_FPS, Selection
from .orientation import is_turned, oriented, photo_orientation
from .picture import Picture


def open_picture(file: BinaryIO, formats: tuple[str, ...]) -> Any:
    """A picture or animation as a Pillow image, of which no pixel is read yet; raises OSError if it is none."""
    from PIL import Image

    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise OSError(str(error)) from error


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
