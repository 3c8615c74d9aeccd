"""Frames in the order of showing: found by their time stamps, past damage; and made whole where they are interlaced."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

from .open import Source, opened, picture_limit
from .running import heed_cancel

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_SEEK_BACK = (0, 10)  # seconds before the wanted frame at which to try to land before reading from the file's start
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders of these leave the transparency out


@dataclass
class Findings:
    """What was met while decoding: packets that cannot be decoded, interlaced frames."""

    damaged: bool = False
    interlaced: bool = False


def packets(container: "InputContainer", stream: Any) -> Iterator:
    """The packets that become frames: those at the end (empty) and outside the edit list (discarded) do not."""
    for packet in container.demux(stream):
        heed_cancel()
        if packet.size and not packet.is_discard:
            yield packet


def decode(source: Source, index: int, first: int | None, findings: Findings, exact: bool = True) -> Iterator:
    """The frames of a stream in the order of showing.

    Seeking lands late, or gives wrong time stamps, in some formats (AVI, MPEG) and on pictures that need earlier ones
    (open GOP): then from further back, at last from the file's start.

    Args:
        source: The clip.
        index: The stream's.
        first: The time stamp of the first frame wanted; None: from the start.
        findings: Is filled while the frames are taken.
        exact: Whether to begin at that very frame, not at any one before it.
    """
    if first is not None:
        for seconds_back in _SEEK_BACK:
            with opened(source) as container:
                frames = _sought(container, index, first, seconds_back, findings, exact)
                frame = next(frames, None)
                if frame is not None and _is_reached(frame, first, exact):
                    yield frame
                    yield from frames
                    return
    with opened(source) as container:
        frames = decoded(container, container.streams[index], findings)
        yield from _from(frames, first) if first is not None and exact else frames


def _sought(
    container: "InputContainer", index: int, first: int, seconds_back: int, findings: Findings, exact: bool
) -> Iterator:
    import av

    stream: Any = container.streams[index]
    try:
        container.seek(first - int(seconds_back / stream.time_base), stream=stream)
    except av.FFmpegError:
        return iter(())
    frames = decoded(container, stream, findings)
    return _from(frames, first) if exact else frames


def _from(frames: Iterator, first: int) -> Iterator:
    return dropwhile(lambda frame: frame.pts is None or frame.pts < first, frames)


def _is_reached(frame: "av.frame.Frame", first: int, exact: bool) -> bool:
    return frame.pts is not None and (frame.pts == first if exact else frame.pts <= first)


def decoded(container: "InputContainer", stream: Any, findings: Findings) -> Iterator:
    """All frames from where the container stands; what cannot be decoded is left out and noted."""
    import av

    decoder = _decoder(stream)
    for packet in container.demux(stream):
        heed_cancel()
        try:
            frames = decoder.decode(packet)
        except av.InvalidDataError:  # a damaged packet: the ones after it may well be whole
            findings.damaged = True
            continue
        yield from frames


def _decoder(stream: Any) -> Any:
    import av

    context = stream.codec_context
    name = _WITH_ALPHA.get(context.name) if stream.metadata.get("alpha_mode") == "1" else None
    if name is not None:
        whole = av.CodecContext.create(name, "r")
        whole.extradata = context.extradata
        context = whole
    if stream.type == "video":
        context.options = picture_limit()
        context.thread_type = "AUTO"
    return context


def deinterlaced(frames: Iterator, findings: Findings) -> Iterator:
    """Frames whose two fields were taken one after the other become whole pictures, by FFmpeg's bwdif.

    Args:
        frames: From `decode`; they get other time bases.
        findings: Is filled while the frames are taken.
    """
    graph = None
    for frame in frames:
        if frame.interlaced_frame and graph is None:
            findings.interlaced = True
            graph = _deinterlacer(frame)
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _deinterlacer(frame: Any) -> "av.filter.Graph":
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
    )
    filter_, sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    graph.link_nodes(source, filter_, sink).configure()
    return graph


def _pulled(graph: "av.filter.Graph") -> Iterator:
    import av

    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
