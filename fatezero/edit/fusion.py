"""Att-Fusion (FateZero Eq. 5-7) without attention maps.

Every fusion of FateZero and prompt-to-prompt is linear in the map, so it can be moved from the map to the values: a
fused layer is at most two calls of the ordinary attention.
"""

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..prompts.window import Window

if TYPE_CHECKING:
    from ..prompts.prompt_edit import PromptEdit

# The ordinary attention: query, key and value [n, tokens, heads·d] to an output like the query.
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
QK = tuple[torch.Tensor, torch.Tensor]
QKV = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class CrossWeights(NamedTuple):
    """What a step's cross-attention takes, float32: from the source, [T_source, T_target], and of the edit's own,
    [T_target], None where it takes nothing of that."""

    from_source: torch.Tensor
    own: torch.Tensor | None

    def like(self, values: torch.Tensor) -> "CrossWeights":
        """The same in the type and on the device of other values."""
        return CrossWeights(self.from_source.to(values), None if self.own is None else self.own.to(values))


class FusedLayer(NamedTuple):
    """A fused layer in two halves, so that the first can share a call of the attention with other rows.

    qkv: what the edit's row attends with, None where that is of no use; finish: makes the layer's output of what comes
    out (of None where there is no qkv), None where that is it.
    """

    qkv: QKV | None
    finish: Callable[[Any], torch.Tensor] | None = None

    def alone(self, attention: Attention) -> torch.Tensor:
        """The layer's output, in calls of its own."""
        return self.finished(None if self.qkv is None else attention(*self.qkv))

    def finished(self, seen: torch.Tensor | None) -> torch.Tensor:
        """The layer's output; seen: what the attention gives for `qkv`."""
        if self.finish is not None:
            return self.finish(seen)
        assert seen is not None
        return seen


def attended_together(
    attention: Attention, qkv: QKV, by_row: list[QKV], fused: dict[int, FusedLayer], in_place: bool
) -> torch.Tensor:
    """The output of a layer of which some rows are fused, in one call of the attention and what these need besides.

    Args:
        attention: The ordinary attention.
        qkv: Query, key and value of the layer, [rows·n, tokens, C].
        by_row: Their rows, as views.
        fused: The fused ones of these.
        in_place: Whether a fused row's query and key may be written over those of the layer, which has made them for
            this call alone; else they are copied together.

    Returns:
        [rows·n, tokens, C].
    """
    parts = []
    for place, whole in enumerate(qkv):
        rows = [row[place] for row in by_row]
        changed = {index: layer.qkv[place] for index, layer in fused.items() if layer.qkv is not None}
        changed = {index: part for index, part in changed.items() if part is not rows[index]}
        if in_place:
            for index, part in changed.items():
                rows[index].copy_(part)
        elif changed:
            whole = torch.cat([changed.get(index, row) for index, row in enumerate(rows)])
        parts.append(whole)
    output = attention(*parts)
    outputs = output.chunk(len(by_row))
    for index, layer in fused.items():
        if layer.finish is not None:
            outputs[index].copy_(layer.finish(None if layer.qkv is None else outputs[index]))
    return output


def cross_weights(
    edit: "PromptEdit", window: Window, step: int, steps: int, device: torch.device | str = "cpu"
) -> CrossWeights | None:
    """What a denoising step takes from the source's and from the edit's own cross-attention, folded into the values.

    c_fused = alpha e (beta c_source P + (1 - beta) c_edit) + (1 - alpha) c_edit for each target token: FateZero Eq. 5
    with prompt-to-prompt's mapper P, aligned tokens beta, emphasis e and step window alpha. As the official code,
    windows of cross-attention are counted over steps + 1.

    Args:
        edit: Mapper, aligned tokens, emphasis and the windows of single words.
        window: The cross-attention window of tokens without one of their own.
        step: 0 is the noisiest.
        steps: How many there are.
        device: Where the weights are needed; a layer that moved them would make a GPU wait.

    Returns:
        The weights; None when the edit keeps all of its own.
    """
    if not fuses_cross(edit, window, step, steps):
        return None
    target_length = edit.mapper.shape[1]
    active = torch.full((target_length,), float(window.contains(step, steps + 1)))
    for tokens, start, end in edit.windows:
        active[list(tokens)] = float(Window(start, end).contains(step, steps + 1))
    weight = active * edit.attention_emphasis
    from_source = edit.mapper * (weight * edit.from_source)
    own = weight * (1 - edit.from_source) + (1 - active)
    return CrossWeights(from_source.to(device), own.to(device) if own.any() else None)


def fuses_cross(edit: "PromptEdit", window: Window, step: int, steps: int) -> bool:
    """Whether a denoising step takes anything of the source's cross-attention; arguments as of `cross_weights`.

    No tensor is made: this is asked again and again."""
    by_token = {token: Window(start, end) for tokens, start, end in edit.windows for token in tokens}
    windows = set(by_token.values()) | ({window} if len(by_token) < edit.mapper.shape[1] else set())
    return any(each.contains(step, steps + 1) for each in windows)


