"""Heat maps: where in each frame, and how strongly, the model saw the words of the source prompt."""

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from ..masks.source_mask import PIXELS_PER_LATENT, step_maps
from ..prompts.prompt_edit import PromptEdit
from ..prompts.tokens import PromptTokens
from ..prompts.word_fields import find_words, split_list
from ..source.source_check import check_edit
from ..source.source_run import SourceRun
from ..video.frames import Placement, place, to_float
from ..video.memory import allocate
from .labels import LabelledGrid, bar_height, write_on

NODE = "Attention Heat-Map"
EACH_FRAME, WHOLE_CLIP = "each frame by itself", "whole clip"
GRID_LIMIT = (1920, 1080)  # width and height that the cells of a grid share
LUMINANCE = (0.299, 0.587, 0.114)  # how bright red, green and blue look (BT.601)
SMALLER_CLIP = "invert a shorter or smaller clip"


def chosen_words(source: SourceRun, edit: PromptEdit | None, words: str) -> dict[str, tuple[int, ...]]:
    """The words to show and the token positions of each; a word that the prompt repeats comes once.

    words: separated by commas (what stands between two commas is shown as one); empty for those to mask of `edit`, or
    without any for all of the prompt but articles, prepositions and the like. Raises ValueError for unknown words.
    """
    if edit is not None:
        check_edit(edit, source)
    tokens = source.tokens or (edit and edit.source)
    if tokens is None:
        raise ValueError(
            f"{NODE}: 'source' was inverted with a prompt that did not come from Edit Prompts, so its "
            "words are unknown; use Edit Prompts."
        )
    if phrases := split_list(words):
        return {phrase: tuple(token for word in find_words(tokens, phrase) for token in word) for phrase in phrases}
    written = [word for word in tokens.words if not word.is_punctuation]
    changed = [word for word in written if edit is not None and word.indices[0] in edit.source_mask_tokens]
    telling = [word for word in written if word.names_something]
    return _by_name(changed or telling or written, tokens)


def _by_name(words: list, tokens: PromptTokens) -> dict[str, tuple[int, ...]]:
    if not words:
        raise ValueError(f'{NODE}: the source prompt "{tokens.text}" has no words; describe the clip in words.')
    found = {}
    for word in words:
        name, indices = found.get(word.key, (word.text, ()))
        found[word.key] = name, indices + word.indices
    return dict(found.values())


def word_attention(source: SourceRun, words: list[tuple[int, ...]], step: int | None) -> torch.Tensor:
    """How much of its attention each place gives to each of some words; float32 [n, words, h', w'] of 0..1.

    words: token positions of each; step: a denoising step, or None for the average of all.
    """
    maps = source.word_maps.mean(dim=0) if step is None else step_maps(source, step, NODE)
    return torch.stack([maps[:, list(tokens)].float().sum(dim=1) for tokens in words], dim=1).cpu()


def relative_heat(attention: torch.Tensor, scale: str) -> torch.Tensor:
    """Attention [n, words, h', w'] divided by the strongest in the frame and word, or in the clip and all words."""
    strongest = attention.amax() if scale == WHOLE_CLIP else attention.amax(dim=(2, 3), keepdim=True)
    return attention / strongest.clamp_min(torch.finfo(torch.float32).tiny)


def clip_size(source: SourceRun) -> tuple[int, int]:
    """Width and height of the clip that was inverted, in pixels."""
    height, width = source.trajectory.shape[-2:]
    return width * PIXELS_PER_LATENT, height * PIXELS_PER_LATENT


