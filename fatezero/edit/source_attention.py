"""Where an edit's source attention comes from: the source's rows run again (replay), or what an earlier edit has kept.

A chunk's queries and keys are the same either way: replay reads them as they pass, the cache projects them again from
the hidden states that it holds.
"""

from dataclasses import dataclass, replace

import torch

from ..network.attention_layers import CROSS, SELF, Layer
from ..network.frame_chunks import ActiveChunk
from ..network.model_identity import model_parts, same_parts
from ..network.unet_attention import transformer_blocks
from ..network.unet_inflation import KeyFramePatch, gather_frames, inflation_of
from ..network.unet_layer_sizes import cached_bytes_per_frame, layer_sizes, read_bytes_per_frame
from ..prompts.window import Window
from ..source.attention_cache import CacheBytes, free_budget, plan_cache
from .fusion import cross_weights
from .settings import AUTO, CACHE, INVERSION, RECONSTRUCTION, REPLAY, BlendSettings

AUTO_SHARE = 0.25  # `auto` keeps what takes at most this share of the RAM that a cache may have: surely no burden


@dataclass(frozen=True)
class AttentionPlan:
    """How a run gets its source attention, decided before it starts.

    budget: what the cache may add in RAM and on disk, None where nothing is read from it or kept; read_bytes: queries
    and keys held per frame while a step is fused; text: both in words, with the price.
    """

    budget: CacheBytes | None
    read_bytes: int
    text: str


def plan_source_attention(model, source, edit, settings: BlendSettings) -> AttentionPlan:
    """Chooses between replay and cache; ValueError, one sentence, when a cache was asked for and cannot be had."""
    network = model.model.diffusion_model
    height, width = source.trajectory.shape[-2:]
    dtype = model.model.get_dtype_inference()
    inflation = inflation_of(model)
    kinds = [kinds_at(edit, settings, step, source.steps) for step in range(source.steps)]
    if settings.attention_from == INVERSION:
        rows = sum(map(bool, kinds))
    else:  # guided, it has two rows of its own
        rows = sum(uses_reconstruction(edit, settings, step, source.steps) for step in range(source.steps))
        rows *= 2 if settings.attention_from == RECONSTRUCTION else 1
    chunk_bytes = [
        source.frames * cached_bytes_per_frame(network, height, width, fused, settings.finest_layers, dtype)
        for fused in kinds
        if fused
    ]
    read_bytes = read_bytes_per_frame(
        network,
        height,
        width,
        {SELF, CROSS},
        settings.finest_layers,
        dtype,
        len(inflation.key_frames) if inflation else 1,
    )
    replay = f"source by replay: up to +{rows / source.steps / 2:.0%} time"  # beside guided sampling's two rows
    hindrance = why_not_cached(model, settings)
    if settings.source_attention == CACHE and hindrance:
        raise ValueError(f"Attention Blend: 'source attention' is cache, but {hindrance}; choose replay.")
    if settings.source_attention == REPLAY or hindrance or not chunk_bytes:
        return AttentionPlan(None, read_bytes, replay)
    budget = replace(free_budget(torch.device("cpu")), vram=0)
    if settings.source_attention == AUTO:
        budget = CacheBytes(ram=int(AUTO_SHARE * budget.ram))
    held = source.cache.bytes.total
    try:
        planned = plan_cache(chunk_bytes, replace(budget, ram=budget.ram + held))
    except ValueError:
        if settings.source_attention == CACHE:
            raise
        return AttentionPlan(CacheBytes(), read_bytes, replay)
    if held >= planned.total:
        return AttentionPlan(budget, read_bytes, "source from the cache: no extra time")
    return AttentionPlan(budget, read_bytes, f"{replay}, this once\ncache: {planned}")


def kinds_at(edit, settings: BlendSettings, step: int, steps: int) -> set[str]:
    """Which attention is fused at a denoising step."""
    kinds = {SELF} if settings.self_window.contains(step, steps) else set()
    return kinds | ({CROSS} if cross_weights(edit, settings.cross_window, step, steps) is not None else set())