def fuse_cross(
    attention: Attention, edit_qkv: QKV, source_qk: QK, from_source: torch.Tensor, own: torch.Tensor | None
) -> FusedLayer:
    """Fused cross-attention: Attn(Q_s, K_s, P' V_e) + Attn(Q_e, K_e, own V_e).

    Args:
        attention: The ordinary attention.
        edit_qkv: The edit's query [n, q, C], and key and value [n, reps·T_target, C]; ComfyUI repeats shorter prompts
            to a common length.
        source_qk: The source's query [n, q, C] and key [n, T_source, C].
        from_source: P' of `cross_weights`, [T_source, T_target].
        own: Of `cross_weights`, [T_target], or None.

    Returns:
        Of which comes [n, q, C].
    """
    query, key, value = edit_qkv
    target_length = from_source.shape[1]

    def from_the_source() -> torch.Tensor:
        return attention(*source_qk, from_source.to(value) @ value[:, :target_length])

    if own is None:
        return FusedLayer(None, lambda _: from_the_source())
    repeats = value.shape[1] // target_length
    own = (own if repeats == 1 else own.repeat(repeats))[:, None].to(value)
    return FusedLayer((query, key, value * own), lambda seen: from_the_source() + seen)


def fuse_joint(
    attention: Attention,
    edit_qkv: QKV,
    source_qk: QK,
    text: tuple[int, int],
    cross: CrossWeights | None,
    fuse_picture: bool,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Fused joint attention of a prompt and a picture, of which the prompt's tokens come first (HunyuanVideo).

    The picture's queries get Attn(Q_s, K_s, [P' V_words | V_picture]) + Attn(Q_e, K_e, [own V_words | 0]), the prompt's
    stay the edit's.

    Args:
        attention: The ordinary attention; gives [n, q, heads·d].
        edit_qkv, source_qk: The edit's query, key and value, the source's query and key, [n, heads, T + picture, d].
        text: T of the source and of the target.
        cross: `cross_weights`, or None where the picture sees the words as the edit does.
        fuse_picture: Whether the picture sees itself as in the source.
        mask: M, [n, picture] of 0..1, 1 where the picture sees itself as the edit does; None for 0 everywhere.

    Returns:
        [n, T_target + picture, heads·d].
    """
    query, key, value = edit_qkv
    words, picture = value[..., : text[1], :], value[..., text[1] :, :]
    of_source = None if cross is None else cross.from_source.to(value) @ words
    of_edit: torch.Tensor | None = words
    if cross is not None:
        of_edit = None if cross.own is None else cross.own[:, None].to(value) * words

    def seen(of_pictures: tuple) -> torch.Tensor:
        parts = zip((source_qk, (query, key)), text, zip((of_source, of_edit), of_pictures))
        return reduce(torch.add, [_look(attention, *part) for part in parts if any(v is not None for v in part[2])])

    result = seen((picture, None) if fuse_picture else (None, picture))
    if fuse_picture and mask is not None:
        result = torch.lerp(result, seen((None, picture)), mask[..., None].to(result))
    return torch.cat((attention(query[..., : text[1], :], key, value), result), dim=1)


def _look(attention: Attention, query_key: QK, text: int, values: tuple) -> torch.Tensor:
    """What a picture's queries get from so many words and from the picture; values: of both, None for zeros."""
    query, key = query_key
    parts = [
        torch.zeros_like(key[..., :size, :]) if value is None else value
        for size, value in zip((text, key.shape[-2] - text), values)
    ]
    return attention(query[..., text:, :], key, torch.cat(parts, dim=-2))


def see_alone(
    attention: Attention, edit_qkv: QKV, fused: torch.Tensor, tokens: tuple[int, ...], mask: torch.Tensor
) -> torch.Tensor:
    """Cross-attention that sees some tokens alone inside a mask: M Attn(Q_e, K_e[tokens], V_e[tokens]) + (1 - M) fused.

    Args:
        attention: The ordinary attention.
        edit_qkv: The edit's query [n, q, C], key and value [n, k, C].
        fused: What the layer gives out elsewhere, [n, q, C].
        tokens: Places of the tokens in the target prompt, at least one.
        mask: M, [n, q] of 0..1.

    Returns:
        [n, q, C].
    """
    query, key, value = edit_qkv
    # By views: an index would have to go to the GPU, which would wait for it in every layer.
    alone = attention(query, *(torch.stack([part[:, token] for token in tokens], dim=1) for part in (key, value)))
    return torch.lerp(fused, alone, mask[..., None].to(fused))


def fuse_self(attention: Attention, edit_qkv: QKV, source_qk: QK, mask: torch.Tensor | None) -> FusedLayer:
    """Blended self-attention (FateZero Eq. 7): M Attn(Q_e, K_e, V_e) + (1 - M) Attn(Q_s, K_s, V_e).

    Args:
        attention: The ordinary attention.
        edit_qkv: The edit's query [n, q, C], key and value [n, k, C].
        source_qk: The source's query [n, q, C] and key [n, k, C].
        mask: M, [n, q] of 0..1, 1 where a query keeps the edit's own attention; None for 0 everywhere.

    Returns:
        Of which comes [n, q, C].

    >>> edit, source = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[5.0], [6.0]]])
    >>> attention = lambda query, key, value: query
    >>> fuse_self(attention, (edit, edit, edit), (source, source), torch.tensor([[1.0, 0.5]])).alone(attention)
    tensor([[[1.],
             [4.]]])
    """
    from_source = (*source_qk, edit_qkv[2])
    if mask is None:
        return FusedLayer(from_source)

    def blended(own: torch.Tensor) -> torch.Tensor:
        return torch.lerp(attention(*from_source), own, mask[..., None].to(own))

    return FusedLayer(edit_qkv, blended)
