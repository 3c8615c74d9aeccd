"""The parts of a clip as one clip again: videos without coding them anew, and the sound of the whole."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fatezero.video.encoding import encodings
from fatezero.video.write_limits import held_sound
from fatezero.video.write_video import encode_audio

from .clip import sound_of
from .graph import LOADER, SAVER, Graph, nodes, numbered, title
from .parts import Part
from .results import Result, about
from .table import BatchError

FILMS = (".mp4", ".webm")
PNG_DIGITS = 5


def join(folders: list[Path], parts: list[Part], graph: Graph, target: Path) -> Result:
    """One result out of those of the parts.

    Args:
        folders: Of the parts' results, in order.
        parts: The parts themselves.
        graph: The row's, whose Video Load tells where the sound is.
        target: A folder to write videos in, which is removed by whoever calls this.

    Raises:
        BatchError: A part has not the frames that it was asked for.
    """
    written = [about(folder) for folder in folders]
    films = [name for name in written[0]["files"] if Path(name).suffix in FILMS]
    sounds = _sounds(graph) if films else {}
    files: dict[str, bytes] = {}
    for name in films:
        joined = target / name
        join_videos([folder / name for folder in folders], parts, joined, sounds.get(joined.stem))
        files[name] = joined.read_bytes()
    pictures: dict[str, list[bytes]] = {}
    for folder, told, part in zip(folders, written, parts):
        others = [name for name in told["files"] if Path(name).suffix not in FILMS]
        for name in others:
            of = name.partition("/")[0].removesuffix(".png")
            pictures.setdefault(of, []).append((folder / name).read_bytes())
        for of, saved in pictures.items():
            _check_count(len(saved), part.start + part.count, part, of)
    for of, saved in pictures.items():
        files |= {f"{of}/{number:0{PNG_DIGITS}d}.png": picture for number, picture in enumerate(saved)}
    return Result(files, seconds=round(sum(told["seconds"] for told in written), 1))


def join_videos(paths: list[Path], parts: list[Part], target: Path, sound: dict[str, Any] | None) -> None:
    """Puts the frames of videos with equal settings behind each other, each at its own time by the rate.

    Args:
        paths: Videos of one codec, size and rate.
        parts: Which frames each holds.
        target: The file to write.
        sound: What is heard, ComfyUI's AUDIO.
    """
    packets = [_packets(path) for path in paths]
    ranks = [_order_of_showing(part) for part in packets]
    # Encoders hold back as many frames as they like; none may be shown before it is decoded.
    delay = max(decoded - shown for order in ranks for decoded, shown in enumerate(order))
    options = {"movflags": "faststart"} if target.suffix == ".mp4" else {}
    with av.open(str(target), "w", options=options) as output, av.open(str(paths[0])) as first:
        template = first.streams.video[0]
        rate = Fraction(template.average_rate or template.guessed_rate).limit_denominator(1001)
        video = output.add_stream_from_template(template)
        if sound is not None:
            seconds = float(sum(map(len, packets)) / rate)
            container = target.suffix[1:]
            encode_audio(output, encodings()[container].sound, held_sound(sound, container, seconds, []))
        before = 0
        for coded, order, part in zip(packets, ranks, parts):
            _check_count(len(coded), part.count, part, target.name)
            for decoded, (packet, shown) in enumerate(zip(coded, order)):
                packet.time_base, packet.duration = 1 / rate, 1  # the container's own ticks may not divide a frame
                packet.pts, packet.dts = before + shown, before + decoded - delay
                packet.stream = video
                output.mux(packet)
            before += len(coded)


def _packets(path: Path) -> list[av.Packet]:
    """The coded frames of a video."""
    with av.open(str(path)) as part:
        return [packet for packet in part.demux(part.streams.video[0]) if packet.dts is not None]


def _order_of_showing(packets: list[av.Packet]) -> list[int]:
    """Which frame each packet shows, counted from the first."""
    rank = {time: shown for shown, time in enumerate(sorted(packet.pts for packet in packets))}
    return [rank[packet.pts] for packet in packets]


def _check_count(found: int, expected: int, part: Part, name: str) -> None:
    """What is damaged in a clip, or what a node has left out, shows only in the parts."""
    if found != expected:
        raise BatchError(
            f"The parts of {name} cannot be joined: frames {part.start} to {part.start + part.count - 1} came back as "
            f"{part.count + found - expected} frames, expected {part.count}. Is the clip damaged there, or does a node "
            "leave frames out? Convert the clip, or edit it without parts."
        )


def _sounds(graph: Graph) -> dict[str, dict[str, Any] | None]:
    """What is heard in the film of each Video Save that takes the clip's sound, by the film's name."""
    savers = [entry for entry in nodes(graph, SAVER).values() if not entry["inputs"].get("preview_only")]
    names = numbered([title(entry) for entry in savers])
    heard = [name for name, entry in zip(names, savers) if isinstance(entry["inputs"].get("audio"), list)]
    if not heard:
        return {}
    ((loader, entry),) = nodes(graph, LOADER).items()
    return dict.fromkeys(heard, sound_of(graph.uploads[loader, "file"], entry))
