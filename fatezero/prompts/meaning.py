"""Emphasis on what a word means for the whole prompt, where its own attention says too little.

A text encoder lets every later token know of a word: "a sketch of a cat" has hardly less of a sketch in it when the
token "sketch" gets no attention. So the prompt is encoded with the word and without it, and what the word has added is
added more often, or taken away.
"""

from collections.abc import Callable

import torch

from .alignment import REFINE, align
from .prompt_edit import PromptEdit
from .tokens import PromptTokens, Word
from .unspaced import joined
from .word_fields import WordValues

Encoded = tuple[PromptTokens, list]  # a prompt's tokens and its CONDITIONING


def meant(edit: PromptEdit, factors: WordValues[float]) -> WordValues[float]:
    """Of words with factors, as of `read_factors`, those whose meaning an edit's emphasis acts on."""
    parts = [(tuple(token for token in tokens if token in edit.meant_tokens), factor) for tokens, factor in factors]
    return [(tokens, factor) for tokens, factor in parts if tokens]


def lean_towards(
    conditioning: list, prompt: PromptTokens, factors: WordValues[float], encode: Callable[[str], Encoded]
) -> list:
    """A CONDITIONING that means some words more or less: c + sum (e - 1)(c - c_without), of the length that c had.

    The length is kept token by token, as factors far from 1 otherwise leave what a model was trained on.

    Args:
        conditioning: c, the prompt's, embeddings [1, T, C].
        prompt: Its tokens.
        factors: Token positions of words, and their factor e: 1 changes nothing, 0 leaves their meaning out.
        encode: A text's tokens and CONDITIONING.

    Returns:
        A new CONDITIONING.
    """
    apart = [(factor, *encode(text_without(prompt, tokens))) for tokens, factor in factors if factor != 1]
    result = []
    for number, (embedding, options) in enumerate(conditioning):
        moved, pooled = embedding, options.get("pooled_output")
        moved_pooled = pooled
        for factor, others, encoded in apart:
            other, other_options = encoded[min(number, len(encoded) - 1)]
            moved = moved + (factor - 1) * (embedding - _in_place(other, others, prompt, embedding))
            if pooled is not None and other_options.get("pooled_output") is not None:
                moved_pooled = moved_pooled + (factor - 1) * (pooled - other_options["pooled_output"])
        options = {**options, **({} if pooled is None else {"pooled_output": _as_long(moved_pooled, pooled)})}
        result.append([_as_long(moved, embedding), options])
    return result


def text_without(prompt: PromptTokens, tokens: tuple[int, ...]) -> str:
    """A prompt without the words that have some tokens, and with the weights of the others.

    Args:
        prompt: The prompt.
        tokens: Positions of the words' tokens.

    Returns:
        The words in ComfyUI's syntax; "" where none is left.
    """
    return joined(_as_written(prompt, word) for word in prompt.words if not set(word.indices) & set(tokens))


def _as_written(prompt: PromptTokens, word: Word) -> str:
    text = word.text.replace("(", "\\(").replace(")", "\\)")
    weight = prompt.weight(word)
    return text if weight == 1 else f"({text}:{weight!r})"


def _in_place(other: torch.Tensor, others: PromptTokens, prompt: PromptTokens, like: torch.Tensor) -> torch.Tensor:
    """Another prompt's embedding [1, T', C] at the places of the prompt's tokens, [1, T, C]; words that it lacks have
    the prompt's own."""
    mapper = align(others, prompt, REFINE).mapper
    share = mapper.sum(dim=0)
    found = torch.einsum("nsc,st->ntc", other, (mapper / share.clamp_min(1e-6)).to(other))
    return torch.where((share > 0)[None, :, None].to(like.device), found, like)


def _as_long(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Values with the length of others along the last axis."""
    length = values.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return values * (like.norm(dim=-1, keepdim=True) / length)
