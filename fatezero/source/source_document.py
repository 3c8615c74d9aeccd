"""What the header of a source run's file says, and whether a source run can be read from it.

Asked before a tensor is loaded: files come from anywhere.
"""

import math

import torch

from ..network.key_frames import parse_key_frames
from ..network.option_keys import TOKENS
from ..network.unet.inflation import Inflation
from ..prompts.tokens import CHUNK_LENGTH, PromptTokens, Word
from ..tensor_file import LARGEST, DefectiveFile, Layout
from .axes import match_axes
from .latent_cell import Cell
from .source_run import (
    CURRENT_LABEL,
    PAIR_VERSION,
    TARGET_LABEL,
    UNI_INV,
    UNI_VERSION,
    VERSION,
    VIDEO_VERSION,
    LowNoiseModel,
)

FORMAT = "FateZero source run"
LABELS = {
    VERSION: (TARGET_LABEL, CURRENT_LABEL),
    VIDEO_VERSION: (UNI_INV, CURRENT_LABEL),
    UNI_VERSION: (UNI_INV,),
    PAIR_VERSION: (UNI_INV, CURRENT_LABEL),
}
NEWEST_VERSION = max(LABELS)

# The tensors by name, and their axes: N steps, n frames, latents of c channels, h high and w wide; T tokens of C values
# in the prompt's encoding, T' of them mapped, in maps h' high and w' wide; U tokens of the null text.
TENSORS = {"sigmas": "N+1", "trajectory": "N+1 n c h w", "word_maps": "N n T' h' w'", "conditioning": "b T C"}
NULL_TEXT = {"null_text": "N 1|n U C"}  # only where the document has an entry "null_text"
# What the document says of them.
SIZES = {"steps": "N", "frames": "n", "latent_channels": "c", "latent_height": "h", "latent_width": "w"}
# Before the names of the tensors that a conditioning carries: the source's, and the one that null text stands for.
OPTION, NULL_TEXT_OPTION = "conditioning.", "null_text."

_PLAIN = (bool, int, float, str, type(None))
# Options that only objects of a running ComfyUI can fill, or that no source run has (`check_conditioning`).
NOT_IN_FILES = {
    "control": "a ControlNet",
    "gligen": "GLIGEN boxes",
    "hooks": "hooks (a LoRA for some steps)",
    "model_conds": "another node's conditions",
    "area": "an area",
    "mask": "a mask",
    "start_percent": "a part of the steps",
    "end_percent": "a part of the steps",
}


def check_document(document: dict, layout: dict[str, Layout]) -> None:
    """Raises DefectiveFile where a document and the layout of the tensors beside it are not those of a source run."""
    if document.get("format") != FORMAT:
        raise DefectiveFile("it is not an inverted clip")
    version = entry(document, "version", int)
    if version > NEWEST_VERSION:
        raise DefectiveFile(
            f"a newer FateZero wrote it (version {version}, this one knows {NEWEST_VERSION}), so "
            "that it needs an update of the pack"
        )
    if version < 1:
        raise DefectiveFile("its 'version' is wrong")
    entry(document, "fingerprint", str)
    if entry(document, "label", str) not in LABELS[version]:
        raise DefectiveFile("its 'label' is wrong")
    if not 0 <= entry(document, "refinement", int) <= 1000:
        raise DefectiveFile("its 'refinement' is wrong")
    read_inflation(document)
    read_made_with(document)
    read_cell(document)
    read_low_noise(document)
    _check_options(document, "conditioning", "conditioning")
    if document.get("null_text") is not None:  # files of before there was any have no such entry
        null_text = entry(document, "null_text", dict)
        _check_options(null_text, "options", "null_text")
        if not 1 < entry(null_text, "guidance", float) < 1e6:
            raise DefectiveFile("its 'null_text' is wrong")
    _check_layout(document, layout)


def check_values(tensors: dict[str, torch.Tensor]) -> None:
    """Raises DefectiveFile where tensors hold what no inversion gives."""
    for name, tensor in tensors.items():
        called = name.removeprefix(OPTION)[:80]
        parts = tensor.reshape(-1).split(2**24) if tensor.is_floating_point() else ()  # little memory at a time
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise DefectiveFile(f"its '{called}' holds NaN or infinite values")
        computed_with = name in TENSORS or name in NULL_TEXT
        if computed_with and any(float(part.abs().max()) > LARGEST for part in parts):
            raise DefectiveFile(f"its '{called}' holds values beyond what a model computes with")
    sigmas = tensors["sigmas"]
    if float(sigmas[0]) < 0 or not bool((sigmas[1:] > sigmas[:-1]).all()):
        raise DefectiveFile("its 'sigmas' do not rise")


def is_plain(name: str, value) -> bool:
    """Whether an option of a conditioning can go into the document."""
    finite = not isinstance(value, float) or math.isfinite(value)
    return type(value) in _PLAIN and finite and (name not in NOT_IN_FILES or value is None)


def entry(document: dict, name: str, kind: type):
    """A document's entry, of exactly this type."""
    value = document.get(name)
    if type(value) is not kind:
        raise DefectiveFile(f"its '{name}' is wrong")
    return value


def _check_options(document: dict, name: str, called: str) -> None:
    if any(option == TOKENS or not is_plain(option, value) for option, value in entry(document, name, dict).items()):
        raise DefectiveFile(f"its '{called}' is wrong")


