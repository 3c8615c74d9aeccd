"""The parts of a clip as one clip again: videos without coding them anew, and the sound of the whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from .graph import LOADER, Graph
from .parts import AUDIO, Part, selected_frames
from .results import Result, about

SOUND = {".mp4": "aac", ".webm": "libopus"}
PNG_DIGITS = 5


def join(folders: list[Path], parts: list[Part], graph: Graph, target: Path) -> Result:
    """One result out of those of the parts.

    Args:
        folders: Of the parts' results, in order.
        parts: The parts themselves.
        graph: The row's, whose Video Load tells where the sound is.
        target: A folder to write videos in, which is removed by whoever calls this.
    """
    written = [about(folder) for folder in folders]
    files: dict[str, bytes] = {}
    pictures: dict[str, int] = {}
    for name in written[0]["files"]:
        if (joined := target / name).suffix in SOUND:
            counts = [part.count for part in parts]
            join_videos([folder / name for folder in folders], counts, joined, _sound(graph))
            files[name] = joined.read_bytes()
    for folder, told in zip(folders, written):
        for name in told["files"]:
            if Path(name).suffix not in SOUND:
                of = name.partition("/")[0].removesuffix(".png")
                files[f"{of}/{pictures.get(of, 0):0{PNG_DIGITS}d}.png"] = (folder / name).read_bytes()
                pictures[of] = pictures.get(of, 0) + 1
    return Result(files, seconds=round(sum(told["seconds"] for told in written), 1))


def join_videos(paths: list[Path], counts: list[int], target: Path, sound: "Sound | None") -> None:
    """Puts the packets of videos with equal settings behind each other.

    Args:
        paths: Videos of one codec, size and rate.
        counts: The frames of each.
        target: The file to write.
        sound: What is heard, from the clip's own file.
    """
    parts = [_packets(path) for path in paths]
    delay = max(packets[0].pts - packets[0].dts for packets in parts)  # encoders hold back as many frames as they like
    with av.open(str(target), "w", options={"movflags": "faststart"} if target.suffix == ".mp4" else {}) as output:
        with av.open(str(paths[0])) as first:
            video = output.add_stream_from_template(first.streams.video[0])
            frame = round(1 / (first.streams.video[0].average_rate * first.streams.video[0].time_base))
        heard = output.add_stream(SOUND[target.suffix], rate=48000) if sound else None
        shown = decoded = 0
        for packets, count in zip(parts, counts):
            for packet in packets:
                packet.pts, packet.dts = packet.pts + shown * frame, decoded * frame - delay
                packet.stream = video
                output.mux(packet)
                decoded += 1
            shown += count
        if sound and heard:
            for packet in sound.encoded(heard):
                output.mux(packet)


def _packets(path: Path) -> list[av.Packet]:
    """The coded frames of a video."""
    with av.open(str(path)) as part:
        return [packet for packet in part.demux(part.streams.video[0]) if packet.dts is not None]


@dataclass(frozen=True)
class Sound:
    """The sound of a file from `start` for `seconds`."""

    path: Path
    start: float
    seconds: float

    def encoded(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        """The packets for an output's stream."""
        resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=stream.rate)
        fifo, left = av.AudioFifo(), round(self.seconds * stream.rate)
        with av.open(str(self.path)) as container:
            source = container.streams.best("audio")
            container.seek(int(max(0.0, self.start - 1) * av.time_base))
            for frame in container.decode(source):
                if frame.time is None or frame.time + frame.samples / frame.sample_rate <= self.start:
                    continue
                frame.pts = None
                for resampled in resampler.resample(frame):
                    fifo.write(resampled)
                if fifo.samples >= left:
                    break
        written = 0
        while fifo.samples and left > 0:
            frame = fifo.read(min(stream.frame_size or 1024, left, fifo.samples))
            frame.pts, frame.time_base = written, Fraction(1, stream.rate)
            written, left = written + frame.samples, left - frame.samples
            yield from stream.encode(frame)
        yield from stream.encode(None)


def _sound(graph: Graph) -> Sound | None:
    """The sound of the frames that Video Load takes; None where nothing saves it, or the clip has none."""
    loader = next(node for node, entry in graph.prompt.items() if entry["class_type"] == LOADER)
    if not any([loader, AUDIO] in entry["inputs"].values() for entry in graph.prompt.values()):
        return None
    path, inputs = graph.uploads[loader, "file"], graph.prompt[loader]["inputs"]
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        rate = float(container.streams.best("video").average_rate)
    return Sound(path, inputs["start"] / rate, selected_frames(path, inputs) * inputs["every_nth"] / rate)
