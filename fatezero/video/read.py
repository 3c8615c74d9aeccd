"""Reads the frames and the sound that were asked for from a file, a VIDEO or an IMAGE; the rest is never kept.

Frames are counted by their time stamps (from the packets, which is cheap), reached by seeking, and fitted to their size
one at a time into the one tensor that is returned.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from ..compat import InputImpl
from ..refusal import Refusal
from .clip import BLACK, STILL_FPS, Clip, Color, Fit, Selection
from .collect import Collected, collect, frame_rate, picked
from .frames import Placement
from .matroska import is_linked
from .open import Source, explained, opened, opened_file
from .picture import Picture
from .pillow import open_picture, require_memory_for_header, webp_pictures, webp_seconds
from .stream import read_stream
from .whole import is_cut_off

_ONE = Selection(count=1)


def read_file(source: Source, name: str, selection: Selection, fit: Fit, background: Color = BLACK) -> Clip:
    """The selected frames of a video, an animation or a picture.

    Rotation, mirroring and pixel aspect are applied, interlaced frames are made whole, HDR is brought to SDR, and
    transparent places are filled.

    Args:
        source: The path, or the file itself.
        name: What the clip is called in messages.
        selection: Which frames.
        fit: Places a source of a given size.
        background: Fills what is transparent.

    Raises:
        Refusal: It is not a video, is cut off before its first frame, has no frame at `start`, or is too large.
    """
    import av

    try:
        with opened_file(source) as file:
            require_memory_for_header(file, name)
            if is_linked(file):
                raise Refusal(
                    f"{name} is one of several files that make up its clip (linked segments of mkv), and no other file "
                    "is read; join them into one file."
                )
        with opened(source) as container:
            if container.format.name != "webp_pipe":
                return read_stream(source, container, name, selection, fit, background)
        return _read_webp(source, name, selection, fit, background)
    except Refusal:
        raise
    except (av.FFmpegError, OSError, EOFError, SyntaxError) as error:  # the last two: Pillow's words for a damaged file
        raise explained(error, source, name) from error


def read_video(video: Any, name: str, selection: Selection, fit: Fit, background: Color = BLACK) -> Clip:
    """The selected frames of a ComfyUI VIDEO: from its file if that is not trimmed, otherwise from its components.

    Args, Raises: as `read_file`.
    """
    import av

    try:
        if isinstance(video, InputImpl.VideoFromFile) and not _is_trimmed(video):
            return read_file(video.get_stream_source(), name, selection, fit, background)
        parts = video.get_components()
    except Refusal:
        raise
    except (av.FFmpegError, OSError, ValueError, AttributeError) as error:
        raise Refusal(f"{name} cannot be read ({error}); connect a VIDEO that plays.") from error
    images, alpha = parts.images, getattr(parts, "alpha", None)
    if alpha is not None and images.shape[-1] == 3:
        images = torch.cat((images, alpha.reshape(*images.shape[:3], 1)), dim=-1)
    return read_images(images, name, selection, fit, float(parts.frame_rate), parts.audio, background)


def _is_trimmed(video: Any) -> bool:
    import av

    try:
        return video.get_duration() != InputImpl.VideoFromFile(video.get_stream_source()).get_duration()
    except (av.FFmpegError, OSError, ValueError):  # ComfyUI cannot read it; perhaps we can, or say why
        return False


def read_images(
    images: torch.Tensor,
    name: str,
    selection: Selection,
    fit: Fit,
    fps: float = STILL_FPS,
    audio: dict[str, Any] | None = None,
    background: Color = BLACK,
) -> Clip:
    """The selected frames of an IMAGE, and their part of the sound.

    Args:
        images: [n, H, W, 3 or 4] of 0..1; a fourth channel is the opacity.
        name, selection, fit, background: As for `read_file`.
        fps: At which they play.
        audio: ComfyUI's AUDIO that begins with the first image.

    Raises:
        Refusal: There is no image at `start`, or the result is too large.
    """
    own_times = [index / fps for index in range(len(images))]
    taken = selection.frames(own_times, name)
    chosen = images[taken] if selection.rate else images[selection.first :: selection.every_nth][: len(taken)]
    source_size = (images.shape[2], images.shape[1])
    where = fit(source_size)
    if images.shape[-1] == 3 and where == Placement(source_size, source_size):
        collected = Collected(chosen.float(), None, [], source_size, where)
    else:
        pictures = (Picture(None, image.float().cpu().numpy(), source_size) for image in chosen)
        collected = collect(pictures, len(taken), name, fit, background)
    rate = selection.playing_rate(fps)
    if audio is not None:
        samples, begin = audio["sample_rate"], selection.first / (selection.rate or fps)
        end = begin + len(taken) / rate
        waveform = audio["waveform"][..., round(begin * samples) : round(end * samples)]
        audio = {"waveform": waveform, "sample_rate": samples} if waveform.shape[-1] else None
    return collected.clip(rate, taken, audio)


def read_sequence(paths: list[str], name: str, selection: Selection, fit: Fit, background: Color = BLACK) -> Clip:
    """The selected pictures of a folder as a clip; they go where the first one does.

    Args:
        paths: The pictures in order.
        name: What the folder is called in messages.
        selection: Which of them; its `rate` is that at which they play, since they have none of their own.
        fit, background: As for `read_file`.

    Raises:
        Refusal: As `read_file`, for each of them.
    """
    rate, selection = selection.rate or STILL_FPS, replace(selection, rate=0.0)
    taken = selection.frames([index / rate for index in range(len(paths))], name)
    sizes: set[tuple[int, int]] = set()

    def pictures() -> Iterator[Picture]:
        for index in taken:
            clip = read_file(paths[index], os.path.basename(paths[index]), _ONE, _as_it_is)
            sizes.add(clip.source_size)
            pixels = clip.images[0]
            if clip.alpha is not None:  # laid on black, which is undone
                opacity = clip.alpha[0, ..., None]
                pixels = torch.cat((pixels / opacity.clamp(min=1e-6), opacity), dim=-1)
            yield Picture(None, pixels.numpy(), clip.source_size)

    collected = collect(pictures(), len(taken), name, fit, background)
    notes = ["Its pictures differ in size; all were brought to the first one's."] * (len(sizes) > 1)
    return collected.clip(selection.playing_rate(rate), taken, None, notes)


def _as_it_is(size: tuple[int, int]) -> Placement:
    return Placement(size, size)


def _read_webp(source: Source, name: str, selection: Selection, fit: Fit, background: Color) -> Clip:
    with opened_file(source) as file, open_picture(file, ("WEBP",)) as image:
        times = webp_seconds(image) if selection.rate else [float(index) for index in range(image.n_frames)]
        taken = selection.frames(times, name)
        collected = collect(picked(webp_pictures(image, taken[-1]), taken), len(taken), name, fit, background)
        notes = ["The file is cut off: its end is missing."] * is_cut_off(file)
    fps = selection.playing_rate(0) if selection.rate else frame_rate(collected.seconds, None, 0.001)
    return collected.clip(fps, taken, None, notes)
