"""A source run as a file: one safetensors file with a JSON document in its header, exact to the last bit."""

import math
import os

import torch

from ..network.key_frames import parse_key_frames
from ..network.option_keys import TOKENS
from ..network.unet_inflation import Inflation
from ..prompts.tokens import CHUNK_LENGTH, PromptTokens, Word
from ..refusal import Refusal
from .source_run import CURRENT_LABEL, TARGET_LABEL, NullText, SourceRun
from .tensor_file import DTYPES, DefectiveFile, Layout, can_be_written, explain_disk_errors, read_tensors, write_tensors

FORMAT = "FateZero source run"

# Before the names of the tensors that a conditioning carries: the source's, and the one that null text stands for.
_OPTION, _NULL_TEXT_OPTION = "conditioning.", "null_text."
_PLAIN = (bool, int, float, str, type(None))
# Options that only objects of a running ComfyUI can fill, or that no source run has (`check_conditioning`).
_NOT_IN_FILES = {
    "control": "a ControlNet",
    "gligen": "GLIGEN boxes",
    "hooks": "hooks (a LoRA for some steps)",
    "model_conds": "another node's conditions",
    "area": "an area",
    "mask": "a mask",
    "start_percent": "a part of the steps",
    "end_percent": "a part of the steps",
}


def write_source(path: str, source: SourceRun) -> None:
    """Saves a source run; the file appears when it is complete or not at all.

    Raises ValueError where the conditioning carries what a file cannot hold, OSError where the disk refuses.
    """
    ((embedding, options),) = source.conditioning
    tensors = {
        "sigmas": source.sigmas,
        "trajectory": source.trajectory,
        "word_maps": source.word_maps,
        "conditioning": embedding,
    }
    plain = _add_options(
        tensors,
        _OPTION,
        options,
        "the conditioning of 'source'",
        "invert again with the plain source conditioning of Edit Prompts",
    )
    null_text = source.null_text
    if null_text is not None:
        tensors["null_text"] = null_text.embeddings
        null_text = {
            "guidance": float(null_text.guidance),
            "options": _add_options(
                tensors,
                _NULL_TEXT_OPTION,
                null_text.options,
                "the null text of 'source'",
                "optimize it again with a plain negative conditioning",
            ),
        }
    _, frames, channels, height, width = source.trajectory.shape
    document = {
        "format": FORMAT,
        "version": source.version,
        "fingerprint": source.fingerprint,
        "label": source.label,
        "refinement": source.refinement,
        "inflation": _inflation_document(source.inflation),
        "tokens": _tokens_document(source.tokens),
        "conditioning": plain,
        "null_text": null_text,
        "steps": source.steps,
        "frames": frames,
        "latent_channels": channels,
        "latent_height": height,
        "latent_width": width,
    }
    try:
        _check(document, {name: Layout(DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()})
        _check_values(tensors)
    except DefectiveFile as defect:  # said now, not when the file is needed
        raise Refusal(f"'source' cannot be saved: {defect}; invert the clip again.") from defect
    with explain_disk_errors(f"{os.path.basename(path)}", "free space on the disk or choose another output folder"):
        write_tensors(path, tensors, document)


def read_source(path: str) -> SourceRun:
    """The source run of a file; ValueError, one sentence with the file's name, for everything wrong with it."""
    name = os.path.basename(path)
    try:
        document, tensors = read_tensors(path, _check)
        _check_values(tensors)
        return _source_run(document, tensors)
    except DefectiveFile as defect:
        raise Refusal(
            f"'{name}' cannot be used: {defect}; choose another file, or save the source run again."
        ) from defect


def _source_run(document: dict, tensors: dict) -> SourceRun:
    tokens = _tokens(document)
    options = {**_options(tensors, _OPTION), **document["conditioning"]}
    if tokens is not None:
        options[TOKENS] = tokens
    null_text = document.get("null_text")
    if null_text is not None:
        null_text = NullText(
            tensors["null_text"],
            null_text["guidance"],
            {**_options(tensors, _NULL_TEXT_OPTION), **null_text["options"]},
        )
    return SourceRun(
        sigmas=tensors["sigmas"],
        trajectory=tensors["trajectory"],
        word_maps=tensors["word_maps"],
        label=document["label"],
        refinement=document["refinement"],
        conditioning=[[tensors["conditioning"], options]],
        tokens=tokens,
        inflation=_inflation(document),
        fingerprint=document["fingerprint"],
        version=document["version"],
        null_text=null_text,
    )


def _add_options(tensors: dict, prefix: str, options: dict, whose: str, advice: str) -> dict:
    """Adds a conditioning's tensors to those of the file; returns what goes into the document."""
    plain = {}
    for name, value in options.items():
        if name == TOKENS:
            continue
        if can_be_written(value) and name not in _NOT_IN_FILES:
            tensors[prefix + name] = value
        elif _is_plain(name, value):
            plain[name] = value
        else:
            raise Refusal(
                f"{whose} carries {_NOT_IN_FILES.get(name, repr(name))}, which a file cannot "
                f"hold; {advice}, or edit without saving."
            )
    return plain


def _options(tensors: dict, prefix: str) -> dict:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _is_plain(name: str, value) -> bool:
    """Whether an option of a conditioning can go into the document."""
    finite = not isinstance(value, float) or math.isfinite(value)
    return type(value) in _PLAIN and finite and (name not in _NOT_IN_FILES or value is None)


# What the header must say, before a tensor is loaded.


def _check(document: dict, layout: dict) -> None:
    if document.get("format") != FORMAT:
        raise DefectiveFile("it is not a source run")
    version = _entry(document, "version", int)
    if version > SourceRun.version:
        raise DefectiveFile(
            f"a newer FateZero wrote it (version {version}, this one knows {SourceRun.version}), so "
            "that it needs an update of the pack"
        )
    if version < 1:
        raise DefectiveFile("its 'version' is wrong")
    _entry(document, "fingerprint", str)
    if _entry(document, "label", str) not in (TARGET_LABEL, CURRENT_LABEL):
        raise DefectiveFile("its 'label' is wrong")
    if not 0 <= _entry(document, "refinement", int) <= 1000:
        raise DefectiveFile("its 'refinement' is wrong")
    _inflation(document)
    _check_options(document, "conditioning", "conditioning")
    if document.get("null_text") is not None:  # files of before there was any have no such entry
        null_text = _entry(document, "null_text", dict)
        _check_options(null_text, "options", "null_text")
        if not 1 < _entry(null_text, "guidance", float) < 1e6:
            raise DefectiveFile("its 'null_text' is wrong")
    _check_layout(document, layout)


def _check_options(document: dict, entry: str, called: str) -> None:
    if any(name == TOKENS or not _is_plain(name, value) for name, value in _entry(document, entry, dict).items()):
        raise DefectiveFile(f"its '{called}' is wrong")


def _check_layout(document: dict, layout: dict) -> None:
    shapes = {}
    has_null_text = document.get("null_text") is not None
    for name, dimensions in (
        ("sigmas", 1),
        ("trajectory", 5),
        ("word_maps", 5),
        ("conditioning", 3),
        *([("null_text", 4)] if has_null_text else []),
    ):
        if name not in layout:
            raise DefectiveFile(f"its '{name}' is missing")
        dtype, shape = layout[name]
        allowed = ("F64", "F32", "F16", "BF16") if name == "conditioning" else ("F32",)
        if dtype not in allowed or len(shape) != dimensions or 0 in shape:
            raise DefectiveFile(f"its '{name}' is of type {dtype} and shape {list(shape)[:8]}, which no source run has")
        shapes[name] = shape
    others = [name for name in layout if name not in shapes]
    prefixes = (_OPTION, _NULL_TEXT_OPTION) if has_null_text else (_OPTION,)
    if any(not name.startswith(prefixes) or name.partition(".")[2] in (TOKENS, *_NOT_IN_FILES) for name in others):
        raise DefectiveFile("it holds more than a source run")
    expected = [
        _entry(document, name, int) for name in ("steps", "frames", "latent_channels", "latent_height", "latent_width")
    ]
    steps, frames, _, height, width = expected
    _, _, mapped_tokens, map_height, map_width = shapes["word_maps"]
    if (
        shapes["sigmas"] != (steps + 1,)
        or shapes["trajectory"] != (steps + 1, *expected[1:])
        or shapes["word_maps"][:2] != (steps, frames)
        or map_height > height
        or map_width > width
    ):
        raise DefectiveFile("its steps, frames and sizes do not agree with each other")
    if has_null_text and (
        shapes["null_text"][0] != steps
        or shapes["null_text"][1] not in (1, frames)
        or shapes["null_text"][3] != shapes["conditioning"][2]
    ):
        raise DefectiveFile("its null text does not fit its steps, frames and conditioning")
    prompt = _tokens(document)
    if prompt is not None and (prompt.length != shapes["conditioning"][1] or prompt.end >= mapped_tokens):
        raise DefectiveFile("its prompt and its conditioning do not agree with each other")


def _check_values(tensors: dict) -> None:
    for name, tensor in tensors.items():
        parts = tensor.reshape(-1).split(2**24)  # little memory at a time
        if tensor.is_floating_point() and not all(bool(torch.isfinite(part).all()) for part in parts):
            raise DefectiveFile(f"its '{name.removeprefix(_OPTION)[:80]}' holds NaN or infinite values")
    sigmas = tensors["sigmas"]
    if float(sigmas[0]) < 0 or not bool((sigmas[1:] > sigmas[:-1]).all()):
        raise DefectiveFile("its 'sigmas' do not rise")


def _entry(document: dict, name: str, kind: type):
    value = document.get(name)
    if type(value) is not kind:
        raise DefectiveFile(f"its '{name}' is wrong")
    return value


# The parts of the document that are objects of ours.


def _inflation_document(inflation: Inflation | None) -> dict | None:
    return (
        None
        if inflation is None
        else {
            "key_frames": list(inflation.key_frames),
            "minimum_width": inflation.minimum_width,
            "normalise_across_frames": inflation.normalise_across_frames,
        }
    )


def _inflation(document: dict) -> Inflation | None:
    if document.get("inflation", "missing") is None:
        return None
    saved = _entry(document, "inflation", dict)
    entries = _entry(saved, "key_frames", list)
    minimum_width = _entry(saved, "minimum_width", int)
    try:
        valid = parse_key_frames(", ".join(entries)) == tuple(entries) and minimum_width >= 0
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise DefectiveFile("its 'inflation' is wrong")
    return Inflation(tuple(entries), minimum_width, _entry(saved, "normalise_across_frames", bool))


def _tokens_document(tokens: PromptTokens | None) -> dict | None:
    return (
        None
        if tokens is None
        else {
            "text": tokens.text,
            "ids": list(tokens.ids),
            "words": [[word.text, list(word.indices)] for word in tokens.words],
        }
    )


def _tokens(document: dict) -> PromptTokens | None:
    if document.get("tokens", "missing") is None:
        return None
    saved = _entry(document, "tokens", dict)
    text, ids, words = (_entry(saved, name, kind) for name, kind in (("text", str), ("ids", list), ("words", list)))
    length = len(ids)
    valid = length > 0 and length % CHUNK_LENGTH == 0 and all(type(token) in (int, str) for token in ids)
    valid = valid and all(_is_word(word, length) for word in words)
    if valid:
        owned = {index for _, indices in words for index in indices}
        chunks = range(0, length, CHUNK_LENGTH)
        # Each chunk has a begin, and an end somewhere after it, that no word owns.
        valid = all(
            begin not in owned and len(owned.intersection(range(begin + 1, begin + CHUNK_LENGTH))) < CHUNK_LENGTH - 1
            for begin in chunks
        )
    if not valid:
        raise DefectiveFile("its 'tokens' are wrong")
    return PromptTokens(text, tuple(ids), tuple(Word(text, tuple(indices)) for text, indices in words))


def _is_word(word, length: int) -> bool:
    if not isinstance(word, list) or len(word) != 2 or type(word[0]) is not str or not isinstance(word[1], list):
        return False
    return len(word[1]) > 0 and all(type(index) is int and 0 <= index < length for index in word[1])
