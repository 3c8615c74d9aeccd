"""Which frames each frame looks at in spatio-temporal self-attention (FateZero Eq. 8, Video-P2P's frame attention)."""

import torch

from ..refusal import Refusal, shortened

# What a person chooses from, as lists of frames: a word, or a signed offset from the current frame.
CHOICES = {
    "current + middle (paper)": "current, middle",
    "middle (released style settings)": "middle",
    "previous + first (Tune-A-Video)": "-1, first",
    "first (Video-P2P)": "first",
    "first + current": "first, current",
    "all": "all",
}
NAMED_FRAMES = ("current", "first", "middle", "last", "all")


def parse_key_frames(text: str) -> tuple[str, ...]:
    """Reads a list of key frames: words of NAMED_FRAMES and signed offsets from the current frame, with commas between.

    Offsets keep their sign, a bare 0 becomes `current`. Refuses an entry that is not understood, and an empty list.

    >>> parse_key_frames("Middle, -1, 2, 0")
    ('middle', '-1', '+2', 'current')
    """
    entries = []
    for entry in (part.strip().lower() for part in text.split(",") if part.strip()):
        if entry in NAMED_FRAMES:
            entries.append(entry)
            continue
        try:
            offset = int(entry)
        except ValueError:
            raise Refusal(
                f"'custom key frames' has '{shortened(entry)}', which is not one of {', '.join(NAMED_FRAMES)} or an "
                "offset such as -1; write for example 'current, middle'."
            ) from None
        entries.append("current" if offset == 0 else f"{offset:+d}")
    if not entries:
        raise Refusal("'custom key frames' is empty; write for example 'current, middle'.")
    return tuple(entries)


def key_frame_indices(entries: tuple[str, ...], frames: int) -> torch.Tensor:
    """The frames that each frame takes its keys and values from.

    As FateZero Eq. 8 and the official code's `SparseCausalAttention_index`, which lists key frames and adds no current
    frame of its own. The middle frame is (n-1)//2.

    Args:
        entries: From `parse_key_frames`.
        frames: Length n of the clip.

    Returns:
        int64 [n, f]; offsets are clipped to the clip. One column where all of them are the same, as in a single image:
        keys that all stand there twice change no softmax, but double its work.

    >>> key_frame_indices(("current", "middle"), 4).tolist()
    [[0, 1], [1, 1], [2, 1], [3, 1]]
    >>> key_frame_indices(("-1", "first"), 3).tolist()
    [[0, 0], [0, 0], [1, 0]]
    >>> key_frame_indices(("current", "middle"), 1).tolist()
    [[0]]
    """
    current = torch.arange(frames)
    columns = []
    for entry in entries:
        if entry == "current":
            columns.append(current[:, None])
        elif entry == "all":
            columns.append(torch.arange(frames).expand(frames, frames))
        elif entry in ("first", "middle", "last"):
            index = {"first": 0, "middle": (frames - 1) // 2, "last": frames - 1}[entry]
            columns.append(torch.full((frames, 1), index))
        else:
            columns.append((current + int(entry)).clamp(0, frames - 1)[:, None])
    frames_seen = torch.cat(columns, dim=1)
    return frames_seen[:, :1] if bool((frames_seen == frames_seen[:, :1]).all()) else frames_seen
