"""A pixel mask per frame from what inversion has kept of the source's cross-attention."""

import torch
import torch.nn.functional as F

from ..prompts.prompt_edit import Place, PromptEdit
from ..prompts.tokens import PromptTokens
from ..prompts.word_fields import find_words, split_list
from ..refusal import Refusal, counted
from ..source.source_check import check_edit
from ..source.source_run import SourceRun
from .outlines import outlines_of_things
from .word_masks import heat_mask, words_heat


def source_mask(
    source: SourceRun,
    edit: PromptEdit | None,
    words: str,
    threshold: float,
    step: int | None,
    to_the_edges: bool = False,
) -> torch.Tensor:
    """Where words of the source prompt are.

    Between the 16x16 attention cells the map is interpolated, so that edges are round, not square.

    Args:
        source: The inverted clip.
        edit: For its words to mask, where `words` is empty.
        words: Words of the source prompt, separated by commas.
        threshold: tau of FateZero Eq. 6, see `heat_mask`.
        step: A denoising step (0 is the noisiest), or None for the average of all.
        to_the_edges: Whether the mask goes on to the edges of the things in the picture, see `outlined`.

    Returns:
        float32 [n, H, W] of 0 and 1 at the clip's size.

    Raises:
        Refusal: For words that the prompt does not have, and for a step out of range.
    """
    maps = maps_at(source, step)
    size = clip_size(source)[::-1]
    if to_the_edges:
        things = outlines_of_things(maps, source.trajectory[0], _things(source, edit, words), threshold)
        return (_interpolated(things.amax(dim=0), size) > 0.5).float()
    height, width = maps.shape[-2:]
    heat = words_heat(maps, _word_tokens(source, edit, words), (height, width))
    return heat_mask(_interpolated(heat, size), threshold)


def _interpolated(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[n, h, w] at another size (height, width)."""
    return F.interpolate(mask[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def clip_size(source: SourceRun) -> tuple[int, int]:
    """Width and height of the clip that was inverted, in pixels."""
    height, width = source.trajectory.shape[-2:]
    return width * source.cell.pixels, height * source.cell.pixels


def check_inverted_clip(images: torch.Tensor, source: SourceRun) -> None:
    """Refuses images [n, H, W, 3] that are not as many and as large as what was inverted."""
    (frames, height, width), (clip_width, clip_height) = images.shape[:3], clip_size(source)
    if (height, width) == (clip_height, clip_width) and 0 < frames - source.clip_frames < source.cell.frames:
        raise Refusal(
            f"'images' are {frames} frames, of which the model's VAE has kept {source.clip_frames} (1 + a multiple of "
            f"{source.cell.frames}); set 'count' of Video Load to {source.clip_frames}."
        )
    if (frames, height, width) != (source.clip_frames, clip_height, clip_width):
        raise Refusal(
            f"'images' are {counted(frames, 'frame')} of {width}x{height} but the source has {source.clip_frames} of "
            f"{clip_width}x{clip_height}; connect the clip that was inverted."
        )


def latent_frames(source: SourceRun) -> list[int]:
    """For each frame of the clip the place in `source_mask` and in word maps that shows it: a latent frame of a video
    model holds several."""
    return source.cell.latent_frames_of(source.frames)


def maps_at(source: SourceRun, step: int | None) -> torch.Tensor:
    """The word maps [n, T, h', w'] of a denoising step (0 is the noisiest), or for None the average of all.

    Raises:
        Refusal: When there are fewer steps.
    """
    if step is None:
        return source.word_maps.mean(dim=0)
    if not 0 <= step < source.steps:
        raise Refusal(
            f"'step' is {step} but the source was inverted in {counted(source.steps, 'step')}; choose 0 to "
            f"{source.steps - 1}."
        )
    return source.word_maps[source.steps - 1 - step]


def source_prompt(source: SourceRun, edit: PromptEdit | None) -> PromptTokens:
    """The prompt that was inverted.

    Raises:
        Refusal: When the edit starts from another one, or when neither knows its words.
    """
    if edit is not None:
        check_edit(edit, source)
    if source.tokens is not None:
        return source.tokens
    if edit is None:
        raise Refusal(
            "'inverted clip' was inverted with a prompt that did not come from Edit Prompts, so its words are unknown; "
            "use Edit Prompts."
        )
    return edit.source


def _things(source: SourceRun, edit: PromptEdit | None, words: str) -> list[tuple[Place, ...]]:
    """What the words named are places of, or the edit's words to mask."""
    if split_list(words):
        return [(Place(tuple(word)),) for word in find_words(source_prompt(source, edit), words)]
    return edit.source_things() if _word_tokens(source, edit, words) and edit is not None else []


def _word_tokens(source: SourceRun, edit: PromptEdit | None, words: str) -> list[int]:
    """Token positions of the words named, or of the edit's words to mask."""
    if split_list(words):
        return [token for word in find_words(source_prompt(source, edit), words) for token in word]
    if edit is not None:
        check_edit(edit, source)
    if edit is None or not edit.source_mask_tokens:
        raise Refusal("'words' is empty and no edit with changed words is connected; name words of the source prompt.")
    return list(edit.source_mask_tokens)
