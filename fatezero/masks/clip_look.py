"""A look at a clip by a video model: where it sees the words of the clip's prompt, before anything is sampled."""

import comfy.samplers
import torch

from ..network.transformer.families import Family, blocks_of, head_count
from ..network.transformer.word_maps import ALL, ReadingGuider, WordMapReader, blocks_in, token_grid
from ..network.without_guidance import without_guidance

SIGMA = 0.3  # how much noise lies on the clip: there the demo video model's masks were best, see benchmarks/RESULTS.md


def look_for_words(
    model, family: Family, conditioning, latent: torch.Tensor, *, part: str = ALL, tokens: int | None = None, seed=0
) -> torch.Tensor:
    """Where the model sees each token of a prompt in a clip; takes one row of one step.

    Args:
        model: ModelPatcher; it is not changed.
        family: Its family.
        conditioning: The clip's own prompt, a CONDITIONING.
        latent: The clip, [1, c, F, h, w], as a VAE gives it.
        part: Of PARTS, the blocks to read.
        tokens: How many of the prompt's tokens to keep; None for all.
        seed: Of the noise on the clip.

    Returns:
        Attention of each latent frame, averaged over heads and blocks, float32 [F, tokens, h', w'] on the CPU.
    """
    blocks = blocks_in(part, len(blocks_of(model.model.diffusion_model, family)))
    reader = WordMapReader(token_grid(model, latent.shape), head_count(model), blocks, tokens)
    guider = ReadingGuider(without_guidance(model), reader)
    guider.inner_set_conds({"positive": conditioning})
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    guider.sample(noise, latent, Look(), torch.tensor([SIGMA, 0.0]), disable_pbar=True, seed=seed)
    return reader.take()


class Look(comfy.samplers.Sampler):
    """Noises a clip to the first sigma and asks the model once."""

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        """The clip as it is; the model's answer is not of interest."""
        noised = (1 - sigmas[0]) * latent_image + sigmas[0] * noise
        model_wrap(noised, noised.new_full((len(noised),), float(sigmas[0])), **extra_args)
        return latent_image
