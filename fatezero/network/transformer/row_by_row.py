"""Blocks of a video transformer run row by row, the source's first, so that one layer's queries and keys are held.

A row is one clip under one conditioning. At the length of a clip, rows in sequence take no longer than rows together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ...refusal import Refusal
from ..option_keys import BLOCK, PADDING
from .equal_text import text_tokens, with_padding, without_padding
from .families import Family, attention_kinds, blocks_of

Options = dict[str, Any]
# attend(kind, the row's BlockRun, query, key, value, attention, mask) -> output; attention(query, key, value, mask)
Attend = Callable[..., torch.Tensor]


@dataclass
class BlockRun:
    """One row's way through one block: which attention comes next.

    index: of the block; kinds: of its attention calls; row: the row's uuid; text: how many tokens are the prompt's;
    original: the block itself, without other nodes' replacements of it; meanwhile: what runs within the last attention,
    when all that the other rows read has been shown and the block's widest layers are still to come.
    """

    index: int
    kinds: tuple[str, ...]
    row: object
    text: int
    original: Callable
    meanwhile: Callable[[], None] | None = None
    calls: int = field(default=0)

    def next_kind(self) -> str | None:
        self.calls += 1
        return self.kinds[self.calls - 1] if self.calls <= len(self.kinds) else None

    def attends_last(self) -> None:
        """Runs what waits for the last attention, in it."""
        if self.meanwhile is not None and self.calls == len(self.kinds):
            self.meanwhile()

    def run(self, args: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The block itself; another node may skip it.

        Raises:
            Refusal: Where its attention is not ComfyUI's, and passes us by.
        """
        output = self.original(args)
        if self.calls < len(self.kinds):
            raise Refusal(
                "'model' has attention that another node has put in the place of ComfyUI's (an older NAG of KJNodes "
                "does so), which an edit can neither read nor change; update that node, or remove it."
            )
        return output


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
    for index, (place, block) in enumerate(blocks_of(network, family)):
        kinds = attention_kinds(family, block)
        blocks[place] = BlockHook(index, kinds, family, is_source, blocks.get(place))
    previous = options.get("optimized_attention_override")
    options["optimized_attention_override"] = AttentionHook(attend, family.is_joint, previous)


@dataclass(frozen=True)
class BlockHook:
    """Our replacement of a block, around another node's, or around nothing."""

    index: int
    kinds: tuple[str, ...]
    family: Family
    is_source: Callable[[object], bool]
    previous: Callable | None

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        rows = args["transformer_options"]["uuids"]
        given = [
            {name: _part(value, place, len(rows), len(args["img"])) for name, value in args.items()}
            for place in range(len(rows))
        ]
        outputs: dict[int, dict[str, torch.Tensor]] = {}

        def run(places: list[int], meanwhile: Callable[[], None] | None = None) -> None:
            for place in places:
                if place not in outputs:
                    outputs[place] = self._row(given[place], extra, place, meanwhile)

        source = [place for place in range(len(rows)) if self.is_source(rows[place])]
        others = [place for place in range(len(rows)) if place not in source]
        run(source, partial(run, others) if self.family.nests_rows and len(source) == 1 else None)
        run(others)
        return {name: _joined(args[name], name, given, outputs) for name in outputs[0]}

    def _row(
        self, row: dict[str, Any], extra: dict[str, Any], place: int, meanwhile: Callable[[], None] | None
    ) -> dict[str, torch.Tensor]:
        """One row through the block; meanwhile: as of BlockRun."""
        options = row["transformer_options"]
        rows = options["uuids"]
        padding = options.get(PADDING, {}).get(rows[place], 0)
        short = without_padding(row, padding, self.family.is_joint)
        block = BlockRun(self.index, self.kinds, rows[place], text_tokens(short), extra["original_block"], meanwhile)
        short["transformer_options"] = {
            **short["transformer_options"],
            "uuids": [rows[place]],
            "cond_or_uncond": [options["cond_or_uncond"][place]],
            BLOCK: block,
        }
        if self.previous is None:
            return with_padding(block.run(short), row, padding)
        return with_padding(self.previous(short, {**extra, "original_block": block.run}), row, padding)


@dataclass(frozen=True)
class AttentionHook:
    """Our replacement of ComfyUI's attention, around another node's, or around nothing."""

    attend: Attend
    is_joint: bool
    previous: Callable | None

    def __call__(self, function, query, key, value, heads, mask=None, *args, **named):
        def attention(query, key, value, mask=None):
            if kind is not None:
                block.attends_last()
            given = (query, key, value, heads, mask, *args)
            return function(*given, **named) if self.previous is None else self.previous(function, *given, **named)

        options = named.get("transformer_options") or {}
        block = options.get(BLOCK)
        kind = None if block is None else block.next_kind()
        if kind is not None:
            return self.attend(kind, block, query, key, value, attention, mask)
        if block is None and self.is_joint and options.get(PADDING):
            return _of_prompts(attention, query, key, value, options)
        return attention(query, key, value, mask)


def _of_prompts(attention, query, key, value, options: Options) -> torch.Tensor:
    """Attention of prompts to themselves, [rows, heads, tokens, d], row by row and without what fills them up."""
    outputs = []
    for uuid, *row in zip(options["uuids"], *(part.chunk(len(options["uuids"])) for part in (query, key, value))):
        kept = row[1].shape[2] - options[PADDING].get(uuid, 0)
        outputs.append(attention(row[0], row[1][:, :, :kept], row[2][:, :, :kept]))
    return torch.cat(outputs)


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


def _part(value: Any, place: int, rows: int, batch: int) -> Any:
    """A row's part of what a block is given: tensors with an entry for each of the batch are cut."""
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == batch and rows > 1:
        size = batch // rows
        return value[place * size : (place + 1) * size]
    if isinstance(value, (tuple, list)):
        return type(value)(_part(item, place, rows, batch) for item in value)
    return value


def _joined(
    whole: torch.Tensor, name: str, given: list[dict[str, Any]], outputs: dict[int, dict[str, torch.Tensor]]
) -> torch.Tensor:
    """What a block gives out for all rows: `whole`, what it was given, where it has changed each row's part of that."""
    if all(outputs[place][name] is row[name] for place, row in enumerate(given)):
        return whole
    return torch.cat([outputs[place][name] for place in range(len(given))])
