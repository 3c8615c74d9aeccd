"""Coupled sampling with fusion as it is written down: softmax maps of the source, kept, aligned and multiplied.

Each network evaluation attends twice a block, to itself and to the prompt, so that calls are told apart by counting.
"""

import comfy.samplers
import torch


class StoredMaps(comfy.samplers.Sampler):
    """The clip is evaluated first, keeping every map; then the edit, with maps in place of its own."""

    def __init__(self, edit, fuse_cross, fuse_self, seed):
        self.edit, self.kinds, self.seed = edit, {0: fuse_self, 1: fuse_cross}, seed
        self.maps, self.calls, self.storing, self.step, self.counted = {}, 0, True, 0, 1

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, *rest, **named):
        clip, edited, generator = latent_image, latent_image.clone(), torch.Generator().manual_seed(self.seed)
        extra_args["model_options"]["transformer_options"]["optimized_attention_override"] = self.attention
        for step, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:])):
            self.step, self.counted = step, len(sigmas)  # the paper's code counts steps + 1
            noised = (1 - sigma) * clip + sigma * torch.randn(clip.shape, generator=generator).to(clip)
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
        call, kind = self.calls, self.calls % 2
        self.calls += 1
        maps = softmax_maps(query, key, heads, mask)
        if self.storing:
            self.maps[call] = maps
        elif self.kinds[kind]:
            maps = self.maps[call] if kind == 0 else self.aligned(self.maps[call], maps)
        values = value.unflatten(-1, (heads, -1)).transpose(1, 2)
        return (maps @ values).transpose(1, 2).flatten(2)

    def aligned(self, source, own):
        """Prompt-to-prompt's replacement or refinement, and re-weighting, of each word in its window of the steps."""
        taken, here = self.edit.from_source.to(own), torch.ones(own.shape[-1]).to(own)
        for tokens, start, end in self.edit.windows:
            here[list(tokens)] = float(int(start * self.counted) <= self.step < int(end * self.counted))
        fused = self.edit.emphasis.to(own) * ((source @ self.edit.mapper.to(own)) * taken + own * (1 - taken))
        return here * fused + (1 - here) * own


def softmax_maps(query, key, heads, mask):
    query, key = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return (scores if mask is None else scores + mask).softmax(dim=-1)
