"""Opens a clip by itself: from its bytes, never from its name, in a format that holds its own pictures."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from ..refusal import Refusal
from .formats import DEMUXERS
from .memory import free_memory
from .whole import is_cut_off

if TYPE_CHECKING:
    from av.container import InputContainer

Source = str | BytesIO  # a path, or the file itself

_LEAST_BYTES = 16  # that a pixel takes while it is decoded and converted


class _Nameless:
    """A file without its name, in which FFmpeg would look for the number pattern of a sequence."""

    def __init__(self, file: BinaryIO):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def opened(source: Source) -> Iterator["InputContainer"]:
    """The clip's container. Tags that are not UTF-8 are kept as far as they can be read.

    Args:
        source: The clip.

    Raises:
        av.FFmpegError, OSError: It cannot be read; `explained` says so in a sentence.
    """
    import av

    with opened_file(source) as file:
        # Not `options`, with which older PyAV crashes on formats that show their streams late, such as mpeg.
        options = {"format_whitelist": ",".join(DEMUXERS)}
        with av.open(
            _Nameless(file), "r", container_options=options, metadata_errors="replace", io_open=_refuse_other_files
        ) as container:
            yield container


@contextmanager
def opened_file(source: Source) -> Iterator[BinaryIO]:
    """The clip's bytes from their beginning, independent of other readers of the same source."""
    with open(source, "rb") if isinstance(source, str) else BytesIO(source.getvalue()) as file:
        yield file


def picture_limit() -> dict[str, str]:
    """The decoder's option that keeps it from making room for pictures that memory cannot hold."""
    return {"max_pixels": str(min(free_memory() // _LEAST_BYTES, 2**31 - 1))}


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"it asks for another file, {url}")


def explained(error: Exception, source: Source, name: str) -> Refusal:
    """Why a clip cannot be read, in a sentence.

    Args:
        error: What opening or reading it raised.
        source: The clip.
        name: What the clip is called in the sentence.
    """
    reason = getattr(error, "strerror", None) or str(error) or "damaged"
    try:
        with opened_file(source) as file:
            if is_cut_off(file):
                return Refusal(f"{name} is cut off: the file ends in the middle; copy or download it again.")
    except OSError as disk_error:
        reason = disk_error.strerror or reason
    if getattr(error, "errno", None) == errno.EINVAL:  # not one of DEMUXERS
        return Refusal(
            f"{name} has no pictures of its own in a format that can be read; choose a video or picture file."
        )
    return Refusal(
        f"{name} is not a video or picture that can be read ({reason}); choose another file or convert it to mp4."
    )


def video_stream(container: "InputContainer", name: str) -> Any:
    """The pictures to show: the track marked as default, else the first; no cover art.

    Args:
        container: From `opened`.
        name: What the clip is called in a message.

    Raises:
        Refusal: There are none.
    """
    from av.stream import Disposition

    decodable = [stream for stream in container.streams.video if stream.codec_context and stream.codec_context.width]
    films = [stream for stream in decodable if not stream.disposition & Disposition.attached_pic]
    if not films:
        raise Refusal(f"{name} has no pictures that PyAV can decode; choose a video or picture file.")
    return _default(films)


def _default(streams: list[Any]) -> Any:
    from av.stream import Disposition

    return next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])


def audio_stream(container: "InputContainer") -> Any:
    """The sound to hear: the track marked as default, else the first; None without any."""
    decodable = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return _default(decodable) if decodable else None
