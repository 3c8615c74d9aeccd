"""The sound of a clip during the frames that were taken."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch

from .decode import Findings, decode
from .memory import require_memory
from .open import Source

MOST_SAMPLES = 768_000  # a second; what has more is resampled, since no format holds it
_RUN_UP = 0.25  # seconds that decoders need before they give the right sound
_BLOCK = 1 << 20  # samples to begin with; the room grows with the sound, since a forged length must not take memory
_SILENCE = 60  # seconds that are added at most where the sound ends before the pictures


def read_sound(source: Source, stream: Any, begin: float, duration: float) -> dict[str, Any] | None:
    """ComfyUI's AUDIO of a span of time, silent where the sound has gaps.

    Args:
        source: The clip.
        stream: Its audio stream.
        begin: Where the span begins, in seconds of the clip.
        duration: How long it is, in seconds.

    Returns:
        waveform: float32 [1, channels, duration x rate], less where the sound ends a minute before that, and
        sample_rate; None if nothing of it could be decoded.

    Raises:
        Refusal: It does not fit in the free memory.
    """
    waveform, length, end, rate = None, 0, 0, 0
    for offset, samples, rate in _pieces(source, stream, begin):
        length = round(duration * rate)
        if waveform is None:
            waveform = np.zeros((samples.shape[0], min(length, _BLOCK)), np.float32)
        kept = samples[:, max(0, -offset) : max(0, length - offset)]
        first = max(0, offset)
        waveform = _grown(waveform, first + kept.shape[1], length)
        end = first + kept.shape[1]
        waveform[:, first:end] = kept
        if offset + samples.shape[1] >= length:
            break
    if waveform is None or length == 0:
        return None
    length = min(length, end + _SILENCE * rate)
    return {"waveform": torch.from_numpy(_grown(waveform, length, length)[:, :length])[None], "sample_rate": rate}


def _pieces(source: Source, stream: Any, begin: float) -> Iterator[tuple[int, np.ndarray, int]]:
    """The sound from `begin` on: where a piece lies after it, in samples, its samples [channels, n], and their rate."""
    from av import AudioResampler

    first = int((begin - _RUN_UP) / stream.time_base) if begin > _RUN_UP else None
    frames = decode(source, stream.index, first, Findings(), exact=False)
    position = None
    rate = None if stream.rate <= MOST_SAMPLES else MOST_SAMPLES  # None: its own
    # One sample of each channel after the other: PyAV crashes where it takes eight channels apart.
    for piece in chain.from_iterable(map(AudioResampler(format="flt", rate=rate).resample, frames)):
        samples, rate = piece.to_ndarray().reshape(-1, len(piece.layout.channels)).T, piece.sample_rate
        offset = position if piece.time is None else round((piece.time - begin) * rate)
        if position is None or offset is None or abs(offset - position) > rate / 20:  # a gap, not a rounded time stamp
            position = offset or 0
        yield position, samples, rate
        position += samples.shape[1]


def _grown(waveform: np.ndarray, needed: int, length: int) -> np.ndarray:
    """The waveform with room for at least `needed` samples, twice as much to grow into, but no more than `length`."""
    if needed <= waveform.shape[1]:
        return waveform
    room = min(length, max(needed, 2 * waveform.shape[1]))
    require_memory(4 * waveform.shape[0] * room, f"{room} samples of the clip's sound", "choose fewer frames")
    return np.pad(waveform, ((0, 0), (0, room - waveform.shape[1])))
