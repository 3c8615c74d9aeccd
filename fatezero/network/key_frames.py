"""Which frames each frame attends to in spatio-temporal self-attention (FateZero Eq. 8, Video-P2P's frame attention)."""

import torch

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
    """Reads a list of key frames such as `current, middle` or `-1, first`.

    text: words of NAMED_FRAMES and signed offsets from the current frame, separated by commas.
    Returns the entries; offsets keep their sign (`+1`), a bare `0` becomes `current`.
    Raises ValueError naming the entry that is not understood.
    """
    entries = []
    for entry in (part.strip().lower() for part in text.split(",") if part.strip()):
        if entry in NAMED_FRAMES:
            entries.append(entry)
            continue
        try:
            offset = int(entry)
        except ValueError:
            raise ValueError(
                f"'custom key frames' has '{entry}', which is not one of {', '.join(NAMED_FRAMES)} or an offset such as -1; "
                "write for example 'current, middle'."
            ) from None
        entries.append("current" if offset == 0 else f"{offset:+d}")
    if not entries:
        raise ValueError("'custom key frames' is empty; write for example 'current, middle'.")
    return tuple(entries)


def key_frame_indices(entries: tuple[str, ...], frames: int) -> torch.Tensor:
    """The frames that frame i takes its keys and values from.

    entries: from `parse_key_frames`; frames: length n of the clip.
    Returns int64 [n, f]; offsets are clipped to the clip, the middle frame is (n-1)//2.
    Source: FateZero Eq. 8; as the official code's `SparseCausalAttention_index`, which lists K/V frames and adds
    no current frame of its own.
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
    return torch.cat(columns, dim=1)
