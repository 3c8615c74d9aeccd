"""Training data: clips of the world, encoded frame by frame, and the batches drawn from them."""

import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ...stacked_frames import FRAMES_PER_LATENT, stack_frames
from ...world import SHAPES, caption, render, thing_mask, video
from ..networks import DEVICE, LATENT_SCALE, as_input, autocast
from .text import token_ids


@torch.no_grad()
def make_clips(vae, vocabulary, work, name, count, frames, draw):
    """Encode about `count` clips into DIR/NAME_FRAMES_<time>.safetensors, in the order in which `draw(rng)` lists them.

    The file holds `frames` (n, frames, 4, h, w), `masks` (n, frames, h, w), 1 on the things to look at, and `tokens`.
    What is drawn together moves alike.
    """
    seed = time.time_ns() % 2**32
    rng, latents, masks, captions = np.random.default_rng(seed), [], [], []
    while len(captions) < count:
        drawn, motion = draw(rng), int(rng.integers(1 << 31))
        for scene, looked_at in drawn:
            places = [scene.things.index(thing) for thing in looked_at]
            clip = video(scene, frames, motion)
            with autocast():
                images = as_input(np.stack([render(moved) for moved in clip]))
                mean = vae.quant_conv(vae.encoder(images)).float().chunk(2, 1)[0]
            latents.append((mean * LATENT_SCALE).half().cpu())
            masks.append(torch.stack([seen([moved.things[place] for place in places]) for moved in clip]).half())
            captions.append(caption(scene))
        print(f"{name} {len(captions)}", end="\r", flush=True)
    part = work / f"{name}.part"
    tokens = token_ids(vocabulary, captions).int()
    save_file({"frames": torch.stack(latents), "masks": torch.stack(masks), "tokens": tokens}, part)
    part.replace(work / f"{name}_{frames}_{seed}.safetensors")


def seen(things):
    """Where things are on the latent's grid, and one cell around: (h, w)."""
    covered = np.max([np.zeros((128, 128), np.float32), *map(thing_mask, things)], 0)
    return F.max_pool2d(F.avg_pool2d(torch.tensor(covered)[None], 8), 3, 1, 1)[0]


def load_data(work, name, frames):
    """All files DIR/NAME_FRAMES_*.safetensors joined."""
    parts = [load_file(path) for path in sorted(work.glob(f"{name}_{frames}_*.safetensors"))]
    if not parts:
        raise FileNotFoundError(
            f"Training: {work} has no {name}_{frames}_*.safetensors; run the stage '{name}' with --frames {frames}."
        )
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def draw_clips(data, count, empty):
    """Random clips: latents (n, 16, F, h, w), masks (n, 1, F, h, w), tokens; a tenth of the prompts is `empty`."""
    chosen = torch.randint(len(data["frames"]), (count,))
    tokens = data["tokens"][chosen].long()
    tokens[torch.rand(count) < 0.1] = empty
    return *_latents_and_masks(data, chosen), tokens.to(DEVICE)


def draw_pairs(data, count, size):
    """Windows of `size` latents on a moving thing and on the same thing in another shape; as `training.data`'s."""
    family = torch.randint(len(data["frames"]) // len(SHAPES), (count,))
    first = torch.randint(len(SHAPES), (count,))
    second = (first + torch.randint(1, len(SHAPES), (count,))) % len(SHAPES)
    chosen = torch.cat([family * len(SHAPES) + first, family * len(SHAPES) + second])
    latents, masks = _latents_and_masks(data, chosen)
    masks = torch.maximum(masks, masks.roll(count, 0))
    centers = torch.stack([row[0].amax(0).gt(0.5).nonzero().float().mean(0) + 0.5 for row in masks[:count]])
    corners = (centers - size / 2 + torch.empty_like(centers).uniform_(-1, 1)).round().int()
    corners = corners.clamp(0, masks.shape[-1] - size).repeat(2, 1).tolist()
    latents, masks = (
        torch.stack([row[..., y : y + size, x : x + size] for row, (y, x) in zip(rows, corners)])
        for rows in (latents, masks)
    )
    return latents, masks, data["tokens"][chosen].long().to(DEVICE)


def _latents_and_masks(data, chosen):
    latents = stack_frames(data["frames"][chosen].float()).to(DEVICE)
    masks = data["masks"][chosen].float()
    later = masks[:, 1:].unflatten(1, (-1, FRAMES_PER_LATENT)).amax(2) if masks.shape[1] > 1 else masks[:, 1:]
    return latents, torch.cat([masks[:, :1], later], 1)[:, None].to(DEVICE)
