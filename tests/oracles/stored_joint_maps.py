"""Coupled sampling of a model with joint attention, with fusion as it is written down: softmax maps, kept.

The clip is evaluated first, in a call of its own. Of a call's attentions the first two are the prompt's refiner's.
"""

import comfy.samplers
import torch

REFINER = 2  # attentions of a prompt to itself, before the blocks


class StoredJointMaps(comfy.samplers.Sampler):
    def __init__(self, edit, fuse_words, fuse_picture, seed):
        self.edit, self.fuse_words, self.fuse_picture, self.seed = edit, fuse_words, fuse_picture, seed
        self.maps, self.calls, self.storing = {}, 0, True

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, *rest, **named):
        clip, edited, generator = latent_image, latent_image.clone(), torch.Generator().manual_seed(self.seed)
        extra_args["model_options"]["transformer_options"]["optimized_attention_override"] = self.attention
        for sigma, following in zip(sigmas[:-1], sigmas[1:]):
            noised = (1 - sigma) * clip + sigma * torch.randn(clip.shape, generator=generator)
            velocities = []
            for self.storing, name, x in ((True, "negative", noised), (False, "positive", edited + noised - clip)):
                self.calls = 0
                time = x.new_full((1,), float(sigma))
                (denoised,) = comfy.samplers.calc_cond_batch(
                    model_wrap.inner_model, [model_wrap.conds[name]], x, time, extra_args["model_options"]
                )
                velocities.append((x - denoised) / sigma)
            edited = edited + (following - sigma) * (velocities[1] - velocities[0])
        return edited

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
        result, taken = own.clone(), self.edit.from_source
        if self.fuse_words:
            words = (source[..., before:, :before] @ self.edit.mapper) * taken
            result[..., after:, :after] = words + own[..., after:, :after] * (1 - taken)
        if self.fuse_picture:
            result[..., after:, after:] = source[..., before:, before:]
        return result