def _check_layout(document: dict, layout: dict[str, Layout]) -> None:
    has_null_text = document.get("null_text") is not None
    sizes = {axis: entry(document, name, int) for name, axis in SIZES.items()}
    tensors = {**TENSORS, **(NULL_TEXT if has_null_text else {})}
    for name, axes in tensors.items():
        _check_tensor(name, axes, layout, sizes)
    if sizes["h'"] > sizes["h"] or sizes["w'"] > sizes["w"]:
        raise DefectiveFile("its word maps are finer than its latents")
    prefixes = (OPTION, NULL_TEXT_OPTION) if has_null_text else (OPTION,)
    for name in layout.keys() - tensors.keys():
        if not name.startswith(prefixes) or name.partition(".")[2] in (TOKENS, *NOT_IN_FILES):
            raise DefectiveFile("it holds more than an inverted clip")
    prompt = read_tokens(document)
    if prompt is not None and (prompt.length != sizes["T"] or prompt.end >= sizes["T'"]):
        raise DefectiveFile("its prompt and its conditioning do not agree with each other")


def _check_tensor(name: str, axes: str, layout: dict[str, Layout], sizes: dict[str, int]) -> None:
    if name not in layout:
        raise DefectiveFile(f"its '{name}' is missing")
    dtype, shape = layout[name]
    allowed = ("F64", "F32", "F16", "BF16") if name == "conditioning" else ("F32",)
    if dtype not in allowed or 0 in shape or not match_axes(axes, shape, sizes):
        raise DefectiveFile(
            f"its '{name}' is of type {dtype} and shape {list(shape)[:8]}, which does not fit the rest of it"
        )


# The parts of the document that are objects of ours.


def inflation_document(inflation: Inflation | None) -> dict | None:
    if inflation is None:
        return None
    return {
        "key_frames": list(inflation.key_frames),
        "minimum_width": inflation.minimum_width,
        "normalise_across_frames": inflation.normalise_across_frames,
    }


def read_inflation(document: dict) -> Inflation | None:
    if document.get("inflation", "missing") is None:
        return None
    saved = entry(document, "inflation", dict)
    entries = entry(saved, "key_frames", list)
    minimum_width = entry(saved, "minimum_width", int)
    try:
        valid = parse_key_frames(", ".join(entries)) == tuple(entries) and minimum_width >= 0
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise DefectiveFile("its 'inflation' is wrong")
    return Inflation(tuple(entries), minimum_width, entry(saved, "normalise_across_frames", bool))


def read_made_with(document: dict) -> dict[str, str] | None:
    if "made_with" not in document:  # files of version 0.1.0
        return None
    made_with = entry(document, "made_with", dict)
    if any(type(values) is not str for values in made_with.values()):
        raise DefectiveFile("its 'made_with' is wrong")
    return made_with


def read_cell(document: dict) -> Cell:
    if document["version"] not in (VIDEO_VERSION, PAIR_VERSION):
        return Cell()
    saved = entry(document, "cell", list)
    if len(saved) != 2 or not all(type(size) is int and 1 <= size <= 1024 for size in saved) or saved[1] == 1:
        raise DefectiveFile("its 'cell' is wrong")
    return Cell(*saved)


def low_noise_document(low_noise: LowNoiseModel) -> dict:
    return {"fingerprint": low_noise.fingerprint, "boundary": low_noise.boundary}


def read_low_noise(document: dict) -> LowNoiseModel | None:
    if document["version"] != PAIR_VERSION:
        return None
    saved = entry(document, "low_noise", dict)
    if not 0 <= entry(saved, "boundary", float) <= 1:
        raise DefectiveFile("its 'low_noise' is wrong")
    return LowNoiseModel(entry(saved, "fingerprint", str), saved["boundary"])


def tokens_document(tokens: PromptTokens | None) -> dict | None:
    if tokens is None:
        return None
    words = [[word.text, list(word.indices)] for word in tokens.words]
    saved = {"text": tokens.text, "ids": list(tokens.ids), "words": words}
    return {**saved, "is_t5": True} if tokens.is_t5 else saved


def read_tokens(document: dict) -> PromptTokens | None:
    if document.get("tokens", "missing") is None:
        return None
    saved = entry(document, "tokens", dict)
    text, ids, words = (entry(saved, name, kind) for name, kind in (("text", str), ("ids", list), ("words", list)))
    length, is_t5 = len(ids), saved.get("is_t5", False) is True
    valid = length > 0 and (is_t5 or length % CHUNK_LENGTH == 0) and all(type(token) in (int, str) for token in ids)
    valid = valid and all(_is_word(word, length) for word in words)
    if valid and is_t5:
        valid = len({index for _, indices in words for index in indices}) < length  # T5 has an end and no begin
    if valid:
        owned = {index for _, indices in words for index in indices}
        chunks = range(0) if is_t5 else range(0, length, CHUNK_LENGTH)
        # Each chunk has a begin, and an end somewhere after it, that no word owns.
        valid = all(
            begin not in owned and len(owned.intersection(range(begin + 1, begin + CHUNK_LENGTH))) < CHUNK_LENGTH - 1
            for begin in chunks
        )
    if not valid:
        raise DefectiveFile("its 'tokens' are wrong")
    return PromptTokens(text, tuple(ids), tuple(Word(text, tuple(indices)) for text, indices in words), is_t5=is_t5)


def _is_word(word, length: int) -> bool:
    if not isinstance(word, list) or len(word) != 2 or type(word[0]) is not str or not isinstance(word[1], list):
        return False
    return len(word[1]) > 0 and all(type(index) is int and 0 <= index < length for index in word[1])
