"""What the formats can hold, and how a clip is made to fit: after a long edit, a file with a note beats an error."""

import math
from fractions import Fraction
from typing import Any

from .encoding import encodings

GIF_FPS = 50.0  # players slow down gifs that ask for more

# of the sides, in pixels, by format
MOST_PIXELS = {name: encoding.most_pixels for name, encoding in encodings().items()} | {"gif": 65535, "webp": 16383}

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_LOUDEST = 4.0  # decoders go a little beyond full scale, 1; what is louder than this is no sound


def held_rate(fps: float, format: str, notes: list[str]) -> tuple[int, Fraction]:
    """How a frame rate is kept.

    Args:
        fps: Frames per second.
        format: Its name.
        notes: Get a sentence if frames are left out.

    Returns:
        The step from one written frame to the next, and their rate as an exact fraction, 30000/1001 among them.
    """
    step = max(1, math.ceil(fps / GIF_FPS - 1e-9)) if format == "gif" else 1
    if step > 1:
        notes.append(f"gif plays at most {GIF_FPS:g} frames per second; every {_nth(step)} frame was saved.")
    fps = fps / step
    return step, Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)


def _nth(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def held_size(size: tuple[int, int], format: str, notes: list[str]) -> tuple[int, int]:
    """The (width, height) in which pictures are written: smaller than `size` where the format cannot hold that.

    Args:
        size: The pictures' (width, height) in pixels.
        format: Its name.
        notes: Get a sentence if it is smaller.
    """
    most = MOST_PIXELS.get(format, max(size))
    if max(size) <= most:
        return size
    scale = most / max(size)
    smaller = (max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale)))
    notes.append(
        f"{format} holds at most {most} pixels a side, so {size[0]}x{size[1]} was saved as {smaller[0]}x{smaller[1]}; "
        "png keeps every size."
    )
    return smaller


def held_sound(audio: dict[str, Any], seconds: float, notes: list[str]) -> dict[str, Any]:
    """The sound to write.

    Args:
        audio: ComfyUI's AUDIO.
        seconds: How long the frames last; it is cut there.
        notes: Get a sentence if it had to be changed.

    Returns:
        waveform: float32 [1, 1 to 8 channels, samples] on the CPU, and sample_rate.
    """
    rate = audio["sample_rate"]
    waveform = audio["waveform"][:1, :, : max(1, round(seconds * rate))].float().cpu()
    if waveform.shape[1] not in LAYOUTS:
        notes.append(f"The sound's {waveform.shape[1]} channels were mixed into one.")
        waveform = waveform.mean(dim=1, keepdim=True)
    if waveform.abs().max() > _LOUDEST:
        notes.append("The sound is far louder than full scale and was cut to it; lower its volume.")
        waveform = waveform.clamp(-1, 1)
    return {"waveform": waveform, "sample_rate": rate}
