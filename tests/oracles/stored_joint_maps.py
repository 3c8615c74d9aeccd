"""Coupled sampling of a model with joint attention, with fusion as it is written down: softmax maps, kept.

The clip is evaluated first, in a call of its own. Of a call's attentions the first two are the prompt's refiner's.
"""

from .stored_transformer_maps import StoredMaps

REFINER = 2  # attentions of a prompt to itself, before the blocks


class StoredJointMaps(StoredMaps):
    def __init__(self, edit, fuse_words, fuse_picture, seed):
        super().__init__(edit, fuse_words, fuse_picture, seed)
        self.fuse_words, self.fuse_picture = fuse_words, fuse_picture

    def attention(self, function, query, key, value, heads, mask=None, *args, **named):
        call = self.calls
        self.calls += 1
        maps = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
        if self.storing:
            self.maps[call] = maps
        elif call >= REFINER:
            maps = self.fused(self.maps[call], maps)
        return (maps @ value).transpose(1, 2).flatten(2)

    def fused(self, source, own):
        """Of the clip's queries: columns of words as prompt-to-prompt aligns them, columns of the clip as they were."""
        before, after = self.edit.source.length, self.edit.target.length
        result, taken = own.clone(), self.edit.from_source.to(own)
        if self.fuse_words:
            words = (source[..., before:, :before] @ self.edit.mapper.to(own)) * taken
            result[..., after:, :after] = words + own[..., after:, :after] * (1 - taken)
        if self.fuse_picture:
            result[..., after:, after:] = source[..., before:, before:]
        return result
