"""Writes frames, one at a time, to mp4, webm, gif or png; nothing stays on disk but a finished clip."""

import os
from collections.abc import Iterator
from fractions import Fraction
from tempfile import TemporaryDirectory

import numpy as np
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar

from .frames import ACCURATE_COLORS, to_bytes

AUDIO_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

# codecs of pictures and sound, the rate factor of quality 0 (that of quality 100 is 0), options of codec and container
_VIDEO = {
    # chromaloc: FFmpeg puts the colours of 4:2:0 in the middle of their pixels
    "mp4": ("libx264", "aac", 51, {"x264-params": "chromaloc=1"}, {"movflags": "use_metadata_tags+faststart"}),
    "webm": ("libvpx-vp9", "libopus", 63, {"b": "0", "row-mt": "1", "cpu-used": "4"}, {}),
}


def write_clip(
    path: str,
    images: torch.Tensor,
    fps: float,
    beside: torch.Tensor | None = None,
    audio: dict | None = None,
    metadata: dict[str, str] | None = None,
    quality: int = 70,
) -> None:
    """Writes a clip in the format that `path` ends with; `path` appears when it is complete, or not at all.

    images: [n, H, W, 3 or 4] of 0..1; beside: images of the same shape to show to their left; audio: ComfyUI's AUDIO,
    cut to the clip's length (mp4, webm); metadata: texts by name (not in gif); quality: 0..100 (mp4, webm). A path that
    has no extension becomes a folder of png files. Raises OSError where the disk refuses.
    """
    extension = os.path.splitext(path)[1][1:]
    # The unfinished clip lies beside the finished one, so that the last step is a mere renaming.
    with TemporaryDirectory(prefix=".unfinished_", dir=os.path.dirname(path)) as folder:
        unfinished = os.path.join(folder, os.path.basename(path))
        if extension in _VIDEO:
            _write_video(unfinished, extension, images, fps, beside, audio, metadata or {}, quality)
        elif extension == "gif":
            _write_gif(unfinished, images, fps, beside)
        else:
            _write_pngs(unfinished, images, beside, metadata or {})
        os.replace(unfinished, path)


def _pictures(images: torch.Tensor, beside: torch.Tensor | None) -> Iterator[np.ndarray]:
    progress = ProgressBar(len(images))
    for index, image in enumerate(images):
        throw_exception_if_processing_interrupted()
        picture = to_bytes(image)
        yield picture if beside is None else np.concatenate((to_bytes(beside[index]), picture), axis=1)
        progress.update(1)


def _size(images: torch.Tensor, beside: torch.Tensor | None) -> tuple[int, int]:
    return images.shape[2] * (1 if beside is None else 2), images.shape[1]


def _rate(fps: float) -> Fraction:
    """A frame rate as an exact fraction, 30000/1001 among them."""
    return Fraction(fps).limit_denominator(1001)


def _write_video(path, extension, images, fps, beside, audio, metadata, quality):
    import av

    video_codec, audio_codec, worst, codec_options, container_options = _VIDEO[extension]
    # 4:2:0 colours, the ones that every player shows, need even sizes: the last row or column is repeated.
    width, height = (side + side % 2 for side in _size(images, beside))
    with av.open(path, "w", format=extension, options=container_options) as output:
        output.metadata.update(metadata)
        video = output.add_stream(video_codec, rate=_rate(fps))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"crf": str(round(worst * (100 - quality) / 100)), **codec_options}
        # BT.601 is what readers assume that ignore the tags; those that heed them are right as well.
        context = video.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 6, 1, 1, 1
        if audio is not None:
            _encode_audio(output, audio_codec, audio, len(images) / fps)
        for picture in _pictures(images, beside):
            edges = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
            frame = av.VideoFrame.from_ndarray(np.pad(picture, edges, mode="edge"), format="rgb24")
            frame = frame.reformat(format="yuv420p", interpolation=ACCURATE_COLORS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def _encode_audio(output, codec_name: str, audio: dict, seconds: float) -> None:
    """All the sound at once, before the pictures: it is small, and the container interleaves the two."""
    import av

    rate, layout = audio["sample_rate"], AUDIO_LAYOUTS[audio["waveform"].shape[1]]
    rates = av.Codec(codec_name, "w").audio_rates
    stream = output.add_stream(codec_name, rate=rate if rates is None or rate in rates else 48000, layout=layout)
    waveform = audio["waveform"][0, :, : round(seconds * rate)].float().cpu().contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _write_gif(path, images, fps, beside):
    """Twice through the frames: for the 256 colours that suit them best, and to write them in these."""
    import av

    width, height = _size(images, beside)
    rate = _rate(fps)
    pictures = {"width": width, "height": height, "format": "rgb24", "time_base": 1 / rate}

    graph = av.filter.Graph()
    source, generator, sink = graph.add_buffer(**pictures), graph.add("palettegen"), graph.add("buffersink")
    graph.link_nodes(source, generator, sink).configure()
    for picture in _pictures(images, beside):
        source.push(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    source.push(None)
    palette = sink.pull()

    graph = av.filter.Graph()
    source, mapper, sink = graph.add_buffer(**pictures), graph.add("paletteuse"), graph.add("buffersink")
    colors = graph.add_buffer(
        width=palette.width, height=palette.height, format=palette.format.name, time_base=1 / rate
    )
    source.link_to(mapper, 0, 0)
    colors.link_to(mapper, 0, 1)
    mapper.link_to(sink)
    graph.configure()
    colors.push(palette)
    colors.push(None)
    with av.open(path, "w", format="gif") as output:
        video = output.add_stream("gif", rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "pal8"
        for index, picture in enumerate(_pictures(images, beside)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            source.push(frame)
            output.mux(video.encode(sink.pull()))
        output.mux(video.encode(None))


def _write_pngs(folder, images, beside, metadata):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for name, text in metadata.items():
        texts.add_text(name, text)
    os.mkdir(folder)
    for index, picture in enumerate(_pictures(images, beside)):
        Image.fromarray(picture).save(os.path.join(folder, png_name(index)), pnginfo=texts, compress_level=4)


def png_name(index: int) -> str:
    """The name of a frame's file in a sequence of png files, as editors number them."""
    return f"{index:05}.png"
