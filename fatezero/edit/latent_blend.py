"""Latent blending (FateZero's `blend_latents`, Video-P2P's LocalBlend) in a form that works under any sampler."""


def blend_denoised(x, denoised, source_latent, mask, sigma: float, next_sigma: float):
    """The denoised latent with which an Euler step lands on the source's latent outside the mask.

    x: latent at sigma; denoised: the model's x_0; source_latent: the source's latent at next_sigma, the level that the
    step moves to (the official code takes the one at sigma, one step too noisy: bug B5); all [n, c, h, w].
    mask: [n, 1, h, w] of 0..1, 1 where the edit stays. With x' = r x + (1 - r) x_0, r = sigma'/sigma, an Euler step, solves
    x' = source + mask (r x + (1 - r) x_0 - source) for x_0; higher-order samplers follow it to first order.
    """
    ratio = next_sigma / sigma
    following = ratio * x + (1 - ratio) * denoised
    blended = source_latent + mask * (following - source_latent)
    return (blended - ratio * x) / (1 - ratio)
