"""The selected frames of an opened container, with their sound and what the person should know about them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any

from .clip import STILL_FPS, Clip, Color, Fit, Selection
from .collect import collect, frame_rate, picked, uneven_times
from .decode import Findings, decode, deinterlaced, packets
from .formats import is_picture
from .memory import require_picture_memory
from .open import Source, audio_stream, opened_file, video_stream
from .orientation import UPRIGHT, Orientation, frame_orientation, photo_orientation
from .picture import Picture, frame_picture, frame_signal
from .pillow import open_picture
from .sound import read_sound
from .whole import is_cut_off

if TYPE_CHECKING:
    from av.container import InputContainer

_REORDERED = 64  # packets by which the order of decoding may differ from that of showing; codecs allow 16
_SPARE = 10  # seconds by which a file may be read too far
_FRAMES_HELD = 6  # by a decoder for the pictures to come, besides one by each thread


def read_stream(
    source: Source, container: "InputContainer", name: str, selection: Selection, fit: Fit, background: Color
) -> Clip:
    """The selected frames of the default track.

    Args:
        container: The source, opened.
        source, name, selection, fit, background: As for `read_file`.

    Raises:
        Refusal: There are none, or they are too large.
    """
    stream = video_stream(container, name)
    is_photo = is_picture(container.format.name)
    rate = nominal_rate(container, stream)
    times = packet_times(container, stream, selection)
    seconds = shown_seconds(times, stream, rate)
    taken = selection.frames(seconds, name)
    context = stream.codec_context
    require_picture_memory((context.width, context.height), _decoded_bytes(container, context), name)
    findings, passage = Findings(), _Passage(stream, _photo_orientation(source) if is_photo else None)
    frames = deinterlaced(passage.counted(_frames(source, stream, times, taken[0], findings)), findings)
    pictures = passage.pictures(picked(frames, [index - taken[0] for index in taken]))
    collected = collect(pictures, len(taken), name, fit, background)
    own = float(rate / selection.every_nth) if rate else None
    fps = selection.playing_rate(0) if selection.rate else frame_rate(collected.seconds, own, stream.time_base)
    notes = [*passage.notes, *_damage(source, times, taken[0], passage, findings)]
    if not selection.rate:
        notes += uneven_times(collected.seconds, fps)
    audio = None
    sound, begin = audio_stream(container), collected.seconds[0]
    if sound is not None and begin is not None:
        if selection.rate:  # from the tick on: its frame may have been on the screen for long
            begin = seconds[0] + selection.first / selection.rate
        # Of a last step, only what the clip still has.
        rest = len(taken) if selection.rate else (len(times) - selection.first) / selection.every_nth
        audio = read_sound(source, sound, begin, min(len(collected.seconds), rest) / fps)
    return collected.clip(fps, taken, audio, notes)


def nominal_rate(container: "InputContainer", stream: Any) -> Fraction | None:
    """The rate that the file gives, if any."""
    return Fraction(STILL_FPS) if is_picture(container.format.name) else stream.average_rate or stream.guessed_rate


def packet_times(container: "InputContainer", stream: Any, selection: Selection) -> list[int | None]:
    """The time stamps of the frames, as far as they matter, in the order of decoding."""
    last = selection.first + selection.count * selection.every_nth
    if not selection.count:
        return [packet.pts for packet in packets(container, stream)]
    if not selection.rate:
        return [packet.pts for packet in islice(packets(container, stream), last + _REORDERED)]
    times: list[int | None] = []
    for packet in packets(container, stream):
        times.append(packet.pts)
        if (
            None not in (packet.pts, times[0])
            and (packet.pts - times[0]) * stream.time_base > last / selection.rate + _SPARE
        ):
            break
    return times


def shown_seconds(times: list[int | None], stream: Any, rate: Fraction | None) -> list[float]:
    """When each frame is shown, in order; counted by the rate where the file does not tell."""
    known = sorted(time for time in times if time is not None)
    if len(known) < len(times):
        return [float(index / (rate or STILL_FPS)) for index in range(len(times))]
    return [float(time * stream.time_base) for time in known]


def _frames(source: Source, stream: Any, times: list[int | None], start: int, findings: Findings) -> Iterator:
    """The frames from index `start` on."""
    known = sorted(time for time in times if time is not None)
    if len(known) < len(times):
        return islice(decode(source, stream.index, None, findings), start, None)
    return decode(source, stream.index, known[start] if start else None, findings)


def _decoded_bytes(container: "InputContainer", context: Any) -> float:
    """Bytes of a pixel in all pictures that the decoder holds at once."""
    whole = sum(
        component.width * component.height * (2 if component.bits > 8 else 1)
        for component in (context.format.components if context.format else ())
    )
    is_still = is_picture(container.format.name) or container.format.name in ("gif", "apng")
    held = 2 if is_still else _FRAMES_HELD + min(16, os.cpu_count() or 1)
    return held * max(1.0, whole / (context.width * context.height))


@dataclass
class _Passage:
    """What can be told from the frames that pass by: how many, up to which time, and what they are like."""

    stream: Any
    turn: Orientation | None  # of all frames; None: each tells its own
    count: int = 0
    last: int | None = None
    is_ended: bool = False
    notes: list[str] = field(default_factory=list)

    def counted(self, frames: Iterator) -> Iterator:
        for frame in frames:
            self.count, self.last = self.count + 1, frame.pts
            yield frame
        self.is_ended = True

    def pictures(self, frames: Iterator) -> Iterator[Picture]:
        aspect = self.stream.codec_context.sample_aspect_ratio or Fraction(1)
        for index, frame in enumerate(frames):
            signal = frame_signal(frame, self.stream.codec_context)
            if index == 0:
                self.notes += [f"Its {signal.value} colours were converted to SDR."] if signal else []
                self.notes += _dolby_vision(frame, self.stream)
            yield frame_picture(frame, aspect, signal, self.turn or frame_orientation(frame))


def _photo_orientation(source: Source) -> Orientation:
    """Pillow's word, since PyAV cannot tell mirroring of a frame with EXIF data."""
    try:
        with opened_file(source) as file, open_picture(file, ("JPEG", "PNG", "TIFF")) as image:
            return photo_orientation(image)
    except OSError:  # another format
        return UPRIGHT


