"""The source's attention from the cache that earlier edits have filled, and what this edit adds to it.

A chunk's queries and keys are the same as in a replay: they are projected again from the hidden states that are held.
"""

from contextlib import suppress
from dataclasses import replace

import torch

from ...network.attention_layers import CROSS, Layer
from ...network.frame_chunks import ActiveChunk
from ...network.inspection.model_identity import Unrecognised, model_parts, same_parts
from ...network.unet.inflation import gather_frames, inflation_of
from ...network.unet.layer_sizes import layer_sizes
from ...network.unet.walk import attentions
from ...source.attention_cache import CacheBytes, CachedStep, free_budget
from ...source.digest import attention_digest
from ...source.kept_attention import keep_attention, keeps_attention, take_up_attention
from ...source.source_run import SourceRun
from ..settings import CACHE, BlendSettings
from .step import Step


def take_up_kept(source: SourceRun, model, run_begins: bool = False) -> int:
    """Adds to a source's cache what earlier edits of this session have left; the bytes that are of use to a model.

    What is held counts only for the model that it came from: another node's patches between inversion and edit change
    the source's rows as well.

    Args:
        source: The inverted clip.
        model: ModelPatcher of the edit.
        run_begins: Whether the cache is now this model's; then what another one has left goes.
    """
    cache, parts = source.cache, model_parts(model)
    if not same_parts(cache.made_with, parts):
        if cache.parts and not run_begins:
            return 0
        cache.clear()
        cache.made_with = parts
    if keeps_attention():
        with suppress(Unrecognised):
            take_up_attention(cache, attention_digest(model, source))
    return cache.bytes.total


class SourceCache:
    """A run's dealings with the cache of its source, which is the model's by now (`take_up_kept`)."""

    def __init__(self, source: SourceRun, model, settings: BlendSettings, budget: CacheBytes):
        """budget: what may be added to the cache in RAM and on disk."""
        network = model.model.diffusion_model
        height, width = source.trajectory.shape[-2:]
        self.source, self.model, self.cache = source, model, source.cache
        self.budget, self.explicit = budget, settings.source_attention == CACHE
        self.begun = False
        self.attentions = dict(attentions(network))
        self.is_finest = {layer: tokens == height * width for layer, tokens, _ in layer_sizes(network, height, width)}
        self.inflation = inflation_of(model)
        self.has_new = False

    @property
    def takes_more(self) -> bool:
        """Whether anything may be added."""
        return self.budget.total > 0

    def begin(self, device) -> None:
        """Once the model is loaded, so that its own memory is not taken for free."""
        if self.begun:
            return
        self.begun = True
        vram = free_budget(device).vram if self.explicit else 0
        self.cache.budget = replace(self.budget, vram=vram)

    def open(self, step: Step, active: ActiveChunk) -> "CachedAttention | None":
        """The chunk's attention at a step, when all of it is held."""
        fused = [
            layer for layer, finest in self.is_finest.items() if layer.kind in step.kinds and step.finest >= finest
        ]
        held = self.cache.open(step.sigma, active.chunk.pool, fused)
        return None if held is None else CachedAttention(held, self, active)

    def store(self, sigma: float, active: ActiveChunk, tensors: dict[Layer, torch.Tensor]) -> None:
        """Keeps what the chunk's own frames have shown; the frames that only lent their keys may not be exact."""
        own, held = active.chunk.own_count, self.cache.bytes.total
        self.cache.store(sigma, active.frames[:own], {layer: tensor[:own] for layer, tensor in tensors.items()})
        self.has_new |= self.cache.bytes.total > held

    def stop(self) -> None:
        """Drops everything and keeps no more: what is computed in smaller chunks than planned differs in its last bits,
        and a later edit must not depend on how much memory this one had."""
        self.cache.clear()
        self.budget = self.cache.budget = CacheBytes()
        self.has_new = False

    def keep(self) -> str | None:
        """Keeps for the session what the run has added, and says what came of it; None where it has added nothing."""
        if not self.has_new:
            return None
        try:
            return keep_attention(self.cache, attention_digest(self.model, self.source))
        except Unrecognised as reason:
            return f"Not kept for a new target, since {reason}."


class CachedAttention:
    """One chunk's queries and keys, projected again from what the cache holds."""

    def __init__(self, step: CachedStep, owner: SourceCache, active: ActiveChunk):
        self.step, self.attentions = step, owner.attentions
        self.inflation, self.chunk = owner.inflation, active.chunk

    def query_key(self, layer: Layer, context: torch.Tensor, device) -> tuple[torch.Tensor, torch.Tensor]:
        """query [b, tokens, width] and key [b, f·tokens or T, width] of a layer; context: the source prompt's encoding
        [1 or b, T, c]."""
        attention = self.attentions[layer]
        if layer.kind == CROSS:
            query = self.step.read(layer, self.chunk.frames, device)
            return query, attention.to_k(context.to(query)).expand(len(query), -1, -1)
        pool = self.step.read(layer, self.chunk.pool, device)
        query = attention.to_q(pool[: len(self.chunk.frames)])
        key = attention.to_k(pool)
        if self.inflation is None or pool.shape[-1] < self.inflation.minimum_width:
            return query, key[: len(query)]
        return query, gather_frames(key[None], self.chunk.keys)
