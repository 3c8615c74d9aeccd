"""Training data: clips of the world, encoded frame by frame, and the batches drawn from them."""

import time
from functools import partial

import numpy as np
import torch

from ...stacked_frames import FRAMES_PER_LATENT, stack_frames
from ...world import SIZE, caption, render, video
from ..data import choose_pairs, draw_windows, encode, in_processes, seen, write
from ..networks import DEVICE
from .text import token_ids


def draw_portion(draw, frames, seed, count):
    """About `count` clips in the order in which `draw(rng)` lists them: pictures, masks and captions.

    Pictures are uint8 (n, frames, H, W, 3), masks uint8 (n, frames, H / 8, W / 8). What is drawn together moves alike.
    """
    rng, pictures, masks, captions = np.random.default_rng(seed), [], [], []
    while len(captions) < count:
        drawn, motion = draw(rng), int(rng.integers(1 << 31))
        for scene, looked_at in drawn:
            places = [scene.things.index(thing) for thing in looked_at]
            clip = video(scene, frames, motion)
            pictures.append(np.stack([render(moved) for moved in clip]))
            masks.append(np.stack([seen([moved.things[place] for place in places], SIZE) for moved in clip]))
            captions.append(caption(scene))
    return np.stack(pictures), np.stack(masks), captions


def make_clips(vae, vocabulary, work, name, count, frames, draw, processes=1):
    """Encode about `count` clips into DIR/NAME_FRAMES_<number>.safetensors, in the order of `draw_portion`.

    The file holds `frames` (n, frames, 4, h, w), `masks` (n, frames, h, w), 1 on the things to look at, and `tokens`.
    """
    seed, latents, masks, captions = time.time_ns() % 2**32, [], [], []
    portions = in_processes(partial(draw_portion, draw, frames), count, 24, processes, seed)
    for pictures, covered, texts in portions:
        latents.append(encode(vae, pictures.reshape(-1, *pictures.shape[2:])).unflatten(0, pictures.shape[:2]))
        masks.append(torch.as_tensor(covered).half() / 255)
        captions += texts
        print(f"{name} {len(captions)}", end="\r", flush=True)
    tokens = token_ids(vocabulary, captions).int()
    rows = {"frames": torch.cat(latents), "masks": torch.cat(masks), "tokens": tokens}
    write(rows, work, f"{name}_{frames}", seed)


def draw_clips(data, count, empty):
    """Random clips: latents (n, 16, F, h, w), masks (n, 1, F, h, w), tokens; a tenth of the prompts is `empty`."""
    chosen = torch.randint(len(data["frames"]), (count,), device=DEVICE)
    tokens = data["tokens"][chosen].long()
    tokens[torch.rand(count, device=DEVICE) < 0.1] = empty
    return *_latents_and_masks(data, chosen), tokens


def draw_pairs(data, count, size):
    """Windows of `size` latents on a moving thing and on the same thing in another shape; as `training.data`'s."""
    chosen = choose_pairs(len(data["frames"]), count)
    return *draw_windows(*_latents_and_masks(data, chosen), size), data["tokens"][chosen].long()


def _latents_and_masks(data, chosen):
    latents = stack_frames(data["frames"][chosen].float())
    masks = data["masks"][chosen].float()
    later = masks[:, 1:].unflatten(1, (-1, FRAMES_PER_LATENT)).amax(2) if masks.shape[1] > 1 else masks[:, 1:]
    return latents, torch.cat([masks[:, :1], later], 1)[:, None]
