"""Null-text optimization as Video-P2P publishes it: all frames at once, Adam anew at each step, its own DDIM.

An independent implementation on ComfyUI's UNetModel, in alpha-bar space. It shares nothing with the pack but the UNet's
weights, which must be normal tensors (made outside of PyTorch's inference mode).
"""

import torch

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)


def published_null_text(
    unet,
    trajectory,
    conditional,
    unconditional,
    *,
    steps: int,
    guidance: float = 7.5,
    inner_steps: int = 10,
    early_stop: float = 1e-5,
    key_frame: int | None = None,
    stop_after=None,
):
    """The embeddings [1, T, C] of each step, the losses of each step before its inner steps, and the last latent.

    trajectory: z [steps + 1, n, 4, h, w], clean first; conditional, unconditional: [1, T, C]; key_frame: every frame
    also attends to this one; stop_after: so many steps only.
    """
    options = {} if key_frame is None else {"patches": {"attn1_patch": [_also_at(key_frame)]}}

    def noise(z, timestep, context):
        labels = torch.full((len(z),), float(timestep), device=z.device)
        return unet(z, labels, context=context.expand(len(z), -1, -1), transformer_options=options)

    def denoised(z, timestep, epsilon):
        previous = timestep - 1000 // steps
        alpha, alpha_previous = (float(ALPHAS[max(level, 0)]) for level in (timestep, previous))
        clean = (z - (1 - alpha) ** 0.5 * epsilon) / alpha**0.5
        return alpha_previous**0.5 * clean + (1 - alpha_previous) ** 0.5 * epsilon

    z, embedding = trajectory[-1], unconditional.clone()
    embeddings, losses = [], []
    for step in range(steps if stop_after is None else stop_after):
        timestep = (steps - 1 - step) * (1000 // steps) + 1
        target = trajectory[steps - 1 - step]
        fraction = step / steps  # i / 50 for the published 50 steps
        embedding = embedding.clone().requires_grad_()
        adam = torch.optim.Adam([embedding], lr=1e-2 * (1 - fraction / 2))
        with torch.no_grad():
            epsilon_conditional = noise(z, timestep, conditional)
        losses.append([])
        for _ in range(inner_steps):
            epsilon = noise(z, timestep, embedding)
            epsilon = epsilon + guidance * (epsilon_conditional - epsilon)
            loss = torch.nn.functional.mse_loss(denoised(z, timestep, epsilon), target)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses[-1].append(loss.item())
            if loss.item() < early_stop * (1 + 100 * fraction):
                break
        embedding = embedding.detach()
        embeddings.append(embedding)
        with torch.no_grad():
            epsilon = noise(z, timestep, embedding)
            epsilon = epsilon + guidance * (noise(z, timestep, conditional) - epsilon)
            z = denoised(z, timestep, epsilon)
    return embeddings, losses, z


def _also_at(key_frame: int):
    def patch(query, key, value, extra):
        wide = torch.cat([key, key[key_frame].expand_as(key)], dim=1)
        return query, wide, wide

    return patch
