"""Writes a gif: twice through the frames, for the 256 colours that suit them best, and to write them in these."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np


def write_gif(
    path: str, pictures: Callable[[], Iterator[np.ndarray]], size: tuple[int, int], rate: Fraction, loops: int = 0
) -> None:
    """Writes an animation.

    Args:
        path: The file.
        pictures: Gives the pictures from the first on each time it is called: 8-bit RGB [H, W, 3].
        size: Their (width, height).
        rate: Pictures per second.
        loops: How often it plays; 0 is for ever.

    Raises:
        av.FFmpegError: The file cannot be written.
    """
    import av

    buffer: dict[str, Any] = {"width": size[0], "height": size[1], "format": "rgb24", "time_base": 1 / rate}
    palette = _palette(pictures(), buffer)
    graph = av.filter.Graph()
    source, mapper, sink = graph.add_buffer(**buffer), graph.add("paletteuse"), graph.add("buffersink")
    colors = graph.add_buffer(
        width=palette.width, height=palette.height, format=palette.format.name, time_base=1 / rate
    )
    source.link_to(mapper, 0, 0)
    colors.link_to(mapper, 0, 1)
    mapper.link_to(sink)
    graph.configure()
    colors.push(palette)
    colors.push(None)
    again = {0: 0, 1: -1}.get(loops, loops - 1)  # FFmpeg counts how often it is repeated, and -1 is never
    with av.open(path, "w", format="gif", options={"loop": str(again)}) as output:
        video: Any = output.add_stream("gif", rate=rate)
        video.width, video.height, video.pix_fmt = *size, "pal8"
        for index, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            source.push(frame)
            output.mux(video.encode(sink.pull()))
        output.mux(video.encode(None))


def _palette(pictures: Iterator[np.ndarray], buffer: dict[str, Any]) -> Any:
    import av

    graph = av.filter.Graph()
    source, generator, sink = graph.add_buffer(**buffer), graph.add("palettegen"), graph.add("buffersink")
    graph.link_nodes(source, generator, sink).configure()
    for picture in pictures:
        source.push(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    source.push(None)
    return sink.pull()