def uses_reconstruction(edit, settings: BlendSettings, step: int, steps: int) -> bool:
    """Whether this or a later step may still need a reconstruction of the source to have kept pace."""
    windows = [settings.self_window, settings.cross_window, settings.latent_window or Window(0, 0)]
    ends = [window.end for window in windows] + [end for _, _, end in edit.windows]
    return step <= max(ends) * steps


def why_not_cached(model, settings: BlendSettings) -> str | None:
    """What stands against a cache, in words, or None."""
    if settings.attention_from != INVERSION:
        return f"'attention from' is {settings.attention_from}, which is computed anew in every edit"
    patches = model.model_options.get("transformer_options", {}).get("patches", {})
    others = [patch for patch in patches.get("attn1_patch", []) if not isinstance(patch, KeyFramePatch)]
    if others or patches.get("attn2_patch"):
        return "another node on the model changes what its attention layers are given (IPAdapter, HyperTile ...)"
    return None


class SourceCache:
    """A run's dealings with the cache of its source.

    What is held counts only for the model that it came from: another node's patches between inversion and edit change
    the source's rows as well, so a model with others empties the cache.
    """

    def __init__(self, source, model, settings: BlendSettings, budget: CacheBytes):
        network = model.model.diffusion_model
        height, width = source.trajectory.shape[-2:]
        self.cache = source.cache
        self.budget, self.explicit = budget, settings.source_attention == CACHE
        self.begun = False
        self.blocks = dict(transformer_blocks(network))
        self.layers = [
            layer
            for layer, tokens, _ in layer_sizes(network, height, width)
            if settings.finest_layers or tokens < height * width
        ]
        self.inflation = inflation_of(model)
        self.made_with = model_parts(model)

    def begin(self, device) -> None:
        """Once the model is loaded, so that its own memory is not taken for free."""
        if self.begun:
            return
        self.begun = True
        if not same_parts(self.cache.made_with, self.made_with):
            self.cache.clear()
            self.cache.made_with = self.made_with
        vram = free_budget(device).vram if self.explicit else 0
        self.cache.budget = replace(self.budget, vram=vram)

    def open(self, sigma: float, active: ActiveChunk, kinds: set[str]) -> "CachedAttention | None":
        """The chunk's attention at a step, when all of it is held."""
        layers = [layer for layer in self.layers if layer.kind in kinds]
        step = self.cache.open(sigma, active.chunk.pool, layers)
        return None if step is None else CachedAttention(step, self, active)

    def store(self, sigma: float, active: ActiveChunk, tensors: dict[Layer, torch.Tensor]) -> None:
        """Keeps what the chunk's own frames have shown; the frames that only lent their keys may not be exact."""
        own = active.chunk.own
        self.cache.store(sigma, active.frames[:own], {layer: tensor[:own] for layer, tensor in tensors.items()})


class CachedAttention:
    """One chunk's queries and keys, projected again from what the cache holds."""

    def __init__(self, step, owner: SourceCache, active: ActiveChunk):
        self.step, self.blocks, self.inflation, self.chunk = step, owner.blocks, owner.inflation, active.chunk

    def query_key(self, layer: Layer, context: torch.Tensor, device) -> tuple[torch.Tensor, torch.Tensor]:
        """query [b, tokens, width] and key [b, f·tokens or T, width] of a layer; context: the source prompt's encoding
        [1 or b, T, c]."""
        block = self.blocks[layer]
        if layer.kind == CROSS:
            query = self.step.read(layer, self.chunk.frames, device)
            return query, block.attn2.to_k(context.to(query)).expand(len(query), -1, -1)
        pool = self.step.read(layer, self.chunk.pool, device)
        query = block.attn1.to_q(pool[: len(self.chunk.frames)])
        key = block.attn1.to_k(pool)
        if self.inflation is None or pool.shape[-1] < self.inflation.minimum_width:
            return query, key[: len(query)]
        return query, gather_frames(key[None], self.chunk.keys)
