"""Training data: pictures of the world, encoded once, and the batches drawn from them."""

import itertools
import math
import multiprocessing
import time
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tools.lifeline import end_with_parent

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


def draw_family_of_two(rng):
    """A plain scene with two things apart, one of them in all shapes: the one to look at. Most are of one colour."""
    first, second = draw_apart(rng)
    if rng.uniform() < 2 / 3:
        second = replace(second, color=first.color)
    scene, last = replace(random_scene(rng), style=""), rng.uniform() < 0.5
    family = []
    for shape in SHAPES:
        shaped = replace(first, shape=shape)
        family.append((replace(scene, things=(second, shaped) if last else (shaped, second)), (shaped,)))
    return family


def draw_portion(draw, side, seed, count):
    """About `count` scenes in the order in which `draw(rng)` lists them: pictures, masks and captions.

    Pictures are uint8 (n, side, side, 3); masks uint8 (n, side / 8, side / 8), as `seen`.
    """
    rng, drawn = np.random.default_rng(seed), []
    while len(drawn) < count:
        drawn += draw(rng)
    return (
        np.stack([render(scene, side, side) for scene, _ in drawn]),
        np.stack([seen(things, side) for _, things in drawn]),
        [caption(scene) for scene, _ in drawn],
    )


def seen(things, side):
    """Where things are on the latents' grid, and one cell around: uint8 (side / 8, side / 8), 255 where covered."""
    covered = np.max([np.zeros((side, side), np.float32), *(thing_mask(thing, side, side) for thing in things)], 0)
    cells = cv2.resize(covered, (side // 8, side // 8), interpolation=cv2.INTER_AREA)
    return (255 * cv2.dilate(cells, np.ones((3, 3), np.uint8))).round().astype(np.uint8)


def in_processes(work, count, portion, processes, seed):
    """What `work(seed, portion)` returns, for seeds of their own, until `count` things are there.

    Several processes are forked for it, since drawing takes longer than encoding.
    """
    tasks = [(seed + number, min(portion, count - first)) for number, first in enumerate(range(0, count, portion))]
    if processes < 2:
        yield from itertools.starmap(work, tasks)
        return
    cv2.setNumThreads(1)  # its threads would not be there in a forked process, which would wait for them for ever
    with multiprocessing.get_context("fork").Pool(processes, end_with_parent) as pool:
        for waiting in [pool.apply_async(work, task) for task in tasks]:
            yield waiting.get()


@torch.no_grad()
def encode(vae, images):
    """Pictures, uint8 (n, H, W, 3), as latents in float16 (n, 4, h, w), scaled as SD 1.x's."""
    parts = []
    for few in torch.as_tensor(images).split(16):
        with autocast():
            mean = vae.quant_conv(vae.encoder(as_input(few))).float().chunk(2, 1)[0]
        parts.append((mean * LATENT_SCALE).half().cpu())
    return torch.cat(parts)


def make_latents(size, vae, work, name, count, draw, processes=1):
    """Encode about `count` scenes into DIR/NAME_<number>.safetensors, in the order in which `draw(rng)` lists them.

    The file holds `latents` (n, 4, h, w), `tokens` (n, 77) and `masks` (n, 1, h, w), 1 on the things to look at.
    """
    seed, latents, tokens, masks, done = time.time_ns() % 2**32, [], [], [], 0
    portions = in_processes(partial(draw_portion, draw, size.pixels), count, 60, processes, seed)
    for pictures, covered, captions in portions:
        latents.append(encode(vae, pictures))
        tokens.append(token_ids(captions).int())
        masks.append(torch.as_tensor(covered)[:, None].half() / 255)
        done += len(captions)
        print(f"{name} {done}", end="\r", flush=True)
    write({"latents": torch.cat(latents), "tokens": torch.cat(tokens), "masks": torch.cat(masks)}, work, name, seed)


def write(rows, work, name, seed):
    """Write DIR/NAME_SEED.safetensors, whole or not at all."""
    part = work / f"{name}_{seed}.part"
    save_file(rows, part)
    part.replace(work / f"{name}_{seed}.safetensors")


def load_data(work, name, known=None):
    """All files DIR/NAME_*.safetensors joined, on the training device, and their `paths`.

    `known`, an earlier answer, is it again if there are no other files since.
    """
    paths = sorted(work.glob(f"{name}_*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"Training: {work} has no {name}_*.safetensors; run the stage '{name}' first.")
    if known and known["paths"] == paths:
        return known
    parts = [load_file(path, str(DEVICE)) for path in paths]
    return {"paths": paths} | {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def draw_pictures(data, count, empty):
    """Random pictures: latents, masks and tokens of `count` rows; a tenth of the prompts is `empty`, for guidance."""
    chosen = torch.randint(len(data["latents"]), (count,), device=DEVICE)
    tokens = data["tokens"][chosen].long()
    tokens[torch.rand(count, device=DEVICE) < 0.1] = empty
    return data["latents"][chosen].float(), data["masks"][chosen].float(), tokens


def choose_pairs(total, count):
    """Indices (2 count,) among `total` rows of families; row i and row `count` + i are one thing in two shapes."""
    family = torch.randint(total // len(SHAPES), (count,), device=DEVICE)
    first = torch.randint(len(SHAPES), (count,), device=DEVICE)
    second = (first + torch.randint(1, len(SHAPES), (count,), device=DEVICE)) % len(SHAPES)
    return torch.cat([family * len(SHAPES) + first, family * len(SHAPES) + second])


def draw_windows(latents, masks, size):
    """Windows of `size` on what differs in pairs, off centre by up to one: of latents and masks (2 n, c, ..., h, w).

    The mask of a pair covers both of its things.
    """
    half = len(masks) // 2
    masks = torch.maximum(masks, masks.roll(half, 0))
    covered = (masks[:half].flatten(1, -3).amax(1) > 0.5).float()
    places = torch.arange(covered.shape[-1], device=DEVICE) + 0.5
    centers = torch.stack([(covered.sum(axis) * places).sum(1) for axis in (2, 1)], 1) / covered.sum((1, 2))[:, None]
    corners = (centers - size / 2 + torch.empty_like(centers).uniform_(-1, 1)).round().long()
    corners = corners.clamp(0, len(places) - size).repeat(2, 1)
    rows, columns = (corners[:, axis, None] + torch.arange(size, device=DEVICE) for axis in (0, 1))
    each = torch.arange(len(masks), device=DEVICE)[:, None, None]
    return (
        kept.movedim((-2, -1), (1, 2))[each, rows[:, :, None], columns[:, None]].movedim((1, 2), (-2, -1))
        for kept in (latents, masks)
    )


def draw_pairs(data, count, size):
    """Windows of `size` latents on a thing and on the same thing in another shape.

    Returns latents, masks and tokens of 2 `count` rows; row i and row `count` + i are a pair. A window of half a
    picture's side costs a quarter of it, and the shape fills it.
    """
    chosen = choose_pairs(len(data["latents"]), count)
    windows = draw_windows(data["latents"][chosen].float(), data["masks"][chosen].float(), size)
    return *windows, data["tokens"][chosen].long()
