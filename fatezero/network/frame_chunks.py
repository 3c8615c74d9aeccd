"""Which frames of a clip go through the UNet together: memory then depends on the chunk, not on the clip.

Later chunks get the key frames that they do not hold from earlier ones: their hidden states are carried along, layer by
layer. So no frame is computed twice, and the result is that of the whole clip at once wherever an order of the chunks
exists in which every frame finds its key frames.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from ..refusal import counted
from .key_frames import NAMED_FRAMES, key_frame_indices
from .option_keys import CHUNK


@dataclass(frozen=True)
class FrameChunk:
    """Frames that go through the UNet in one call.

    Args:
        frames: The batch, as indices into the clip.
        own_count: The first own_count of them are this chunk's output; the rest only provide keys.
        pool: `frames`, and after them the frames carried along.
        keys: Each frame's key frames as places in the pool, int64 [len(frames), f].
        carry: Places in the pool to carry along from here on, int64 [c]; None to go on with what is carried already.
    """

    frames: tuple[int, ...]
    own_count: int
    pool: tuple[int, ...]
    keys: torch.Tensor
    carry: torch.Tensor | None = None

    @cached_property
    def index(self) -> torch.Tensor:
        """`frames` as an index, int64, on the device of the other indices; made once, since a GPU waits for it."""
        return torch.tensor(self.frames, device=self.keys.device)

    def to(self, device: torch.device) -> "FrameChunk":
        """The same with its indices on a device."""
        return replace(self, keys=self.keys.to(device), carry=None if self.carry is None else self.carry.to(device))


@dataclass(frozen=True)
class ChunkPlan:
    """The chunks of a clip in the order in which they run, and in words what is not as in the whole clip, or None."""

    chunks: tuple[FrameChunk, ...]
    approximation: str | None = None

    def to(self, device: torch.device) -> "ChunkPlan":
        """The same with its indices on a device: a GPU waits for each index that a layer sends it."""
        return replace(self, chunks=tuple(chunk.to(device) for chunk in self.chunks))


@dataclass(frozen=True)
class ActiveChunk:
    """The chunk that is in the UNet.

    chunks: all of the clip's, in the order in which they run; index: which of them this is; clip_frames: length of the
    clip; carried: what earlier chunks of the same evaluation left for later ones, under keys of whoever left it.
    """

    chunks: tuple[FrameChunk, ...]
    index: int
    clip_frames: int
    carried: dict = field(repr=False)

    @property
    def chunk(self) -> FrameChunk:
        return self.chunks[self.index]

    @property
    def frames(self) -> tuple[int, ...]:
        return self.chunk.frames

    @property
    def is_last(self) -> bool:
        return self.index + 1 == len(self.chunks)

    def at(self, index: int) -> "ActiveChunk":
        """Another chunk of the same evaluation."""
        return replace(self, index=index)

    def apart(self, name: str) -> "ActiveChunk":
        """The same chunk for other rows of the same evaluation, which carry along hidden states of their own."""
        return replace(self, carried=self.carried.setdefault(name, {}))

    def put(self, part: torch.Tensor, clip: torch.Tensor | None) -> torch.Tensor:
        """Writes this chunk's own frames of a tensor [b, ...] into the clip's [n, ...], made here when it is None."""
        if clip is None:
            clip = part.new_empty(self.clip_frames, *part.shape[1:])
        own_count = self.chunk.own_count
        clip[self.chunk.index[:own_count].to(clip.device)] = part[:own_count]
        return clip


def active_chunk(transformer_options: dict) -> ActiveChunk | None:
    """The chunk that is being evaluated, None in a plain call of the UNet."""
    return transformer_options.get(CHUNK)


def plan_chunks(entries: tuple[str, ...], frames: int, at_once: int, layers: int) -> ChunkPlan:
    """Cuts a clip into chunks for its key frames.

    entries: from `parse_key_frames`, ("current",) where frames are independent; frames: length of the clip; at_once:
    frames per chunk, at least 1 (key frames may make the first chunk longer); layers: self-attention layers of the
    UNet, through which a chain of neighbours reaches.
    Exact, to rounding: fixed key frames; the current frame; frames before or frames after, each with the fixed ones
    that lie at the end where they begin. Otherwise `approximation` says what is done instead.
    """
    if frames <= at_once:
        everything = tuple(range(frames))
        return ChunkPlan((FrameChunk(everything, frames, everything, key_frame_indices(entries, frames)),))
    wanted = key_frame_indices(entries, frames)
    offsets = [int(entry) for entry in entries if entry not in NAMED_FRAMES]
    if offsets and "all" not in entries:
        return _plan_chain(entries, wanted, offsets, at_once, layers)
    at_once = len(_cut(range(frames), at_once)[-1])
    if "all" in entries:
        return _plan_spread(frames, at_once)
    fixed = _fixed_frames(entries, frames)
    first = spread_frames(frames, at_once, fixed)
    parts = [first, *_cut([frame for frame in range(frames) if frame not in first], at_once)]
    return ChunkPlan(_chunks(parts, [()] * len(parts), wanted, [fixed or None] + [None] * (len(parts) - 1)))


def spread_frames(frames: int, count: int, including: tuple[int, ...] = ()) -> tuple[int, ...]:
    """About `count` frames evenly spread over a clip, in order, among them `including` even where that is more."""
    places = torch.linspace(0, frames - 1, max(0, count - len(including)))
    return tuple(sorted({*including, *places.round().int().tolist()}))


def _plan_spread(frames: int, at_once: int) -> ChunkPlan:
    """All frames as key frames: some that are spread over the clip stand for all of them."""
    first = spread_frames(frames, at_once)
    rest = _cut([frame for frame in range(frames) if frame not in first], at_once)
    common = torch.arange(len(first))
    chunks = [FrameChunk(first, len(first), first, common.expand(len(first), -1), common)]
    for part in rest:
        keys = [(len(part) + common).expand(len(part), -1), torch.arange(len(part))[:, None]]
        chunks.append(FrameChunk(part, len(part), part + first, torch.cat(keys, dim=1)))
    return ChunkPlan(
        tuple(chunks),
        f"key frames 'all': every frame looks at itself and at {counted(len(first), 'frame')} spread "
        f"over the clip, not at all {frames}",
    )


def _plan_chain(entries, wanted, offsets, at_once: int, layers: int) -> ChunkPlan:
    """Key frames at an offset: chunks run along the chain, and each hands its last frames on to the next."""
    frames = len(wanted)
    back, ahead = max(0, -min(offsets)), max(0, max(offsets))
    fixed = _fixed_frames(entries, frames)
    exact_overlap = ahead * layers if back else 0  # each layer looks one offset further
    overlap = min(exact_overlap, at_once // 2)
    parts = _cut(list(range(frames)), at_once - overlap)
    if not back:
        parts = [part[::-1] for part in parts[::-1]]
    lent = [tuple(range(part[-1] + 1, min(frames, part[-1] + 1 + overlap))) if back else () for part in parts]
    strangers = tuple(frame for frame in fixed if frame not in parts[0] + lent[0])
    lent[0] += strangers
    carried = [
        (
            *fixed,
            *(
                range(max(0, part[-1] + 1 - back), part[-1] + 1)
                if back
                else range(part[-1], min(frames, part[-1] + ahead))
            ),
        )
        for part in parts
    ]
    problems = []
    if overlap < exact_overlap:
        problems.append(
            f"key frames on both sides: chunks look {counted(overlap, 'frame')} ahead, but {exact_overlap} would be "
            "exact"
        )
    if strangers:
        problems.append("a fixed key frame beside previous or following ones is computed without its own neighbours")
    return ChunkPlan(_chunks(parts, lent, wanted, carried), "; ".join(problems) or None)


def _fixed_frames(entries, frames: int) -> tuple[int, ...]:
    fixed = tuple(entry for entry in entries if entry in ("first", "middle", "last"))
    return tuple(sorted(set(key_frame_indices(fixed, frames)[0].tolist()))) if fixed else ()


def _cut(frames, at_once: int) -> list[tuple[int, ...]]:
    """Parts of nearly equal length, at most at_once, the longest last."""
    parts = -(-len(frames) // at_once)
    ends = [len(frames) * part // max(parts, 1) for part in range(parts + 1)]
    return [tuple(frames[start:end]) for start, end in zip(ends, ends[1:])]


def _chunks(parts, lent, wanted, carried) -> tuple[FrameChunk, ...]:
    """Chunks with their own and lent frames, whose keys are the wanted frames or, where one is not there, the nearest.

    carried: for each chunk the frames carried along after it, or None for those that are.
    """
    chunks: list[FrameChunk] = []
    along: tuple[int, ...] = ()
    for own, others, handed_on in zip(parts, lent, carried):
        batch, names = own + others, own + others + along
        pool = torch.tensor(names)
        keys = (wanted[list(batch)][..., None] - pool).abs().argmin(dim=-1)
        carry = None
        if handed_on is not None:
            along = tuple(dict.fromkeys(handed_on))
            carry = torch.tensor([(pool - frame).abs().argmin() for frame in along], dtype=torch.long)
        chunks.append(FrameChunk(batch, len(own), names, keys, carry))
    return tuple(chunks)
