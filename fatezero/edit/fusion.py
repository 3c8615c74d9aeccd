"""Att-Fusion (FateZero Eq. 5-7) without attention maps.

Every fusion of FateZero and prompt-to-prompt is linear in the map, so it can be moved from the map to the values: a
fused layer is at most two calls of the ordinary attention. `attention` below is any function (query, key, value) ->
output with tensors [n, tokens, heads·d].
"""

import torch

from ..prompts.window import Window


def cross_weights(edit, window: Window, step: int, steps: int):
    """What a denoising step takes from the source's and from the edit's own cross-attention, folded into the values.

    c_fused = alpha e (beta c_source P + (1 - beta) c_edit) + (1 - alpha) c_edit   (per target token; method: Eq. 5
    with prompt-to-prompt's mapper P, aligned tokens beta, emphasis e and step window alpha.)
    edit: a PromptEdit; window: the cross-attention window for tokens without one of their own; step, steps: see Window.
    Returns (from_source [T_source, T_target], own [T_target]) float32, or None when the edit keeps its own attention.
    As the official code, windows of cross-attention are counted over steps + 1.
    """
    target_length = edit.mapper.shape[1]
    active = torch.full((target_length,), float(window.contains(step, steps + 1)))
    for tokens, start, end in edit.windows:
        active[list(tokens)] = float(Window(start, end).contains(step, steps + 1))
    if not active.any():
        return None
    weight = active * edit.emphasis
    from_source = edit.mapper * (weight * edit.from_source)
    own = weight * (1 - edit.from_source) + (1 - active)
    return from_source, own


def fuse_cross(attention, edit_qkv, source_qk, from_source: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Fused cross-attention: Attn(Q_s, K_s, P' V_e) + Attn(Q_e, K_e, own V_e).

    edit_qkv: query [n, q, C], key and value [n, reps·T_target, C] (ComfyUI repeats shorter prompts to a common
    length); source_qk: query [n, q, C], key [n, T_source, C]; from_source, own: from `cross_weights`.
    """
    query, key, value = edit_qkv
    source_query, source_key = source_qk
    target_length = own.shape[0]
    source_value = from_source.to(value) @ value[:, :target_length]
    fused = attention(source_query, source_key, source_value)
    if own.any():
        own = own.repeat(value.shape[1] // target_length)[:, None].to(value)
        fused = fused + attention(query, key, value * own)
    return fused


def fuse_self(attention, edit_qkv, source_qk, mask: torch.Tensor | None) -> torch.Tensor:
    """Blended self-attention: M Attn(Q_e, K_e, V_e) + (1 - M) Attn(Q_s, K_s, V_e).

    mask: M, [n, q] of 0..1, 1 where a query keeps the edit's own attention; None for 0 everywhere.
    """
    query, key, value = edit_qkv
    from_source = attention(*source_qk, value)
    if mask is None:
        return from_source
    return torch.lerp(from_source, attention(query, key, value), mask[..., None].to(from_source))


def blend_denoised(x, denoised, source_latent, mask, sigma: float, next_sigma: float):
    """The denoised latent with which an Euler step lands on the source's latent outside the mask.

    x: latent at sigma; denoised: the model's x_0; source_latent: the source's latent at next_sigma, the level that the
    step moves to (the official code takes the one at sigma, one step too noisy); all [n, c, h, w].
    mask: [n, 1, h, w] of 0..1, 1 where the edit stays. With x' = r x + (1 - r) x_0, r = sigma'/sigma, an Euler step, solves
    x' = source + mask (r x + (1 - r) x_0 - source) for x_0; higher-order samplers follow it to first order.
    """
    ratio = next_sigma / sigma
    following = ratio * x + (1 - ratio) * denoised
    blended = source_latent + mask * (following - source_latent)
    return (blended - ratio * x) / (1 - ratio)
