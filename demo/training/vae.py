"""Train the autoencoder."""

import numpy as np
import torch
from safetensors.torch import load_file

from ..world import random_scene, render
from .networks import LATENT_SCALE, as_input, autocast, new_autoencoder
from .run import Run


def train_vae(work, minutes, rate=1.2e-3):
    """L1 + L2 + L1 of gradients + a little KL; crops of 48 px first, which is fast, then whole pictures."""
    vae = new_autoencoder()
    run = Run(work / "vae.safetensors", {"vae": vae}, minutes, rate)
    rng = np.random.default_rng(1)
    images = np.stack([render(random_scene(rng)) for _ in range(4000)])
    rng = np.random.default_rng()
    while run.progress < 1:
        crop, batch = (48, 8) if run.progress < 0.75 else (128, 3)
        y, x = rng.integers(0, images.shape[1] - crop + 1, 2)
        truth = as_input(images[rng.integers(0, len(images), batch), y : y + crop, x : x + crop])
        with autocast():
            mean, log_variance = vae.quant_conv(vae.encoder(truth)).float().chunk(2, 1)
            log_variance = log_variance.clamp(-20, 10)
            latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            image = vae.decoder(vae.post_quant_conv(latent)).float()
        edges = sum((image.diff(dim=axis) - truth.diff(dim=axis)).abs().mean() for axis in (2, 3))
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        difference = image - truth
        loss = run.update(difference.abs().mean() + 0.5 * difference.square().mean() + 0.5 * edges + 2e-4 * divergence)
        if run.step % 200 == 0:
            print(f"vae step {run.step}  {run.minutes_used:.1f} min  loss {loss:.4f}", flush=True)
        run.save_every()
    run.save()


@torch.no_grad()
def load_vae(work, start):
    """The autoencoder of `start` (exported weights), or the one trained in `work`.

    The latter's latents are shifted and scaled so that they are standard after x 0.18215, as SD 1.x's are.
    """
    vae = new_autoencoder().eval()
    if start is not None:
        vae.load_state_dict({key[4:]: tensor for key, tensor in start.items() if key.startswith("vae.")})
        return vae
    weights = load_file(work / "vae.safetensors")
    vae.load_state_dict({key[12:]: tensor for key, tensor in weights.items() if key.startswith("average.vae.")})
    rng = np.random.default_rng(2)
    images = as_input(np.stack([render(random_scene(rng)) for _ in range(500)]))
    latents = torch.cat([vae.quant_conv(vae.encoder(part)).chunk(2, 1)[0] for part in images.split(20)])
    mean, scale = latents.mean((0, 2, 3)), 1 / (LATENT_SCALE * latents.std((0, 2, 3)))
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:4] *= scale.view(4, 1, 1, 1)
    into.bias[:4] = (into.bias[:4] - mean) * scale
    into.bias[4:] += 2 * scale.log()
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight /= scale.view(1, 4, 1, 1)
    return vae
