"""A chunk's rows in a call of the UNet: the source's, which are read, and the edit's, into which they are fused."""

from dataclasses import replace

import torch

from ...network.frame_chunks import ActiveChunk
from ...network.inspection.other_nodes import without_patches
from ...network.model_call import ModelCall
from ...network.unet.attention import plain_attention
from ...network.unet.mask_layers import MaskLayers
from ...prompts.prompt_edit import PromptEdit
from ..settings import BlendSettings
from .chunk_fusion import ChunkFusion
from .source_branch import SourceBranch
from .source_cache import SourceCache
from .step import Step, WordMapSum


class ChunkRows:
    """Runs the chunks of an edit's first evaluations; in between, attention layers are nobody's.

    Attributes:
        chunk: The one whose rows go through the UNet at the moment; None for none.
    """

    def __init__(
        self,
        edit: PromptEdit,
        settings: BlendSettings,
        branch: SourceBranch,
        cache: SourceCache | None,
        mask_layers: MaskLayers,
        target_words: WordMapSum,
        added: frozenset[str],
    ):
        """The run's; added: what was not there at the inversion, see `added_nodes`."""
        self.edit, self.settings, self.branch, self.cache = edit, settings, branch, cache
        self.mask_layers, self.target_words, self.added = mask_layers, target_words, added
        self.chunk: ChunkFusion | None = None
        self.chunks_read = 0  # how many chunks' source rows have run in this evaluation

    def evaluate(self, call: ModelCall, active: ActiveChunk, step: Step) -> list[torch.Tensor]:
        """The edit's rows of a chunk, with or after the source's. Safe to run twice for the same frames: results are
        written by index, never added."""
        if active.index == 0:
            self.chunks_read = 0
        chunk = self._new_chunk(active, step)
        if self.branch.reads_at(step.index) and not self._open_cache(chunk):
            call = self._with_source(call, chunk)
        denoised = self._run_chunk(call.run, chunk)
        self.branch.put_word_maps(active, chunk.word_maps)
        self.target_words.put(active, chunk.target_word_maps)
        return denoised

    def _new_chunk(self, active: ActiveChunk, step: Step) -> ChunkFusion:
        return ChunkFusion(step, self.settings, self.edit, active, self.mask_layers)

    def _open_cache(self, chunk: ChunkFusion) -> bool:
        """Whether the cache holds a chunk's source attention, which then comes from there."""
        if self.cache is None:
            return False
        chunk.cached = self.cache.open(chunk.step, chunk.active)
        if chunk.cached is None:
            return False
        chunk.context = self.branch.conds(chunk.active.frames)[0]["model_conds"]["c_crossattn"].cond
        return True

    def _with_source(self, call: ModelCall, chunk: ChunkFusion) -> ModelCall:
        """A chunk's call with the source's rows in it, or the same call after they have run in one of their own."""
        active = chunk.active
        # Cached chunks skipped the model, so the key frames' hidden states that this one needs were never carried over:
        # those chunks run first.
        for earlier in map(active.at, range(self.chunks_read, active.index)):
            self._read_source(call.within(earlier), self._new_chunk(earlier, chunk.step))
        self.chunks_read = active.index + 1
        joined = None if self.added else self.branch.joined(call)
        if joined is None:
            self._read_source(call, chunk)
            return call
        self._begin_reading(chunk)
        return joined

    def _read_source(self, call: ModelCall, chunk: ChunkFusion) -> None:
        """Runs the source's rows of a chunk in a call of their own, without what was not there at the inversion."""
        self._begin_reading(chunk)
        if self.added:
            call = replace(call, model_options=without_patches(call.model_options, self.added))
        self._run_chunk(lambda: self.branch.read(call), chunk)

    def _begin_reading(self, chunk: ChunkFusion) -> None:
        """Lets a chunk read the source's rows where they pass."""
        chunk.reads = frozenset(cond["uuid"] for cond in self.branch.conds(chunk.active.frames))
        chunk.recorded = {} if self.cache is not None and self.cache.takes_more else None

    def _run_chunk(self, run, chunk: ChunkFusion):
        """What run() returns, while the attention layers are the chunk's; what they have recorded goes to the cache."""
        self.chunk = chunk
        try:
            result = run()
        finally:
            self.chunk = None
        if chunk.recorded and self.cache is not None:
            self.cache.store(chunk.step.sigma, chunk.active, chunk.recorded)
            chunk.recorded = None
        return result

    def attend(self, layer, query, key, value, extra, previous):
        """An attention layer; see `install_hooks`."""
        if self.chunk is not None:
            return self.chunk.attend(layer, query, key, value, extra, previous)
        if previous is not None:
            return previous(query, key, value, extra)
        return plain_attention(query, key, value, extra)

    def read_hidden(self, query, key, value, extra):
        """An attn1_patch that changes nothing, before all others."""
        if self.chunk is not None:
            self.chunk.read_hidden(query, extra)
        return query, key, value