def overlay_clip(
    heat: torch.Tensor,
    images: torch.Tensor | None,
    size: tuple[int, int],
    label: str,
    values: list[str],
    opacity: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clip with one word's heat in colours and its name written on it, and the heat at that size.

    heat: [n, h', w'] of 0..1; images: [n, H, W, 3], None for black; size: W, H; values: a text per frame, such as how
    strong the word is. Returns IMAGE [n, H, W, 3] and MASK [n, H, W], new tensors.
    """
    width, height = size
    result = allocate(len(heat), size, SMALLER_CLIP)
    mask = torch.empty(len(heat), height, width)
    palette = heat_colors()
    for index, frame in enumerate(result):
        throw_exception_if_processing_interrupted()
        mask[index] = enlarged(heat[index, None], size)[0]
        frame.copy_(colored(mask[index], None if images is None else images[index], palette, opacity))
        write_on(frame[: bar_height(*size)], label, values[index], opacity=0.6)
    return result, mask


def grid_clip(
    heat: torch.Tensor,
    images: torch.Tensor | None,
    size: tuple[int, int],
    labels: list[str],
    values: list[list[str]],
    opacity: float,
) -> torch.Tensor:
    """Every word's heat in a cell of its own, after the plain frame if there are images; IMAGE [n, H', W', 3].

    heat: [n, words, h', w'] of 0..1; images: [n, H, W, 3] or None; size: W, H; values: a text per frame and word. Cells
    are as large as the clip, or smaller where the grid would grow beyond the size of a full HD picture.
    """
    grid = fitting_grid(len(labels) + (images is not None), size)
    result = allocate(len(heat), grid.total, SMALLER_CLIP)
    palette = heat_colors()
    for index, canvas in enumerate(result.zero_()):
        throw_exception_if_processing_interrupted()
        picture, cells = None, iter(range(grid.cells))
        if images is not None:
            picture = place(images[index, ..., :3].float().cpu(), Placement(grid.size, grid.size))
            bar, cell = grid.place(canvas, next(cells))
            cell.copy_(picture)
            write_on(bar, "clip")
        for label, value, warmth in zip(labels, values[index], enlarged(heat[index], grid.size)):
            bar, cell = grid.place(canvas, next(cells))
            cell.copy_(colored(warmth, picture, palette, opacity))
            write_on(bar, label, value)
    return result


def fitting_grid(cells: int, size: tuple[int, int]) -> LabelledGrid:
    """The grid whose cells are largest within GRID_LIMIT, with the fewest left empty; never larger than `size`."""

    def scale(columns):
        rows = -(-cells // columns)
        return min(GRID_LIMIT[0] / columns / size[0], GRID_LIMIT[1] / rows / size[1])

    columns = max(range(1, cells + 1), key=lambda columns: (scale(columns), -(-cells % columns)))
    shrink = min(1.0, scale(columns))
    return LabelledGrid(columns, cells, tuple(max(1, int(side * shrink)) for side in size))


def enlarged(heat: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Heat [k, h', w'] of 0..1 at another size (width, height); [k, height, width] of 0..1.

    Bilinear as Attention Mask: bicubic would show places hotter, and others colder, than any attention was.
    """
    return F.interpolate(heat[:, None], size[::-1], mode="bilinear", align_corners=False)[:, 0]


def heat_colors() -> torch.Tensor:
    """From cold to hot, evenly for the eye and for the color-blind: 256 colours, [256, 3] of 0..1."""
    import cv2

    colors = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_INFERNO)
    return to_float(np.ascontiguousarray(colors[0, :, ::-1]))  # OpenCV's colours are blue, green, red


def colored(heat: torch.Tensor, picture: torch.Tensor | None, palette: torch.Tensor, opacity: float) -> torch.Tensor:
    """Heat [H, W] in colours over a picture [H, W, 3], which turns grey so that only heat has colour; alone on None."""
    colors = palette[(heat * 255).round().long()]
    if picture is None:
        return colors
    grey = (picture[..., :3].float().cpu() * torch.tensor(LUMINANCE)).sum(dim=-1, keepdim=True)
    return torch.lerp(grey.expand_as(colors), colors, opacity)


def percent(share: float) -> str:
    """A share of 0..1 for a person to read, with a decimal below 10 %."""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
