"""Prompts of unlike length in one call: the shorter ones are filled up, and our blocks cut off what fills them."""

from collections.abc import Sequence
from typing import Any

import torch

from ..model_call import Conds

EMBEDDING, MASK = "c_crossattn", "attention_mask"  # the names of a prompt and of its mask in a call


def with_equal_text(conds: Sequence[Conds | None]) -> tuple[list[Conds | None], dict[object, int]]:
    """Conditionings whose prompts have equally many tokens, so that ComfyUI takes them into one call.

    Args:
        conds: Conditionings as `calc_cond_batch` takes them, None for one that is left out; they are not changed.

    Returns:
        The same in the same order, and how many tokens fill up a row, by its uuid, where any do.
    """
    lengths = [_length(entry) for cond in conds if cond is not None for entry in cond]
    longest, padding = max(lengths, default=0), {}
    equal: list[Conds | None] = []
    for cond in conds:
        for entry in cond or []:
            if 0 < _length(entry) < longest:
                padding[entry["uuid"]] = longest - _length(entry)
        equal.append(None if cond is None else [_filled(entry, padding.get(entry["uuid"], 0)) for entry in cond])
    return equal, padding


def without_padding(row: dict[str, Any], padding: int, is_joint: bool) -> dict[str, Any]:
    """What a block is given for a row, without the tokens that only fill up its prompt; is_joint: as of Family."""
    if not padding:
        return row
    row, text = dict(row), text_tokens(row)
    if "txt" in row:
        row["txt"] = row["txt"][:, :-padding]
    else:
        options = row["transformer_options"]
        row["img"] = _cut(row["img"], 1, text, padding)
        row["transformer_options"] = {**options, "img_slice": [size - padding for size in options["img_slice"]]}
    if is_joint:
        row["pe"] = _cut(row["pe"], 2, text, padding)
    if row.get(MASK) is not None:
        row[MASK] = row[MASK][..., :-padding]
    return row


def with_padding(output: dict[str, torch.Tensor], row: dict[str, Any], padding: int) -> dict[str, torch.Tensor]:
    """The way back for what a block gives out, of zeros; row: what it was given, with padding."""
    if not padding:
        return output
    if "txt" in output:
        return {**output, "txt": torch.nn.functional.pad(output["txt"], (0, 0, 0, padding))}
    if "txt" in row:
        return output
    text = text_tokens(row) - padding
    words, clip = output["img"][:, :text], output["img"][:, text:]
    return {**output, "img": torch.cat((torch.nn.functional.pad(words, (0, 0, 0, padding)), clip), dim=1)}


def text_tokens(row: dict[str, Any]) -> int:
    """How many of a row's tokens are the prompt's; where they go with the clip's, ComfyUI says where those begin."""
    return row["txt"].shape[1] if "txt" in row else row["transformer_options"]["img_slice"][0]


def _cut(value: torch.Tensor, dim: int, end: int, count: int) -> torch.Tensor:
    """A tensor without so many entries before one place of a dimension."""
    kept = [value.narrow(dim, 0, end - count), value.narrow(dim, end, value.shape[dim] - end)]
    return torch.cat(kept, dim=dim)


def _length(entry: dict[str, Any]) -> int:
    held = entry["model_conds"].get(EMBEDDING)
    return 0 if held is None else held.cond.shape[1]


def _filled(entry: dict[str, Any], padding: int) -> dict[str, Any]:
    """A conditioning with so many tokens behind its prompt. None of them is ever attended to; HunyuanVideo reads the
    mean of all, so they are the mean."""
    if not padding:
        return entry
    held = dict(entry["model_conds"])
    prompt = held[EMBEDDING].cond
    mean = prompt.mean(dim=1, keepdim=True).expand(-1, padding, -1)
    held[EMBEDDING] = held[EMBEDDING]._copy_with(torch.cat((prompt, mean), dim=1))
    if MASK in held:
        held[MASK] = held[MASK]._copy_with(torch.nn.functional.pad(held[MASK].cond, (0, padding)))
    return {**entry, "model_conds": held}
