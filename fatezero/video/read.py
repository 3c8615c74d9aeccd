"""Reads the frames and the sound that were asked for from a file, a VIDEO or an IMAGE; the rest is never kept.

Frames are counted by their time stamps (from the packets, which is cheap), reached by seeking, and fitted to their size
one at a time into the one tensor that is returned.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from itertools import chain, dropwhile, islice
from typing import NamedTuple

import numpy as np
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar

from ..compat import InputImpl
from .frames import ACCURATE_COLORS, Placement, place, to_float
from .memory import allocate

STILL_FPS = 8.0  # of pictures that have no frame rate: FateZero's released clips play at 8

_REORDERED = 64  # packets by which the order of decoding may differ from that of showing; codecs allow 16
_SEEK_BACK = (0, 10)  # seconds before the wanted frame at which to try to land before reading from the file's start
_NOT_VIDEO = ("tty",)  # formats that FFmpeg sees in any text file


class Selection(NamedTuple):
    """Which frames: from index `start`, every `every_nth`, at most `count` (0: all the rest)."""

    start: int = 0
    count: int = 0
    every_nth: int = 1


class Clip(NamedTuple):
    """images: float32 [n, H, W, 3] of 0..1; fps: at which they keep the clip's speed; audio: of just their time span
    (ComfyUI's AUDIO) or None; source_size: (width, height) as the clip is shown."""

    images: torch.Tensor
    fps: float
    audio: dict | None
    source_size: tuple[int, int]


Fit = Callable[[tuple[int, int]], Placement]


def read_file(source: str | BytesIO, name: str, selection: Selection, fit: Fit) -> Clip:
    """The selected frames of any file that PyAV reads, or of an animated WebP; `fit` places a source of a given size.

    Rotation and pixel aspect are applied, transparency is dropped. Raises a ValueError of one sentence, naming the clip
    `name`, for what is not a video, has no frames, or has none at `start`.
    """
    import av

    try:
        with _open(source) as container:
            if container.format.name != "webp_pipe":
                return _read_stream(source, container, name, selection, fit)
        return _read_webp(source, name, selection, fit)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(
            f"Video Load: {name} is not a video or picture that can be read "
            f"({error.strerror or 'damaged'}); choose another file or convert it to mp4."
        ) from error


def read_video(video, name: str, selection: Selection, fit: Fit) -> Clip:
    """The selected frames of a ComfyUI VIDEO: from its file if that is not trimmed, otherwise from its components."""
    if isinstance(video, InputImpl.VideoFromFile):
        source = video.get_stream_source()
        if video.get_duration() == InputImpl.VideoFromFile(source).get_duration():
            return read_file(video.get_stream_source(), name, selection, fit)
    components = video.get_components()
    return read_images(components.images, name, selection, fit, float(components.frame_rate), components.audio)


def read_images(
    images: torch.Tensor, name: str, selection: Selection, fit: Fit, fps: float = STILL_FPS, audio: dict | None = None
) -> Clip:
    """The selected frames of an IMAGE [n, H, W, 3 or 4] that plays at `fps`, and their part of `audio`."""
    expected = _expected(len(images), name, selection)
    chosen = images[selection.start :: selection.every_nth][:expected]
    source_size = (images.shape[2], images.shape[1])
    where = fit(source_size)
    if where == Placement(source_size, source_size):
        result = chosen[..., :3].float()
    else:
        result = allocate(expected, where.target)
        for index, image in enumerate(chosen):
            result[index] = place(image[..., :3].float(), where)
    if audio is not None:
        rate, begin = audio["sample_rate"], selection.start / fps
        end = begin + expected * selection.every_nth / fps
        waveform = audio["waveform"][..., round(begin * rate) : round(end * rate)]
        audio = {"waveform": waveform, "sample_rate": rate} if waveform.shape[-1] else None
    return Clip(result, fps / selection.every_nth, audio, source_size)


def _open(source):
    import av

    if isinstance(source, BytesIO):
        source.seek(0)
    return av.open(source)


def _read_stream(source, container, name, selection, fit) -> Clip:
    stream = _video_stream(container, name)
    rate = Fraction(STILL_FPS) if _is_still(container) else stream.average_rate or stream.guessed_rate
    pixel_aspect = stream.codec_context.sample_aspect_ratio or Fraction(1)
    enough = selection.start + selection.count * selection.every_nth + _REORDERED if selection.count else None
    times = [packet.pts for packet in islice(_packets(container, stream), enough)]
    expected = _expected(len(times), name, selection)
    if None in times:
        frames = islice(_decode(source, stream.index), selection.start, None)
    else:
        first = sorted(times)[selection.start]
        frames = _decode(source, stream.index, first if selection.start else None)
    pictures = ((frame.time, *_upright(frame, pixel_aspect)) for frame in islice(frames, 0, None, selection.every_nth))
    images, seconds, source_size = _collect(pictures, expected, name, fit)
    fps = _frame_rate(seconds, rate / selection.every_nth if rate else None, stream.time_base)
    audio = None if seconds[0] is None else _read_audio(source, container, seconds[0], len(images) / fps)
    return Clip(images, fps, audio, source_size)


def _read_webp(source, name, selection, fit) -> Clip:
    """WebP by Pillow, because FFmpeg reads only still ones."""
    from PIL import Image

    if isinstance(source, BytesIO):
        source.seek(0)
    with Image.open(source) as image:
        expected = _expected(image.n_frames, name, selection)
        images, seconds, source_size = _collect(_webp_pictures(image, selection), expected, name, fit)
    return Clip(images, _frame_rate(seconds, None, Fraction(1, 1000)), None, source_size)


def _webp_pictures(image, selection) -> Iterator:
    milliseconds = 0
    for index in range(image.n_frames):
        throw_exception_if_processing_interrupted()
        image.seek(index)
        image.load()
        if index >= selection.start and (index - selection.start) % selection.every_nth == 0:
            yield milliseconds / 1000, np.array(image.convert("RGB")), image.size
        milliseconds += image.info.get("duration") or 1000 / STILL_FPS


def _is_still(container) -> bool:
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def _video_stream(container, name):
    from av.stream import Disposition

    if container.format.name not in _NOT_VIDEO:
        for stream in container.streams.video:
            if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
                return stream
    raise ValueError(f"Video Load: {name} has no pictures that PyAV can decode; choose a video or picture file.")


def _packets(container, stream) -> Iterator:
    """The packets that become frames: those at the end (empty) and outside the edit list (discarded) do not."""
    for packet in container.demux(stream):
        throw_exception_if_processing_interrupted()
        if packet.size and not packet.is_discard:
            yield packet


def _expected(available: int, name: str, selection: Selection) -> int:
    """How many frames the selection takes from `available` ones."""
    if available == 0:
        raise ValueError(f"Video Load: {name} has no frames; choose another file.")
    if selection.start >= available:
        raise ValueError(
            f"Video Load: 'start' is {selection.start} but {name} has {available} "
            f"frame{'s' * (available > 1)}; choose a start below {available}."
        )
    expected = -(-(available - selection.start) // selection.every_nth)
    return min(expected, selection.count or expected)


def _decode(source, index: int, first: int | None = None, exact: bool = True) -> Iterator:
    """The frames of a stream in the order of showing, from the one whose time stamp is `first` (None: the start) on.

    Not `exact`: from any frame at or before it. Seeking lands late, or gives wrong time stamps, in some formats (AVI,
    MPEG) and on pictures that need earlier ones (open GOP): then from further back, at last from the file's start.
    """
    for seconds_back in (None,) if first is None else (*_SEEK_BACK, None):
        with _open(source) as container:
            stream = container.streams[index]
            stream.thread_type = "AUTO"
            if seconds_back is not None and not _seek(container, stream, first - int(seconds_back / stream.time_base)):
                continue
            frames = _decoded(container, stream)
            if first is not None and exact:
                frames = dropwhile(lambda frame: frame.pts is None or frame.pts < first, frames)
            frame = next(frames, None)
            if frame is not None and (seconds_back is None or _reached(frame, first, exact)):
                yield frame
                yield from frames
                return


def _seek(container, stream, pts: int) -> bool:
    import av

    try:
        container.seek(pts, stream=stream)
    except av.FFmpegError:
        return False
    return True


def _reached(frame, first: int, exact: bool) -> bool:
    return frame.pts is not None and (frame.pts == first if exact else frame.pts <= first)


def _decoded(container, stream) -> Iterator:
    import av

    for packet in container.demux(stream):
        throw_exception_if_processing_interrupted()
        try:
            frames = packet.decode()
        except av.InvalidDataError:  # a damaged packet: the ones after it may well be whole
            continue
        yield from frames


def _upright(frame, pixel_aspect: Fraction) -> tuple[np.ndarray, tuple[int, int]]:
    """A decoded frame as it is to be seen: 8-bit RGB [H, W, 3], turned upright, and its size with square pixels."""
    from av.video.reformatter import Colorspace

    # Older PyAV heeds the source's colour matrix only if another is named as target, which RGB does not have.
    rgb = frame.reformat(format="rgb24", dst_colorspace=Colorspace.ITU601, interpolation=ACCURATE_COLORS)
    pixels = rgb.to_ndarray()
    size = (round(frame.width * pixel_aspect), frame.height)
    quarter_turns = round(frame.rotation / 90)
    if quarter_turns:
        pixels = np.ascontiguousarray(np.rot90(pixels, quarter_turns))
    return pixels, size[::-1] if quarter_turns % 2 else size


def _collect(pictures: Iterable, expected: int, name: str, fit: Fit):
    """Places at most `expected` pictures (seconds, pixels, size) into one tensor; a damaged file may have fewer.

    Returns the images, their times in seconds, and the size of the first picture.
    """
    images, seconds = None, []
    progress = ProgressBar(expected)
    for time, pixels, size in islice(pictures, expected):
        if images is None:
            source_size, where = size, fit(size)
            images = allocate(expected, where.target)
        images[len(seconds)] = place(to_float(pixels), where)
        seconds.append(time)
        progress.update_absolute(len(seconds))
    if images is None:
        raise ValueError(
            f"Video Load: no frame of {name} could be decoded from 'start' on; choose an earlier start or another file."
        )
    return images[: len(seconds)], seconds, source_size


def _frame_rate(seconds: list[float | None], nominal: Fraction | None, tick: Fraction) -> float:
    """The rate at which the frames take as long as in the clip: the nominal one where their times agree with it, to the
    rounding of time stamps, and otherwise (variable frame rate, wrong header) their mean rate."""
    if len(seconds) < 2 or None in seconds:
        return float(nominal or STILL_FPS)
    span, steps = seconds[-1] - seconds[0], len(seconds) - 1
    if nominal and abs(span - steps / nominal) <= max(2 * tick, 0.002):
        return float(nominal)
    return steps / span if span > 0 else STILL_FPS


def _read_audio(source, container, begin: float, duration: float) -> dict | None:
    """ComfyUI's AUDIO of [begin, begin + duration) seconds, silent where the sound has gaps; None without any."""
    from av import AudioResampler

    stream = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
    if stream is None:
        return None
    # Decoders need some packets before they give the right sound, hence the earlier start.
    first = int((begin - 0.25) / stream.time_base) if begin > 0.25 else None
    frames = _decode(source, stream.index, first, exact=False)
    waveform, position = None, None
    for piece in chain.from_iterable(map(AudioResampler(format="fltp").resample, frames)):
        samples, rate = piece.to_ndarray(), piece.sample_rate
        if waveform is None:
            waveform = np.zeros((samples.shape[0], round(duration * rate)), np.float32)
        offset = position if piece.time is None else round((piece.time - begin) * rate)
        if position is None or abs(offset - position) > rate / 20:  # a gap, not the rounding of time stamps
            position = offset or 0
        kept = samples[:, max(0, -position) : max(0, waveform.shape[1] - position)]
        waveform[:, max(0, position) : max(0, position) + kept.shape[1]] = kept
        position += samples.shape[1]
        if position >= waveform.shape[1]:
            break
    if waveform is None or waveform.shape[1] == 0:
        return None
    return {"waveform": torch.from_numpy(waveform)[None], "sample_rate": rate}
