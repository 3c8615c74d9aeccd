"""Training data: pictures of the world, encoded once, and the batches drawn from them."""

import math
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ..world import COLORS, SHAPES, caption, random_scene, random_thing, render, thing_mask
from .networks import DEVICE, LATENT_SCALE, as_input, autocast, token_ids


def draw_one(rng):
    """A random scene, and the things to look at in it: all. A fifth have two things of one colour or one shape.

    A single thing is often drawn larger than the world's, because that shows its shape better.
    """
    scene = random_scene(rng)
    if rng.uniform() < 0.2:
        scene = replace(scene, things=draw_alike(rng))
    elif len(scene.things) == 1 and rng.uniform() < 0.6:
        scene = replace(scene, things=(replace(scene.things[0], r=rng.uniform(0.2, 0.3)),))
    return [(scene, scene.things)]


def draw_two(rng):
    """A plain scene with two things apart, and the things to look at in it: both. A third share nothing."""
    things = draw_apart(rng) if rng.uniform() < 1 / 3 else draw_alike(rng)
    scene = replace(random_scene(rng), things=things, style="")
    return [(scene, things)]


def draw_alike(rng):
    """Two things apart that share either their colour or their shape."""
    first, second = draw_apart(rng)
    if rng.uniform() < 0.5:
        shape = str(rng.choice([shape for shape in SHAPES if shape != first.shape]))
        return first, replace(second, color=first.color, shape=shape)
    color = str(rng.choice([color for color in COLORS if color != first.color]))
    return first, replace(second, color=color, shape=first.shape)


def draw_apart(rng):
    """Two things that do not touch."""
    while True:
        first = random_thing(rng)
        second = random_thing(rng, first)
        if math.hypot(first.x - second.x, first.y - second.y) > 1.15 * (first.r + second.r):
            return first, second


def draw_family(rng):
    """The same small thing in the same place in all shapes, which is the one to look at.

    In half of the families another thing stays beside it, at times of the same colour, and is named first or last.
    """
    while (scene := random_scene(rng)).style == "mosaic":
        pass
    thing, other = draw_apart(rng)
    thing = replace(thing, r=min(thing.r, 0.22))
    if rng.uniform() < 0.4:
        other = replace(other, color=thing.color)
    alone, last = rng.uniform() < 0.5, rng.uniform() < 0.5
    family = []
    for shape in SHAPES:
        shaped = replace(thing, shape=shape)
        things = (shaped,) if alone else (other, shaped) if last else (shaped, other)
        family.append((replace(scene, things=things), (shaped,)))
    return family


@torch.no_grad()
def make_latents(size, vae, work, name, count, draw):
    """Encode about `count` scenes into DIR/NAME_<time>.safetensors, in the order in which `draw(rng)` lists them.

    The file holds `latents` (n, 4, h, w), `tokens` (n, 77) and `masks` (n, 1, h, w), 1 on the things to look at.
    """
    seed = int(time.time())
    rng, latents, tokens, masks, done = np.random.default_rng(seed), [], [], [], 0
    side = size.pixels
    while done < count:
        drawn = draw(rng)
        images = as_input(np.stack([render(scene, side, side) for scene, _ in drawn]))
        with autocast():
            mean = vae.quant_conv(vae.encoder(images)).float().chunk(2, 1)[0]
        covered = [
            np.max([np.zeros((side, side), np.float32), *(thing_mask(thing, side, side) for thing in things)], 0)
            for _, things in drawn
        ]
        latents.append((mean * LATENT_SCALE).half().cpu())
        tokens.append(token_ids([caption(scene) for scene, _ in drawn]).int())
        masks.append(F.max_pool2d(F.avg_pool2d(torch.tensor(np.stack(covered))[:, None], 8), 3, 1, 1).half())
        done += len(drawn)
        print(f"{name} {done}", end="\r", flush=True)
    part = work / f"{name}.part"
    save_file({"latents": torch.cat(latents), "tokens": torch.cat(tokens), "masks": torch.cat(masks)}, part)
    part.replace(work / f"{name}_{seed}.safetensors")


def load_data(work, name):
    """All files DIR/NAME_*.safetensors joined."""
    parts = [load_file(path) for path in sorted(work.glob(f"{name}_*.safetensors"))]
    if not parts:
        raise FileNotFoundError(f"Training: {work} has no {name}_*.safetensors; run the stage '{name}' first.")
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def draw_pictures(data, count, empty):
    """Random pictures: latents, masks and tokens of `count` rows; a tenth of the prompts is `empty`, for guidance."""
    chosen = torch.randint(len(data["latents"]), (count,))
    tokens = data["tokens"][chosen].long()
    tokens[torch.rand(count) < 0.1] = empty
    return data["latents"][chosen].float().to(DEVICE), data["masks"][chosen].float().to(DEVICE), tokens.to(DEVICE)


def draw_pairs(data, count, size):
    """Windows of `size` latents on a thing and on the same thing in another shape.

    Returns latents, masks and tokens of 2 `count` rows; row i and row `count` + i are a pair. The window lies around
    the thing, off centre by up to one latent, and the mask covers both shapes. A window of half a picture's side costs
    a quarter of it, and the shape fills it.
    """
    family = torch.randint(len(data["latents"]) // len(SHAPES), (count,))
    first = torch.randint(len(SHAPES), (count,))
    second = (first + torch.randint(1, len(SHAPES), (count,))) % len(SHAPES)
    chosen = torch.cat([family * len(SHAPES) + first, family * len(SHAPES) + second])
    masks = data["masks"][chosen].float()
    masks = torch.maximum(masks, masks.roll(count, 0))
    centers = torch.stack([seen.nonzero().float().mean(0) + 0.5 for seen in masks[:count, 0] > 0.5])
    corners = (centers - size / 2 + torch.empty_like(centers).uniform_(-1, 1)).round().int()
    corners = corners.clamp(0, masks.shape[-1] - size).repeat(2, 1).tolist()
    latents, masks = (
        torch.stack([row[:, y : y + size, x : x + size] for row, (y, x) in zip(rows, corners)]).to(DEVICE)
        for rows in (data["latents"][chosen].float(), masks)
    )
    return latents, masks, data["tokens"][chosen].long().to(DEVICE)
