"""Writes frames, one at a time, to mp4, webm, gif or png; nothing stays on disk but a finished clip."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from ..disk import unfinished_folder
from ..refusal import Refusal
from .frames import ACCURATE_COLORS, Placement, place, to_bytes, to_float
from .running import Progress, heed_cancel
from .write_gif import write_gif
from .write_limits import LAYOUTS, held_rate, held_size, held_sound

# codecs of pictures and sound, the rate factor of quality 0 (that of quality 100 is 0), options of codec and container
_VIDEO: dict[str, tuple[str, str, int, dict[str, str], dict[str, str]]] = {
    # chromaloc: FFmpeg puts the colours of 4:2:0 in the middle of their pixels
    "mp4": ("libx264", "aac", 51, {"x264-params": "chromaloc=1"}, {"movflags": "use_metadata_tags+faststart"}),
    "webm": ("libvpx-vp9", "libopus", 63, {"b": "0", "row-mt": "1", "cpu-used": "4"}, {}),
}


@dataclass(frozen=True)
class _Movie:
    """The pictures to write: every `step`th of the images [n, H, W, 3 or 4], with others to their left if given, scaled
    to `size` (width, height) where theirs is another."""

    images: torch.Tensor
    beside: torch.Tensor | None
    step: int
    size: tuple[int, int]
    rate: Fraction

    def __len__(self) -> int:
        return len(range(0, len(self.images), self.step))

    def pictures(self) -> Iterator[np.ndarray]:
        """8-bit RGB, one after the other; cancels where ComfyUI is told to."""
        progress = Progress(len(self))
        for index in range(0, len(self.images), self.step):
            heed_cancel()
            picture = to_bytes(self.images[index])
            if self.beside is not None:
                picture = np.concatenate((to_bytes(self.beside[index]), picture), axis=1)
            if picture.shape[1::-1] != self.size:
                picture = to_bytes(place(to_float(picture), Placement(self.size, self.size)))
            yield picture
            progress.step()


def write_clip(
    path: str,
    images: torch.Tensor,
    fps: float,
    beside: torch.Tensor | None = None,
    audio: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
    quality: int = 70,
) -> list[str]:
    """Writes a clip; `path` appears when it is complete, or not at all.

    Args:
        path: Its ending gives the format: mp4, webm or gif; none makes a folder of png files.
        images: [n, H, W, 3 or 4] of 0..1.
        fps: Frames per second.
        beside: Images of the same shape to show to their left.
        audio: ComfyUI's AUDIO, cut to the clip's length (mp4, webm).
        metadata: Texts by name (not in gif).
        quality: 0..100 (mp4, webm).

    Returns:
        What had to be changed so that the format can hold the clip, each a sentence.

    Raises:
        OSError: The disk refuses.
        Refusal: The encoder refuses.
    """
    notes: list[str] = []
    format = os.path.splitext(path)[1][1:]
    whole = (images.shape[2] * (1 if beside is None else 2), images.shape[1])
    step, rate = held_rate(fps, format, notes)
    movie = _Movie(images, beside, step, held_size(whole, format, notes), rate)
    with unfinished_folder(path) as folder:
        unfinished = os.path.join(folder, os.path.basename(path))
        with _explained_encoder_errors(format):
            if format in _VIDEO:
                sound = None if audio is None else held_sound(audio, len(images) / fps, notes)
                _write_video(unfinished, format, movie, sound, metadata or {}, quality)
            elif format == "gif":
                write_gif(unfinished, movie.pictures, movie.size, movie.rate)
            else:
                _write_pngs(unfinished, movie, metadata or {})
        os.replace(unfinished, path)
    return notes


@contextmanager
def _explained_encoder_errors(format: str) -> Iterator[None]:
    import av

    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):  # the disk's
            raise
        raise Refusal(
            f"the encoder of {format} refused the clip ({error.strerror}); choose another format or a smaller size."
        ) from error


def _write_video(
    path: str, format: str, movie: _Movie, audio: dict[str, Any] | None, metadata: dict[str, str], quality: int
) -> None:
    import av

    video_codec, audio_codec, worst, codec_options, container_options = _VIDEO[format]
    # 4:2:0 colours, the ones that every player shows, need even sizes: the last row or column is repeated.
    width, height = (side + side % 2 for side in movie.size)
    with av.open(path, "w", format=format, options=container_options) as output:
        output.metadata.update(metadata)
        video: Any = output.add_stream(video_codec, rate=movie.rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"crf": str(round(worst * (100 - quality) / 100)), **codec_options}
        # BT.601 is what readers assume that ignore the tags; those that heed them are right as well.
        context = video.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 6, 1, 1, 1
        if audio is not None:
            _encode_audio(output, audio_codec, audio)
        for picture in movie.pictures():
            edges = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
            frame = av.VideoFrame.from_ndarray(np.pad(picture, edges, mode="edge"), format="rgb24")
            frame = frame.reformat(format="yuv420p", interpolation=ACCURATE_COLORS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def _encode_audio(output: Any, codec_name: str, audio: dict[str, Any]) -> None:
    """All the sound at once, before the pictures: it is small, and the container interleaves the two."""
    import av

    rate, waveform = audio["sample_rate"], audio["waveform"][0]
    layout, rates = LAYOUTS[len(waveform)], av.Codec(codec_name, "w").audio_rates
    stream = output.add_stream(codec_name, rate=rate if rates is None or rate in rates else 48000, layout=layout)
    # One sample of each channel after the other: PyAV cannot take eight channels apart.
    samples = waveform.T.reshape(1, -1).contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _write_pngs(folder: str, movie: _Movie, metadata: dict[str, str]) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for name, text in metadata.items():
        texts.add_text(name, text)
    os.mkdir(folder)
    for index, picture in enumerate(movie.pictures()):
        Image.fromarray(picture).save(os.path.join(folder, png_name(index)), pnginfo=texts, compress_level=4)


def png_name(index: int) -> str:
    """The name of a frame's file in a sequence of png files, as editors number them."""
    return f"{index:05}.png"