def _dolby_vision(frame: Any, stream: Any) -> list[str]:
    try:
        is_dolby = any(frame.side_data.get(name) is not None for name in ("DOVI_RPU_BUFFER", "DOVI_METADATA"))
    except ValueError:  # side data that PyAV does not know
        is_dolby = False
    if stream.codec_context.codec_tag in ("dvh1", "dvhe", "dav1", "dvav", "dva1") and not frame_signal(
        frame, stream.codec_context
    ):
        return [
            "It is Dolby Vision without an ordinary picture below (profile 5), so its colours are wrong; "
            "export it as SDR or HDR10."
        ]
    return ["It is Dolby Vision; the ordinary picture below was taken."] if is_dolby else []


def _damage(
    source: Source, times: list[int | None], start: int, passage: _Passage, findings: Findings
) -> Iterator[str]:
    if findings.interlaced:
        yield "Its interlaced frames were deinterlaced."
    lost = _lost(times, start, passage) if findings.damaged else 0
    if lost > 0:
        yield f"Left out as damaged: {lost} of {lost + passage.count} frames; others may show the damage."
    with opened_file(source) as file:
        if is_cut_off(file):
            yield "The file is cut off: its end is missing."


def _lost(times: list[int | None], start: int, passage: _Passage) -> int:
    """How many frames should have come among those that passed."""
    known = sorted(time for time in times if time is not None)
    last = passage.last
    if passage.is_ended or last is None or len(known) < len(times):
        return len(times) - start - passage.count
    return sum(known[start] <= time <= last for time in known) - passage.count
