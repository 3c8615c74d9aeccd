"""What a selection of a clip is like, from the time stamps alone: nothing is decoded but an animated webp.

For programs beside ComfyUI that must know of a clip what Video Load will make of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..refusal import Refusal
from .clip import Selection, playable_rate
from .collect import frame_rate
from .open import Source, audio_stream, explained, opened, opened_file, video_stream
from .pillow import open_picture, webp_seconds
from .sound import read_sound
from .stream import nominal_rate, packet_times, shown_seconds


@dataclass(frozen=True)
class Measured:
    """The selected frames of a clip as `read_file` gives them where none is damaged.

    count: how many; fps: at which they play; begin: when the first is shown, in seconds of the clip; duration: how long
    they are heard, in seconds.
    """

    count: int
    fps: float
    begin: float
    duration: float


def measure_file(source: Source, name: str, selection: Selection) -> Measured:
    """Measures the selected frames.

    Args:
        source: The path, or the file itself.
        name: What the clip is called in messages.
        selection: Which frames; without a `rate`.

    Raises:
        Refusal: It is not a video, is cut off before its first frame, or has no frame at `start`.
    """
    with _explained(source, name):
        with opened(source) as container:
            if container.format.name != "webp_pipe":
                stream = video_stream(container, name)
                rate = nominal_rate(container, stream)
                times = packet_times(container, stream, selection)
                nominal = float(rate / selection.every_nth) if rate else None
                return _measured(shown_seconds(times, stream, rate), name, selection, nominal, stream.time_base)
        with opened_file(source) as file, open_picture(file, ("WEBP",)) as image:
            return _measured(webp_seconds(image), name, selection, None, 0.001)


def measured_sound(source: Source, name: str, measured: Measured) -> dict[str, Any] | None:
    """ComfyUI's AUDIO of the measured frames; None if the clip has none.

    Raises:
        Refusal: It does not fit in the free memory, or the clip cannot be read any more.
    """
    with _explained(source, name), opened(source) as container:
        sound = audio_stream(container)
        return None if sound is None else read_sound(source, sound, measured.begin, measured.duration)


def _measured(seconds: list[float], name: str, selection: Selection, nominal: float | None, tick: Any) -> Measured:
    taken = selection.frames(seconds, name)
    fps = playable_rate(frame_rate([seconds[index] for index in taken], nominal, tick), [])
    rest = (len(seconds) - selection.first) / selection.every_nth  # of a last step, only what the clip still has
    return Measured(len(taken), fps, seconds[taken[0]], min(len(taken), rest) / fps)


@contextmanager
def _explained(source: Source, name: str) -> Iterator[None]:
    import av

    try:
        yield
    except Refusal:
        raise
    except (av.FFmpegError, OSError, EOFError, SyntaxError) as error:  # the last two: Pillow's words for a damaged file
        raise explained(error, source, name) from error
