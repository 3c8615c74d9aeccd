"""Blocks of a video transformer run row by row, the source's first, so that one layer's queries and keys are held.

A row is one clip under one conditioning. At the length of a clip, rows in sequence take no longer than rows together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..option_keys import BLOCK, PADDING
from .equal_text import without_padding
from .families import Family, attention_kinds

Options = dict[str, Any]
# attend(kind, block, row's uuid, query, key, value, attention, mask) -> output; attention(query, key, value, mask)
Attend = Callable[..., torch.Tensor]


@dataclass
class BlockRun:
    """One row's way through one block: which attention comes next."""

    index: int
    kinds: tuple[str, ...]
    row: object
    calls: int = field(default=0)

    def next_kind(self) -> str | None:
        self.calls += 1
        return self.kinds[self.calls - 1] if self.calls <= len(self.kinds) else None


def install(options: Options, network, family: Family, is_source: Callable[[object], bool], attend: Attend) -> None:
    """Puts our hooks around every block and every attention, on a run's private transformer_options.

    Args:
        options: The run's transformer_options; what other nodes have put there is called through.
        network: The model's diffusion_model.
        family: Its family.
        is_source: Whether a row's uuid is the source's, which runs first.
        attend: What attention becomes.
    """
    replaced = {kind: dict(table) for kind, table in options.get("patches_replace", {}).items()}
    options["patches_replace"] = replaced
    blocks = replaced.setdefault("dit", {})
    for index, block in enumerate(getattr(network, family.blocks)):
        place = ("double_block", index)
        blocks[place] = BlockHook(index, attention_kinds(family, block), is_source, blocks.get(place))
    options["optimized_attention_override"] = AttentionHook(attend, options.get("optimized_attention_override"))


@dataclass(frozen=True)
class BlockHook:
    """Our replacement of a block, around another node's, or around nothing."""

    index: int
    kinds: tuple[str, ...]
    is_source: Callable[[object], bool]
    previous: Callable | None

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        options, hidden = args["transformer_options"], args["img"]
        rows, padding = options["uuids"], options.get(PADDING, {})
        outputs: dict[int, torch.Tensor] = {}
        for place in sorted(range(len(rows)), key=lambda place: not self.is_source(rows[place])):
            row = {name: _row(value, place, len(rows), len(hidden)) for name, value in args.items()}
            row = without_padding(row, padding.get(rows[place], 0))
            row["img"] = row["img"].clone()  # LTX's blocks add in place
            row["transformer_options"] = {
                **options,
                "uuids": [rows[place]],
                "cond_or_uncond": [options["cond_or_uncond"][place]],
                BLOCK: BlockRun(self.index, self.kinds, rows[place]),
            }
            run = extra["original_block"] if self.previous is None else self._previous(extra)
            outputs[place] = run(row)["img"]
        return {"img": torch.cat([outputs[place] for place in range(len(rows))])}

    def _previous(self, extra: dict[str, Any]) -> Callable:
        previous = self.previous
        assert previous is not None
        return lambda args: previous(args, extra)


@dataclass(frozen=True)
class AttentionHook:
    """Our replacement of ComfyUI's attention, around another node's, or around nothing."""

    attend: Attend
    previous: Callable | None

    def __call__(self, function, query, key, value, heads, mask=None, *args, **named):
        def attention(query, key, value, mask=None):
            given = (query, key, value, heads, mask, *args)
            return function(*given, **named) if self.previous is None else self.previous(function, *given, **named)

        block = (named.get("transformer_options") or {}).get(BLOCK)
        kind = None if block is None else block.next_kind()
        if kind is None:
            return attention(query, key, value, mask)
        return self.attend(kind, block.index, block.row, query, key, value, attention, mask)


class RowsTogether:
    """A model whose rows ComfyUI puts into one call, however little memory is free.

    It would split them where it takes them to run side by side. Then every layer of the source's row would have to be
    held until the edit's call; in one call it is one layer, since our blocks take the rows one after another.
    """

    def __init__(self, model):
        """model: ComfyUI's BaseModel."""
        self._model = model

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def memory_required(self, *args, **named) -> float:
        """Bytes of a call, as ComfyUI asks before it decides how many rows go into one."""
        return 0.0


def _row(value: Any, place: int, rows: int, batch: int) -> Any:
    """A row's part of what a block is given: tensors with an entry for each of the batch are cut."""
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == batch and rows > 1:
        return value.chunk(rows)[place]
    if isinstance(value, (tuple, list)):
        return type(value)(_row(item, place, rows, batch) for item in value)
    return value
