"""A source run as a file: one safetensors file with a JSON document in its header, exact to the last bit."""

import os

import torch

from ..disk import explained_disk_errors
from ..network.option_keys import TOKENS
from ..refusal import Refusal
from ..tensor_file import DTYPES, DefectiveFile, Layout, can_be_written, read_tensors, write_tensors
from .source_document import (
    FORMAT,
    NOT_IN_FILES,
    NULL_TEXT_OPTION,
    OPTION,
    SIZES,
    check_document,
    check_values,
    inflation_document,
    is_plain,
    low_noise_document,
    read_cell,
    read_inflation,
    read_low_noise,
    read_made_with,
    read_tokens,
    tokens_document,
)
from .source_run import NullText, SourceRun


def write_source(path: str, source: SourceRun) -> None:
    """Saves a source run; the file appears when it is complete or not at all.

    Raises:
        Refusal: Where the conditioning carries what a file cannot hold.
        DiskRefusal: Where the disk has no room.
    """
    tensors = {"sigmas": source.sigmas, "trajectory": source.trajectory, "word_maps": source.word_maps}
    document = _document(source, tensors)
    layout = {name: Layout(DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    try:
        check_document(document, layout)
        check_values(tensors)
    except DefectiveFile as defect:  # said now, not when the file is needed
        raise Refusal(f"'inverted clip' cannot be saved: {defect}; invert the clip again.") from defect
    with explained_disk_errors(os.path.basename(path)):
        write_tensors(path, tensors, document)


def read_source(path: str) -> SourceRun:
    """The source run of a file; a Refusal with the file's name for everything wrong with it."""
    name = os.path.basename(path)
    try:
        document, tensors = read_tensors(path, check_document)
        check_values(tensors)
        return _source_run(document, tensors)
    except DefectiveFile as defect:
        raise Refusal(
            f"'{name}' cannot be used: {defect}; choose another file, or save the inverted clip again."
        ) from defect


def _document(source: SourceRun, tensors: dict[str, torch.Tensor]) -> dict:
    """A source run's document; adds the tensors of its conditioning and null text to the others."""
    document = {
        "format": FORMAT,
        "version": source.version,
        "fingerprint": source.fingerprint,
        "label": source.label,
        "refinement": source.refinement,
        "inflation": inflation_document(source.inflation),
        "tokens": tokens_document(source.tokens),
        "conditioning": _add_conditioning(source, tensors),
        "null_text": _add_null_text(source.null_text, tensors),
    }
    if source.cell.is_video:
        document["cell"] = [source.cell.pixels, source.cell.frames]
    if source.low_noise is not None:
        document["low_noise"] = low_noise_document(source.low_noise)
    if source.made_with is not None:
        document["made_with"] = source.made_with
    return {**document, **dict(zip(SIZES, (source.steps, *source.trajectory.shape[1:])))}


def _add_conditioning(source: SourceRun, tensors: dict[str, torch.Tensor]) -> dict:
    ((tensors["conditioning"], options),) = source.conditioning
    advice = "invert again with the plain source conditioning of Edit Prompts"
    return _add_options(tensors, OPTION, options, "the conditioning of 'inverted clip'", advice)


def _add_null_text(null_text: NullText | None, tensors: dict[str, torch.Tensor]) -> dict | None:
    if null_text is None:
        return None
    tensors["null_text"] = null_text.embeddings
    advice = "optimize it again with a plain negative conditioning"
    options = _add_options(tensors, NULL_TEXT_OPTION, null_text.options, "the null text of 'inverted clip'", advice)
    return {"guidance": float(null_text.guidance), "options": options}


def _add_options(tensors: dict, prefix: str, options: dict, whose: str, advice: str) -> dict:
    """Adds a conditioning's tensors to those of the file; returns what goes into the document."""
    plain = {}
    for name, value in options.items():
        if name == TOKENS:
            continue
        if can_be_written(value) and name not in NOT_IN_FILES:
            tensors[prefix + name] = value
        elif is_plain(name, value):
            plain[name] = value
        else:
            raise Refusal(
                f"{whose} carries {NOT_IN_FILES.get(name, repr(name))}, which a file cannot "
                f"hold; {advice}, or edit without saving."
            )
    return plain


def _source_run(document: dict, tensors: dict[str, torch.Tensor]) -> SourceRun:
    tokens = read_tokens(document)
    options = {**_options(tensors, OPTION), **document["conditioning"]}
    if tokens is not None:
        options[TOKENS] = tokens
    return SourceRun(
        sigmas=tensors["sigmas"],
        trajectory=tensors["trajectory"],
        word_maps=tensors["word_maps"],
        label=document["label"],
        refinement=document["refinement"],
        conditioning=[[tensors["conditioning"], options]],
        tokens=tokens,
        inflation=read_inflation(document),
        fingerprint=document["fingerprint"],
        version=document["version"],
        null_text=_null_text(document.get("null_text"), tensors),
        made_with=read_made_with(document),
        cell=read_cell(document),
        low_noise=read_low_noise(document),
    )


def _null_text(saved: dict | None, tensors: dict[str, torch.Tensor]) -> NullText | None:
    if saved is None:
        return None
    return NullText(
        tensors["null_text"], saved["guidance"], {**_options(tensors, NULL_TEXT_OPTION), **saved["options"]}
    )


def _options(tensors: dict, prefix: str) -> dict:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
