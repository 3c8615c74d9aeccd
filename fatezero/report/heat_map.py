"""Heat maps: where in each frame, and how strongly, the model saw the words of the source prompt."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from comfy.model_management import throw_exception_if_processing_interrupted

from ..masks.source_mask import maps_at, source_prompt
from ..prompts.prompt_edit import PromptEdit
from ..prompts.tokens import Word
from ..prompts.word_fields import find_words, split_list
from ..refusal import Refusal, shortened
from ..source.source_run import SourceRun
from ..video.frames import Placement, place, to_float
from ..video.memory import allocate
from .labels import LabelledGrid, bar_height, write_on

EACH_FRAME, WHOLE_CLIP = "each frame by itself", "whole clip"
GRID_LIMIT = (1920, 1080)  # width and height that the cells of a grid share
LUMINANCE = (0.299, 0.587, 0.114)  # how bright red, green and blue look (BT.601)
SMALLER_CLIP = "invert a shorter or smaller clip"


def chosen_words(source: SourceRun, edit: PromptEdit | None, words: str) -> dict[str, tuple[int, ...]]:
    """The words to show; a word that the prompt repeats comes once.

    Args:
        source: The inverted clip.
        edit: For its words to mask, where `words` is empty.
        words: Separated by commas; what stands between two commas is shown as one. Empty for those of `edit`, or
            without any for all of the prompt but articles, prepositions and the like.

    Returns:
        Names, and the token positions of each.

    Raises:
        Refusal: For words that the prompt does not have, and for a prompt without words.
    """
    prompt = source_prompt(source, edit)
    if phrases := split_list(words):
        return {phrase: tuple(token for word in find_words(prompt, phrase) for token in word) for phrase in phrases}
    written = prompt.named_words
    if not written:
        raise Refusal(f'the source prompt "{shortened(prompt.text)}" has no words; describe the clip in words.')
    masked = set() if edit is None else set(edit.source_mask_tokens)
    changed = [word for word in written if word.indices[0] in masked]
    telling = [word for word in written if word.names_something]
    return _by_name(changed or telling or written)


def _by_name(words: Sequence[Word]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for word in words:
        name, indices = found.get(word.key, (word.text, ()))
        found[word.key] = name, indices + word.indices
    return dict(found.values())


def word_attention(source: SourceRun, words: list[tuple[int, ...]], step: int | None) -> torch.Tensor:
    """How much of its attention each place gives to each of some words.

    Args:
        source: The inverted clip.
        words: The token positions of each word.
        step: A denoising step (0 is the noisiest), or None for the average of all.

    Returns:
        float32 [n, words, h', w'] of 0..1.

    Raises:
        Refusal: When there are fewer steps.
    """
    maps = maps_at(source, step)
    return torch.stack([maps[:, list(tokens)].float().sum(dim=1) for tokens in words], dim=1).cpu()


def relative_heat(attention: torch.Tensor, scale: str) -> torch.Tensor:
    """Attention [n, words, h', w'] divided by the strongest in the frame and word, or in the clip and all words."""
    strongest = attention.amax() if scale == WHOLE_CLIP else attention.amax(dim=(2, 3), keepdim=True)
    return attention / strongest.clamp_min(torch.finfo(torch.float32).tiny)


def overlay_clip(
    heat: torch.Tensor,
    images: torch.Tensor | None,
    size: tuple[int, int],
    label: str,
    values: list[str],
    opacity: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clip with one word's heat in colours and its name written on it, and the heat at that size.

    Args:
        heat: [n, h', w'] of 0..1.
        images: [n, H, W, 3], or None for black.
        size: (W, H).
        label: The word.
        values: A text for each frame, such as how strong the word is.
        opacity: How much the colours hide of the clip, 0..1.

    Returns:
        IMAGE [n, H, W, 3] and MASK [n, H, W], new tensors.

    Raises:
        Refusal: When they do not fit into memory.
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
    clip_label: str = "clip",
) -> torch.Tensor:
    """Every word's heat in a cell of its own, after the plain frame if there are images.

    Cells are as large as the clip, or smaller where the grid would grow beyond the size of a full HD picture.

    Args:
        heat: [n, words, h', w'] of 0..1.
        images: [n, H, W, 3], or None for black.
        size: (W, H).
        labels: The words.
        values: A text for each frame and word.
        opacity: How much the colours hide of the clip, 0..1.
        clip_label: What is written above the plain frame.

    Returns:
        IMAGE [n, H', W', 3], a new tensor.

    Raises:
        Refusal: When it does not fit into memory.
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
            write_on(bar, clip_label)
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
    return LabelledGrid(columns, cells, (max(1, int(size[0] * shrink)), max(1, int(size[1] * shrink))))


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
    """Heat in colours over a picture, which turns grey so that only heat has colour.

    Args:
        heat: [H, W] of 0..1.
        picture: [H, W, 3], or None for the colours alone.
        palette: From `heat_colors`.
        opacity: How much the colours hide of the picture, 0..1.

    Returns:
        [H, W, 3] of 0..1.
    """
    colors = palette[(heat * 255).round().long()]
    if picture is None:
        return colors
    grey = (picture[..., :3].float().cpu() * torch.tensor(LUMINANCE)).sum(dim=-1, keepdim=True)
    return torch.lerp(grey.expand_as(colors), colors, opacity)


def percent(share: float) -> str:
    """A share of 0..1 for a person to read, with a decimal below 10 %."""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
