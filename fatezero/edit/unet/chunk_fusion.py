"""Inside the UNet: a chunk's attention layers at one denoising step, read from the source and fused into the edit."""

from functools import partial

import torch

from ...network.attention_layers import CROSS, SELF, TEMPORAL, Layer
from ...network.frame_chunks import ActiveChunk
from ...network.unet.attention import downsampling, layer_size, plain_attention
from ...network.unet.mask_layers import MaskLayers
from ...prompts.prompt_edit import PromptEdit
from ...refusal import Refusal
from ..conditioning_check import check_target_length
from ..edit_mask import edit_mask
from ..fusion import CrossWeights, FusedLayer, attended_together, fuse_cross, fuse_self, see_alone
from ..settings import INVERSION, BlendSettings, reads_words
from .source_cache import CachedAttention
from .step import Step, average


class ChunkFusion:
    """The attention of one chunk of frames: queries and keys of the source's rows, and the edit's rows fused with them.

    reads: uuids of the conditionings that are the source's, whose rows are read where they pass; recorded: what a cache
    keeps of them, or None without one; cached, context: instead of reading, a CachedAttention and the source prompt's
    encoding; word_maps, target_word_maps: maps [b, T, h, w] of the mask layers that the source's and the edit's rows
    have passed.
    """

    def __init__(
        self, step: Step, settings: BlendSettings, edit: PromptEdit, active: ActiveChunk, mask_layers: MaskLayers
    ):
        """A chunk that has read nothing yet.

        Args:
            step: What is fused at this denoising step.
            settings: How it is fused.
            edit: What changes in the prompt.
            active: The chunk of frames.
            mask_layers: The layers from which masks are read.
        """
        self.step, self.settings, self.edit, self.active = step, settings, edit, active
        self.mask_layers = mask_layers
        self.reads: frozenset = frozenset()
        self.queries_keys: dict[Layer, tuple[torch.Tensor, torch.Tensor]] = {}
        self.recorded: dict[Layer, torch.Tensor] | None = None
        self.cached: CachedAttention | None = None
        self.context: torch.Tensor | None = None
        self.word_maps: list[torch.Tensor] = []
        self.target_word_maps: list[torch.Tensor] = []
        self.masks: dict[tuple[int, int], torch.Tensor | None] = {}
        self.cross: CrossWeights | None = None

    def attend(self, layer, query, key, value, extra, previous):
        """The hook of every attention layer; see `install_hooks`."""

        def attention(query, key, value):
            return plain_attention(query, key, value, extra)

        self.read_layer(layer, query, key, extra)
        rows = extra["uuids"]
        if self.step.positive.isdisjoint(rows):
            return attention(query, key, value) if previous is None else previous(query, key, value, extra)

        whole = None if previous is None else previous(query, key, value, extra)
        by_row = list(zip(*(part.chunk(len(rows)) for part in (query, key, value))))
        edited = [index for index, uuid in enumerate(rows) if uuid in self.step.positive]
        fused = {index: self.edit_layer(layer, by_row[index], extra, attention) for index in edited}
        fused = {index: row for index, row in fused.items() if row is not None}
        if whole is None:
            output = attended_together(attention, (query, key, value), by_row, fused, in_place=layer.kind == SELF)
        else:  # another node's attention stays, moved by what fusion changes
            parts = list(whole.chunk(len(rows)))
            for index, row in fused.items():
                parts[index] = parts[index] + row.alone(attention) - attention(*by_row[index])
            output = torch.cat(parts)
        if not self.reads.isdisjoint(rows) and self.step.positive.issubset(rows):
            self.queries_keys.pop(layer, None)  # read and fused in the same call: nobody will ask again
        return output

    def read_layer(self, layer, query, key, extra):
        """Keeps the source's queries and keys (and in a reconstruction its word maps) as they pass."""
        query, key = self.source_row(query, extra), self.source_row(key, extra)
        if query is None:
            return
        if layer.kind == CROSS:
            key = key[:, : self.edit.source.length]  # without ComfyUI's repetitions, beside a longer prompt
        if self.fuses(layer, extra):
            self.queries_keys[layer] = query, key
            if layer.kind == CROSS:
                self.record(layer, query, extra)
        if self.step.source_words is None and reads_words(self.settings) and layer in self.mask_layers.layers:
            self.word_maps.append(self.mask_layers.word_maps(query, key, extra))

    def read_hidden(self, hidden, extra):
        """As an attn1_patch: what the source's self-attention is projected from, for a cache."""
        layer = Layer(SELF, extra["block"], extra["block_index"])
        if self.recorded is not None and self.fuses(layer, extra):
            hidden = self.source_row(hidden, extra)
            if hidden is not None:
                self.record(layer, hidden, extra)

    def record(self, layer, values, extra):
        """Keeps what a cache will store; of a call with other rows a copy, which does not keep those alive."""
        if self.recorded is not None:
            self.recorded[layer] = values if len(extra["uuids"]) == 1 else values.clone()

    def source_row(self, values, extra):
        """The rows of the source's own conditioning, the first that was asked for; None in a call without it."""
        rows = extra["uuids"]
        place = next((index for index, uuid in enumerate(rows) if uuid in self.reads), None)
        return None if place is None else values.chunk(len(rows))[place]

    def source_query_key(self, layer, extra, device):
        """The source's query and key of a layer that is fused, or None."""
        if self.cached is None:
            return self.queries_keys.get(layer)
        return self.cached.query_key(layer, self.context, device) if self.fuses(layer, extra) else None

    def fuses(self, layer, extra) -> bool:
        return layer.kind in self.step.kinds and (self.step.finest or downsampling(extra) > 1)

    def edit_layer(self, layer, edit_qkv, extra, attention):
        """One conditional row's attention, a FusedLayer with the new words in their place; None where the edit keeps
        its own."""
        fused = self.fuse_layer(layer, edit_qkv, extra, attention)
        if layer.kind == SELF and self.step.ground_keys is not None:
            return self.without_things(self.step.ground_keys, edit_qkv, fused, extra, attention)
        if layer.kind != CROSS or not self.step.new_words_alone:
            return fused
        query = edit_qkv[0]
        for tokens, place in self.words_alone(layer_size(extra, query.shape[1]), query.device):
            if place is not None:
                fused = with_words_alone(fused or FusedLayer(tuple(edit_qkv)), attention, edit_qkv, tokens, place)
        return fused

    def words_alone(self, size, device):
        """The new words that are seen alone, and where, [b, height, width] or None: all together, or each thing's."""
        things = [(tokens, places[size].of(self.active)) for tokens, places in self.step.things if size in places]
        return things or [(self.edit.new_phrases, self.place(size, device))]

    def without_things(self, ground_keys, edit_qkv, fused, extra, attention):
        """A row's self-attention that sees the ground alone inside the mask; fused: the same as it is elsewhere."""
        query, *key_value = edit_qkv
        size = layer_size(extra, query.shape[1])
        place = self.place(size, query.device)
        if place is None:
            return fused
        elsewhere = fused or FusedLayer(tuple(edit_qkv))
        seen_there = ground_keys.of(key_value, size, self.active, query.shape[-1], extra)
        own_query = query.clone()  # the layer's may be overwritten by the source's

        def finish(seen):
            there = attention(own_query, *seen_there)
            return torch.lerp(elsewhere.finished(seen), there, place.flatten(1)[..., None].to(there))

        return FusedLayer(elsewhere.qkv, finish)

    def fuse_layer(self, layer, edit_qkv, extra, attention):
        """One conditional row's fused attention, a FusedLayer, or None where the edit keeps its own."""
        query, key, _ = edit_qkv
        source_qk = self.source_query_key(layer, extra, query.device)
        if self.settings.latent_window is not None and reads_words(self.settings) and layer in self.mask_layers.layers:
            self.target_word_maps.append(self.target_maps(query, key, source_qk, extra))
        if source_qk is None:
            return None
        if source_qk[0].shape != query.shape:
            raise Refusal(
                "the edit's attention has another size than the source's; another node on this model changes it for "
                "the edit alone: remove it."
            )
        if layer.kind == CROSS:
            check_target_length(key.shape[1], self.edit)
            if self.cross is None:
                self.cross = self.step.cross.like(query)  # once for all layers
            return fuse_cross(attention, edit_qkv, source_qk, *self.cross)
        if layer.kind == TEMPORAL:  # of all places at once; the official code has no mask here
            return fuse_self(attention, edit_qkv, source_qk, None)
        masked = self.settings.mask_self_attention and self.step.ground_keys is None
        mask = self.place(layer_size(extra, query.shape[1]), query.device) if masked else None
        return fuse_self(attention, edit_qkv, source_qk, None if mask is None else mask.flatten(1))

    def target_maps(self, query, key, source_qk, extra) -> torch.Tensor:
        """The edit's word maps of a mask layer, [b, T, h, w]: before fusion, as FateZero's code reads them, or in a
        reconstruction after it, as Video-P2P's."""
        own = self.mask_layers.word_maps(query, key[:, : self.edit.target.length], extra)
        if self.settings.attention_from == INVERSION or source_qk is None or self.step.cross is None:
            return own
        from_source, weights = self.step.cross
        source_query, source_key = source_qk
        source = self.mask_layers.word_maps(source_query, source_key, extra)
        fused = torch.einsum("bshw,st->bthw", source, from_source.to(source))
        return fused if weights is None else fused + own * weights.to(own)[:, None, None]

    def place(self, size, device):
        """Where the chunk's frames keep the edit's own, [b, height, width] of 0..1, or None for nowhere."""
        if size not in self.masks:
            known = self.step.places.get(size)
            self.masks[size] = self.seen_place(size, device) if known is None else known.of(self.active)
        return self.masks[size]

    def seen_place(self, size, device):
        """As `place`, of a mask that is not known before the step's layers run."""
        if self.step.source_words is not None:
            words = self.step.source_words[self.active.chunk.index]
        else:
            words = average(self.word_maps) if self.word_maps else None
        mask = edit_mask(self.settings, self.edit, size, self.active.frames, device, words)
        return mask if mask is not None and bool(mask.any()) else None


def with_words_alone(fused: FusedLayer, attention, edit_qkv, tokens: tuple[int, ...], place) -> FusedLayer:
    """A layer of cross-attention that sees some tokens alone in a place, [b, height, width]."""
    alone = partial(see_alone, attention, edit_qkv, tokens=tokens, mask=place.flatten(1))
    return FusedLayer(fused.qkv, lambda seen: alone(fused=fused.finished(seen)))
