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


def without_padding(row: dict[str, Any], padding: int) -> dict[str, Any]:
    """What a block is given for a row, without the tokens that only fill up its prompt."""
    if not padding:
        return row
    row = {**row, "txt": row["txt"][:, :-padding]}
    if row.get(MASK) is not None:
        row[MASK] = row[MASK][..., :-padding]
    return row


def _length(entry: dict[str, Any]) -> int:
    held = entry["model_conds"].get(EMBEDDING)
    return 0 if held is None else held.cond.shape[1]


def _filled(entry: dict[str, Any], padding: int) -> dict[str, Any]:
    """A conditioning with so many zero tokens behind its prompt; none of them is ever attended to."""
    if not padding:
        return entry
    held = dict(entry["model_conds"])
    held[EMBEDDING] = _with(held[EMBEDDING], (0, 0, 0, padding))
    if MASK in held:
        held[MASK] = _with(held[MASK], (0, padding))
    return {**entry, "model_conds": held}


def _with(held, fill: tuple[int, ...]):
    """One of ComfyUI's CONDs with its tensor filled up by zeros."""
    return held._copy_with(torch.nn.functional.pad(held.cond, fill))
