"""Files that no one should open: of each format a good one, with bytes and headers changed."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from fatezero_pack.fatezero.tensor_file import DOCUMENT, write_tensors
from video_clips import beep, write_numbered

FRAMES = 6
VIDEOS = {"mp4": "libx264", "mkv": "libx264", "mov": "mpeg4", "avi": "mpeg4", "ts": "mpeg2video", "webm": "libvpx-vp9"}
PICTURES = {"gif": {}, "webp": {}, "png": {}, "tiff": {}, "jpg": {}}

_NUMBERS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
_STRANGERS = [None, True, -1, 0, 7, 2**70, 1e300, "", "x", "x" * 20000, [], {}, [None], [[["x"]]], {"x": {}}]


def good_clips(folder: Path) -> list[Path]:
    """A small clip or picture of each format, with sound where it can have some."""
    from PIL import Image

    clips = []
    for ending, codec in VIDEOS.items():
        sound = None if ending == "webm" else beep(0.1, 0.25)
        clips.append(write_numbered(folder / f"good.{ending}", codec, FRAMES, audio=sound))
    frames = [Image.new("RGBA", (48, 32), (40 * index, 90, 10, 255 - index)) for index in range(FRAMES)]
    for ending in PICTURES:
        clips.append(folder / f"good.{ending}")
        several = {} if ending == "jpg" else {"save_all": True, "append_images": frames[1:]}
        (frames[0].convert("RGB") if ending == "jpg" else frames[0]).save(clips[-1], **several)
    return clips


@st.composite
def spoilt_bytes(draw, data: bytes) -> bytes:
    """A file of which single bytes, whole numbers or pieces were changed, most of them near its beginning or end."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.one_of(st.integers(0, 256), st.integers(0, len(data)), st.integers(len(data) - 512, len(data))))
        at = min(max(at, 0), max(len(changed) - 1, 0))
        kind = draw(st.sampled_from(["bit", "byte", "number", "cut", "gap", "twice", "noise"]))
        if kind == "cut":
            del changed[at:]
        elif kind == "gap":
            del changed[at : at + draw(st.integers(1, 64))]
        elif kind == "twice":
            changed[at:at] = changed[at : at + draw(st.integers(1, 4096))]
        elif kind == "noise":
            changed[at : at + 16] = random.Random(at).randbytes(16)
        elif kind == "number":
            size = draw(st.sampled_from([2, 4, 8]))
            number = draw(st.sampled_from(_NUMBERS)) % 256**size
            changed[at : at + size] = number.to_bytes(size, draw(st.sampled_from(["big", "little"])))
        elif at < len(changed):
            changed[at] = changed[at] ^ 1 << draw(st.integers(0, 7)) if kind == "bit" else draw(st.integers(0, 255))
    return bytes(changed)


@st.composite
def forged(draw, good: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and the document of one of our files, some of them changed, for a file whose checksum is right."""
    tensors = load_file(good)
    with safe_open(good, framework="pt") as file:
        document = json.loads(file.metadata()[DOCUMENT])
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            _forge_entry(draw, document)
        else:
            _forge_tensor(draw, tensors)
    return tensors, document


def _forge_entry(draw, document: dict[str, Any]) -> None:
    """Changes, removes or adds an entry at any depth of a document."""
    places = [(document, name) for name in document] + [(document, draw(st.sampled_from(["area", "hooks", "new"])))]
    for holder, name in places:  # grows while it is walked through
        value = holder.get(name) if isinstance(holder, dict) else holder[name]
        inner = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        places += [(value, key) for key in inner]
    holder, name = draw(st.sampled_from(places))
    if draw(st.integers(0, 4)) == 0 and isinstance(holder, dict):
        holder.pop(name, None)
    else:
        holder[name] = draw(st.sampled_from(_STRANGERS))


def _forge_tensor(draw, tensors: dict[str, torch.Tensor]) -> None:
    """Changes a tensor's values, type or shape, takes it away, or adds one."""
    name = draw(st.sampled_from(sorted(tensors)))
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda tensor: torch.full_like(tensor, float("nan")),
        lambda tensor: tensor * 1e38,
        lambda tensor: tensor * 0,
        lambda tensor: -tensor,
        lambda tensor: tensor.half(),
        lambda tensor: tensor.double(),
        lambda tensor: tensor[:0],
        lambda tensor: tensor[:-1],
        lambda tensor: tensor[None],
        lambda tensor: tensor.flatten(),
        lambda tensor: torch.cat([tensor, tensor]),
    ]
    change = draw(st.sampled_from(changes))
    if draw(st.integers(0, 7)):
        tensors[name] = change(tensors[name]).contiguous()
    elif draw(st.booleans()) and len(tensors) > 1:
        tensors[f"{name}.{draw(st.sampled_from(['area', 'x', 'lora_up']))}"] = tensors.pop(name)
    else:
        tensors[draw(st.sampled_from(["conditioning.control", "x", "null_text.hooks"]))] = torch.zeros(2)


def write_forged(path: Path, tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
    """As the pack itself would write it."""
    write_tensors(str(path), tensors, document)
