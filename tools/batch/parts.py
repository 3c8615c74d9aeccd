"""A long clip in parts that carry their key frame along, so that each is edited as it would be in the whole clip.

With fixed key frames a frame looks at itself and at one frame of the clip. A part is that frame, put before its own
frames, and the key frames are then `current, first`. What spans the whole clip in another way is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fatezero.network.key_frames import CHOICES, key_frame_indices

from .clip import measured
from .graph import INFLATE, LOADER, SAVER, Graph, nodes
from .table import BatchError
from .whole_only import AUDIO, refuse_unfit_nodes

CURRENT, FIXED = "current", ("first", "middle", "last")
IMAGES, FPS = 0, 1  # outputs of Video Load


@dataclass(frozen=True)
class Splitting:
    """How clips are cut: into `parts` of equal length, into parts of at most `frames`; at `shots`, or not at all."""

    parts: int = 1
    frames: int = 0
    shots: bool = False

    @property
    def asked_by(self) -> str:
        """The options of the command that ask for it."""
        used = {"--split": self.parts > 1, "--frames": self.frames > 0, "--shots": self.shots}
        return " and ".join(option for option, is_used in used.items() if is_used)


@dataclass(frozen=True)
class Part:
    """Frames `start` to `start + count` of a clip's selection, edited with the frame `key` before them.

    fps: At which the whole selection plays; a part of a clip with uneven times would have another.
    """

    start: int
    count: int
    key: int
    fps: float


def cut(graph: Graph, splitting: Splitting) -> list[Part] | None:
    """The parts of a graph's clip; None when it stays whole.

    Raises:
        BatchError: For a workflow whose clip cannot be cut with the same result.
    """
    if splitting == Splitting():
        return None
    node = _loader(graph)
    path, loader = graph.uploads.get((node, "file")), graph.prompt[node]
    if path is None:
        raise BatchError("A clip is only cut where column 'clip' names its file.")
    frames = measured(path, loader)
    shots = _shots(path, loader["inputs"], frames.count) if splitting.shots else [(0, frames.count)]
    pieces = [(shot, piece) for shot in shots for piece in _pieces(shot[0], shot[1] - shot[0], splitting)]
    if len(pieces) == 1:
        return None
    refuse_unfit_nodes(graph, splitting.asked_by)
    fixed = _fixed(_key_frames(graph))
    key_frames = {shot: shot[0] + int(key_frame_indices((fixed,), shot[1] - shot[0])[0, 0]) for shot in shots}
    return [Part(start, count, key_frames[shot], frames.fps) for shot, (start, count) in pieces]


def graph_of_part(graph: Graph, part: Part) -> Graph:
    """The graph that edits one part: the key frame is loaded too, put first, and left out of what is saved."""
    graph = graph.copy()
    loader = _loader(graph)
    entry = graph.prompt[loader]
    nth, start = entry["inputs"]["every_nth"], entry["inputs"]["start"]
    key = {**entry["inputs"], "start": start + part.key * nth, "count": 1}
    entry["inputs"] |= {"start": start + part.start * nth, "count": part.count}
    graph.prompt["key frame"] = {"class_type": LOADER, "inputs": key, "_meta": {"title": "Key frame"}}
    graph.uploads["key frame", "file"] = graph.uploads[loader, "file"]
    joined = {"image1": ["key frame", IMAGES], "image2": [loader, IMAGES]}
    for other in graph.prompt.values():
        for name, value in list(other["inputs"].items()):
            if value == [loader, IMAGES]:
                other["inputs"][name] = ["with key frame", 0]
            elif value == [loader, FPS]:
                other["inputs"][name] = part.fps
            elif value == [loader, AUDIO]:
                del other["inputs"][name]  # the sound comes to the whole
    graph.prompt["with key frame"] = _node("ImageBatch", joined, "With key frame")
    entries = ", ".join("first" if entry in FIXED else entry for entry in _key_frames(graph))
    for inflate in nodes(graph, INFLATE).values():
        inflate["inputs"] |= {"key_frames": "custom", "custom_key_frames": entries}
    _save_without_key_frame(graph, part.count)
    return graph


def _save_without_key_frame(graph: Graph, count: int) -> None:
    for node, entry in nodes(graph, SAVER).items():
        for name in ("images", "compare_with"):
            if isinstance(entry["inputs"].get(name), list):
                cutter = f"{node} {name}"
                inputs = {"image": entry["inputs"][name], "batch_index": 1, "length": count}
                graph.prompt[cutter] = _node("ImageFromBatch", inputs, "Without key frame")
                entry["inputs"][name] = [cutter, 0]


def _node(kind: str, inputs: dict, name: str) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": name}}


def _loader(graph: Graph) -> str:
    loaders = list(nodes(graph, LOADER))
    if len(loaders) != 1:
        raise BatchError(f"The workflow has {len(loaders)} Video Load nodes; a clip is only cut where there is one.")
    return loaders[0]


def _key_frames(graph: Graph) -> list[str]:
    """The frames that each frame looks at: itself, and at most one that is the same for all."""
    inflations = [entry["inputs"] for entry in nodes(graph, INFLATE).values()]
    if any(inputs.get("normalise_across_frames") for inputs in inflations):
        raise BatchError("The clip cannot be cut, since 'normalise across frames' is on; switch it off.")
    chosen = {CHOICES.get(inputs["key_frames"], inputs["custom_key_frames"]) for inputs in inflations} or {CURRENT}
    written = chosen.pop()
    entries = [entry.strip().lower() for entry in written.split(",")]
    if chosen or len(set(entries) & set(FIXED)) > 1 or not set(entries) <= {CURRENT, *FIXED}:
        raise BatchError(
            f"The clip cannot be cut with the key frames '{written}'; choose 'current + middle (paper)' or another "
            "with one frame that is the same for all."
        )
    return entries


def _fixed(entries: list[str]) -> str:
    return next((entry for entry in entries if entry in FIXED), "first")


def _pieces(first: int, count: int, splitting: Splitting) -> Iterator[tuple[int, int]]:
    """(start, count) of pieces that differ by one frame at most."""
    pieces = max(1, min(count, splitting.parts))
    if splitting.frames:
        pieces = max(pieces, -(-count // splitting.frames))
    for piece in range(pieces):
        start, end = first + count * piece // pieces, first + count * (piece + 1) // pieces
        yield start, end - start


def _shots(path: Path, inputs: dict, selected: int) -> list[tuple[int, int]]:
    """(first, last + 1) of each shot, in frames of the selection."""
    try:
        from scenedetect import ContentDetector, detect
    except ImportError:
        raise BatchError("--shots needs PySceneDetect; install it with: pip install scenedetect-headless") from None
    cuts = [scene[0].frame_num for scene in detect(str(path), ContentDetector())][1:]
    inside = sorted({-(-(cut - inputs["start"]) // inputs["every_nth"]) for cut in cuts})
    edges = [0, *(cut for cut in inside if 0 < cut < selected), selected]
    return list(zip(edges, edges[1:]))
