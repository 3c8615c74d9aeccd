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


def changes(format: str, size: tuple[int, int], fps: float | None, audio: dict[str, Any] | None) -> list[str]:
    """What a format will change of a clip, each a sentence, for those who want to know before the clip is edited.

    Args:
        format: Its name.
        size: The pictures' (width, height) in pixels.
        fps: Frames per second; None where they are not known yet.
        audio: ComfyUI's AUDIO; None where there is none, or it is not known yet.
    """
    notes: list[str] = []
    held_size(size, format, notes)
    if fps is not None:
        held_rate(fps, format, notes)
    if audio is not None:
        held_sound(audio, format, math.inf, notes)
    return notes


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
        notes.append(f"gif plays at most {GIF_FPS:g} frames per second; one of {step} frames is saved.")
    fps = fps / step
    return step, Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)


def held_size(size: tuple[int, int], format: str, notes: list[str]) -> tuple[int, int]:
    """The (width, height) in which pictures are written: another than `size` where the format cannot hold that.

    Args:
        size: The pictures' (width, height) in pixels.
        format: Its name.
        notes: Get a sentence if it is another.
    """
    least = encodings()[format].least_pixels if format in encodings() else (1, 1)
    most = MOST_PIXELS.get(format, max(size))
    if size[0] >= least[0] and size[1] >= least[1] and max(size) <= most:
        return size
    scale = min(1.0, most / max(size)) * max(1.0, least[0] / size[0], least[1] / size[1])
    width, height = (min(most, max(low, math.floor(side * scale))) for side, low in zip(size, least, strict=True))
    limit = f"holds at most {most} pixels a side" if max(size) > most else f"begins at {least[0]}x{least[1]} pixels"
    notes.append(f"{format} {limit}, so {size[0]}x{size[1]} is saved as {width}x{height}; png keeps every size.")
    return width, height


def held_sound(audio: dict[str, Any], format: str, seconds: float, notes: list[str]) -> dict[str, Any] | None:
    """The sound to write.

    Args:
        audio: ComfyUI's AUDIO.
        format: Its name.
        seconds: How long the frames last; it is cut there.
        notes: Get a sentence if it has to be changed.

    Returns:
        waveform: float32 [1, 1 to 8 channels, samples] on the CPU, and sample_rate; None in a format without sound.
    """
    if format not in encodings():
        notes.append(f"{format} holds no sound.")
        return None
    rate = audio["sample_rate"]
    length = audio["waveform"].shape[-1] if seconds == math.inf else max(1, round(seconds * rate))
    waveform = audio["waveform"][:1, :, :length].float().cpu()
    if waveform.shape[1] not in LAYOUTS:
        notes.append(f"The sound's {waveform.shape[1]} channels are mixed into one.")
        waveform = waveform.mean(dim=1, keepdim=True)
    if waveform.abs().max() > _LOUDEST:
        notes.append("The sound is far louder than full scale and is cut to it; lower its volume.")
        waveform = waveform.clamp(-1, 1)
    return {"waveform": waveform, "sample_rate": rate}
