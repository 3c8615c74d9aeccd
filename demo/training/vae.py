"""Train the autoencoder."""

from functools import partial

import numpy as np
import torch
from safetensors.torch import load_file

from ..world import random_scene, render
from .data import in_processes
from .networks import DEVICE, LATENT_SCALE, as_input, autocast, new_autoencoder
from .run import Run


def draw_pictures(size, count, seed, processes=1):
    """Random scenes of the world: uint8 (count, H, W, 3)."""
    return np.concatenate(list(in_processes(partial(draw_some, size.pixels), count, 50, processes, seed)))


def draw_some(side, seed, count):
    rng = np.random.default_rng(seed)
    return np.stack([render(random_scene(rng), side, side) for _ in range(count)])


def train_vae(size, work, minutes, batch, rate, start, decoder_only=False, count=1500, processes=1):
    """L1 + L2 + L1 of gradients + a little KL.

    Three quarters of the time mostly on crops, which is fast; then on whole pictures, over which the normalisation
    layers measure other statistics: `batch` / 4 crops of one of `count` pictures each, or half as many pictures.
    `decoder_only` keeps the latents as they are, for a UNet that knows them.
    """
    vae = new_autoencoder(size)
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(not decoder_only)
    run = Run(work / "vae.safetensors", {"vae": vae}, minutes, rate, start)
    held_out, images = draw_pictures(size, 32, 3), draw_pictures(size, count, 1000, processes)
    images, rng, recent = torch.as_tensor(images).to(DEVICE), np.random.default_rng(), []
    while run.progress < 1:
        whole = run.progress > 0.75 or run.step % 4 == 0
        crop, count = (size.pixels, batch // 8) if whole else (size.crop, batch // 4)
        y, x = rng.integers(0, size.pixels - crop + 1, 2)
        truth = as_input(images[rng.integers(0, len(images), count), y : y + crop, x : x + crop])
        with autocast():
            mean, log_variance = vae.quant_conv(vae.encoder(truth)).float().chunk(2, 1)
            log_variance = log_variance.clamp(-20, 10)
            latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            image = vae.decoder(vae.post_quant_conv(latent)).float()
        edges = sum((image.diff(dim=axis) - truth.diff(dim=axis)).abs().mean() for axis in (2, 3))
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        difference = image - truth
        loss = difference.abs().mean() + 0.5 * difference.square().mean() + 0.5 * edges + 2e-4 * divergence
        recent.append(run.update(loss))
        if run.step % 100 == 0:
            loss = torch.stack(recent).mean()
            print(f"vae step {run.step}  {run.minutes_used:.1f} min  loss {loss:.4f}", flush=True)
            recent.clear()
        if run.save_every():
            print(f"vae step {run.step}  held-out PSNR {psnr(run.averaged(vae, 'vae'), held_out):.2f} dB", flush=True)
    run.save()


@torch.no_grad()
def psnr(vae, images):
    """The mean over pictures, uint8 (n, H, W, 3), of the PSNR in dB after encoding and decoding."""
    errors = []
    for truth in as_input(images).split(4):
        latents = vae.quant_conv(vae.encoder(truth)).chunk(2, 1)[0]
        image = vae.decoder(vae.post_quant_conv(latents)).clamp(-1, 1)
        errors.append(((image - truth) / 2).square().mean((1, 2, 3)))
    return -10 * torch.cat(errors).log10().mean().item()


@torch.no_grad()
def load_vae(size, work, start):
    """The autoencoder of `start` (exported weights), or the one trained in `work`.

    The latter's latents are shifted and scaled so that they are standard after x 0.18215, as SD 1.x's are.
    """
    vae = new_autoencoder(size).eval()
    if start:
        vae.load_state_dict({key[4:]: tensor for key, tensor in start.items() if key.startswith("vae.")})
        return vae
    weights = load_file(work / "vae.safetensors")
    vae.load_state_dict({key[12:]: tensor for key, tensor in weights.items() if key.startswith("average.vae.")})
    images = as_input(draw_pictures(size, 200, 2))
    latents = torch.cat([vae.quant_conv(vae.encoder(part)).chunk(2, 1)[0] for part in images.split(20)])
    mean, scale = latents.mean((0, 2, 3)), 1 / (LATENT_SCALE * latents.std((0, 2, 3)))
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:4] *= scale.view(4, 1, 1, 1)
    into.bias[:4] = (into.bias[:4] - mean) * scale
    into.bias[4:] += 2 * scale.log()
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight /= scale.view(1, 4, 1, 1)
    return vae
