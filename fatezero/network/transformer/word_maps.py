"""Where a clip looks at the words of its prompt: text attention as maps over the clip's latent frames."""

import comfy.samplers
import torch

from ...refusal import Refusal
from ..attention_layers import CROSS
from ..word_maps import cross_attention_map
from .families import JOINT, patch_size, require_family
from .row_by_row import install

FIRST, MIDDLE, LAST, ALL = "first third", "middle third", "last third", "all"
PARTS = (ALL, FIRST, MIDDLE, LAST)
MOST_SCORES = 2**26  # that are held at once: 256 MB


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

    def attend(self, kind, block, query, key, value, attention, mask):
        """See `row_by_row.Attend`; leaves attention as it is."""
        if block.index in self.blocks and kind == CROSS:
            self.look(query, key, mask)
        elif block.index in self.blocks and kind == JOINT:
            places, words = (part.transpose(1, 2).flatten(2) for part in (query[:, :, block.text :], key))
            self.look(places, words, mask, block.text)
        return attention(query, key, value, mask)

    def look(
        self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, tokens: int | None = None
    ) -> None:
        """Adds the maps of a block.

        Args:
            query: Of the clip, [1, F·h·w, heads·d].
            key: [1, T, heads·d].
            mask: Of the keys, or None.
            tokens: How many of the keys are the prompt's, which come first; None for all.

        Raises:
            Refusal: Where the queries are not those of the clip's cells.
        """
        frames, height, width = self.grid
        if query.shape[1] != frames * height * width:
            raise Refusal(
                "'model' looks at more than the clip (reference pictures or guide frames), so that nobody can tell "
                "which place looks at a word; remove them, or draw a mask."
            )
        most = max(1, MOST_SCORES // (key.shape[1] * self.heads))  # all of a clip's maps at once would take gigabytes
        shown = [
            cross_attention_map(part, key, self.heads, mask)[..., :tokens][..., : self.tokens]
            for frame in query.chunk(frames, 1)
            for part in frame.split(most, 1)
        ]
        self.read.append(torch.cat(shown, dim=1).unflatten(1, self.grid)[0].permute(0, 3, 1, 2))

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
