"""Where a clip looks at the words of its prompt: text attention as maps over the clip's latent frames."""

import comfy.samplers
import torch

from ...refusal import Refusal
from ..attention_layers import CROSS
from ..word_maps import cross_attention_map
from .families import patch_size, require_family
from .row_by_row import install

FIRST, MIDDLE, LAST, ALL = "first third", "middle third", "last third", "all"
PARTS = (ALL, FIRST, MIDDLE, LAST)


def blocks_in(part: str, count: int) -> range:
    """The blocks, of so many, that a part of PARTS names; at least one.

    >>> blocks_in(MIDDLE, 30), blocks_in(LAST, 2)
    (range(10, 20), range(1, 2))
    """
    first, last = {FIRST: (0, 1), MIDDLE: (1, 2), LAST: (2, 3), ALL: (0, 3)}[part]
    start = min(first * count // 3, count - 1)
    return range(start, max(last * count // 3, start + 1))


def token_grid(model, shape: torch.Size) -> tuple[int, int, int]:
    """Frames, rows and columns of the tokens of a latent [1, c, F, h, w] in a ModelPatcher's network."""
    frames, height, width = (-(-size // patch) for size, patch in zip(shape[2:], patch_size(model)))
    return frames, height, width


class WordMapReader:
    """Reads the text attention of some blocks as it passes, in one row of a call.

    Args:
        grid: Frames, rows and columns of the clip's tokens.
        heads: Of the network's attention.
        blocks: The blocks to read.
        tokens: How many of the prompt's tokens to keep; None for all.
    """

    def __init__(self, grid: tuple[int, int, int], heads: int, blocks: range, tokens: int | None = None):
        self.grid, self.heads, self.blocks, self.tokens = grid, heads, blocks, tokens
        self.read: list[torch.Tensor] = []

    def attend(self, kind, block, row, query, key, value, attention, mask):
        """See `row_by_row.Attend`; leaves attention as it is."""
        if kind == CROSS and block in self.blocks:
            self.look(query, key, mask)
        return attention(query, key, value, mask)

    def look(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Adds the maps of a block: query [1, F·h·w, heads·d], key [1, T, heads·d], mask of the text or None.

        Raises:
            Refusal: Where the queries are not those of the clip's cells.
        """
        frames, height, width = self.grid
        if query.shape[1] != frames * height * width:
            raise Refusal(
                "'model' looks at more than the clip (reference pictures or guide frames), so that nobody can tell "
                "which place looks at a word; remove them, or draw a mask."
            )
        shown = [  # a frame at a time: all of a clip's maps would take gigabytes
            cross_attention_map(frame, key, self.heads, mask)[..., : self.tokens] for frame in query.chunk(frames, 1)
        ]
        self.read.append(torch.cat(shown).transpose(1, 2).unflatten(2, (height, width)))

    def take(self) -> torch.Tensor:
        """The mean over the blocks since the last time, float32 [F, T, h, w] on the CPU."""
        maps, self.read = torch.stack(self.read).mean(dim=0).cpu(), []
        return maps


class ReadingGuider(comfy.samplers.CFGGuider):
    """One prompt without guidance, whose text attention a reader reads."""

    def __init__(self, model, reader: WordMapReader):
        super().__init__(model)
        self.reader = reader

    def outer_sample(self, *args, **named):
        options = self.model_options.setdefault("transformer_options", {})
        network, family = self.model_patcher.model.diffusion_model, require_family(self.model_patcher)
        install(options, network, family, lambda row: False, self.reader.attend)
        return super().outer_sample(*args, **named)
