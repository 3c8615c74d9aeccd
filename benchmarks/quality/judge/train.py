"""Draws a pool of pictures of the demo world and trains the judge on it, on one CPU core.

    COMFYUI_PATH=... python -m benchmarks.quality.judge.train --work DIR [--minutes 15] [--evaluate]

Half of the pictures go through the demo model's VAE, as every edited clip does. First the network learns to say what is
where; then, with it fixed, pictures and captions learn to meet. The pool in DIR is kept; --evaluate only measures.

The judge that is there, on fresh pictures after the VAE, %: things all and only those that are there, at 0.5; the right
caption before all that differ in one fact. Of white on snow and black on the night sky nobody can tell.

    one thing, 128 x 128   things 99.7  colours 99.7  shapes 99.7  ground 100  style 99.7  caption 99.3
    one thing, mosaic      things 99.3  colours 100   shapes 99.3  ground 100  style 100   caption 99.3
    one thing, sketch                                 shapes 100   ground 74   style 100   caption 75
    two things             things 91    colours 99    shapes 92    ground 100  style 100   caption 91
    96 x 160, 104 x 136    things 97    colours 100   shapes 97    ground 100  style 99    caption 97
    192 x 128              things 87    colours 100   shapes 87    ground 100  style 100   caption 92

Of a sketch's ground little is left but the joints of a brick wall. Where a shape is misread, it is mostly a small or
cut-off one that is taken for two shapes at once.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.demo.world import COLORS, GROUNDS, SHAPES, STYLES, Scene, random_scene, render, video

from .network import WEIGHTS, Judge, load_judge

COLOR, SHAPE, GROUND = list(COLORS), list(SHAPES), list(GROUNDS)
SKETCH = STYLES.index("pencil sketch")
WORDS = sorted({*COLOR, *SHAPE, *" ".join((*GROUNDS.values(), *STYLES, "a of and nothing")).split()})
SIZES = {
    (128, 128): 0.52,
    (96, 96): 0.1,
    (96, 160): 0.1,
    (128, 192): 0.1,
    (192, 128): 0.06,
    (192, 192): 0.06,
    (144, 112): 0.06,
}
CONFIG = {
    "widths": [24, 48, 96, 128],
    "blocks": [0, 1, 1, 2],
    "embedding": 64,
    "text_width": 64,
    "words": WORDS,
    "colors": COLOR,
    "shapes": SHAPE,
    "grounds": GROUND,
    "styles": list(STYLES),
}
BATCH, TEXT_BATCH, WRONG = 64, 96, 3
# A picture's facts and a caption's are a row of numbers: two colours, two shapes, ground, style; -1 where there is no
# second thing, or where a caption leaves the colour or the ground out.


def facts_of(scene: Scene) -> list[int]:
    """The row of a scene."""
    colors, shapes = [COLOR.index(t.color) for t in scene.things], [SHAPE.index(t.shape) for t in scene.things]
    return [*(colors + [-1, -1])[:2], *(shapes + [-1, -1])[:2], GROUND.index(scene.ground), STYLES.index(scene.style)]


def fits(pictures: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Whether each caption is true of each picture, bool [pictures, captions]; a sketch may have any colours."""
    picture, caption = pictures[:, None], captions[None]

    def thing(i, j):
        unseen = (caption[..., j] == -1) | (picture[..., 5] == SKETCH)
        return (picture[..., 2 + i] == caption[..., 2 + j]) & (unseen | (picture[..., i] == caption[..., j]))

    ground = (caption[..., 4] == -1) | (caption[..., 4] == picture[..., 4])
    return (thing(0, 0) & thing(1, 1) | thing(0, 1) & thing(1, 0)) & ground & (caption[..., 5] == picture[..., 5])


def say(row: np.ndarray, bare: bool = False) -> str:
    """The caption of a row, worded as by `world.caption`; `bare` leaves the ground's adjective out."""
    things = [f"a {COLOR[c]} {SHAPE[s]}" if c >= 0 else f"a {SHAPE[s]}" for c, s in zip(row[:2], row[2:4]) if s >= 0]
    ground = "" if row[4] < 0 else GROUNDS[GROUND[row[4]]]
    for adjective in ("green ", "yellow ", "white ", "blue ", "dark ") if bare else ():
        ground = ground.replace(adjective, "")
    text = f"{' and '.join(things) or 'nothing'} {ground}".strip()
    return f"a {STYLES[row[5]]} of {text}" if row[5] else text


def forget(row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The row with colours and the ground left out at random, and the things in any order."""
    row = row.copy()
    if row[3] >= 0 and rng.uniform() < 0.5:
        row[:4] = row[[1, 0, 3, 2]]
    if rng.uniform() < (0.6 if row[5] == SKETCH else 0.3):
        row[:2] = -1
    elif rng.uniform() < 0.15:
        row[rng.integers(2)] = -1
    if rng.uniform() < 0.25:
        row[4] = -1
    return row


def changes(row: np.ndarray) -> list[np.ndarray]:
    """All rows that differ from a caption's row in one fact, and those with two things' colours or shapes swapped."""
    rows, counts = [], (len(COLOR), len(COLOR), len(SHAPE), len(SHAPE), len(GROUND), len(STYLES))
    for place, count in enumerate(counts):
        for value in range(count) if row[place] >= 0 else ():
            if value != row[place]:
                rows.append(row.copy())
                rows[-1][place] = value
    return rows + ([row[[1, 0, 2, 3, 4, 5]], row[[0, 1, 3, 2, 4, 5]]] if row[3] >= 0 else [])


def wrong(row: np.ndarray, picture: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """`WRONG` rows near a caption's row that are not true of the picture: one fact changed, a thing more or less."""
    rows, count = changes(row), int((row[2:4] >= 0).sum())
    if count == 2:
        rows += rows[-2:] * 5  # The swaps are the hardest.
    for place, thing in ((count - 1, (-1, -1)), (count, (rng.integers(len(COLOR)), rng.integers(len(SHAPE))))):
        if place in (0, 1):
            rows.append(row.copy())
            rows[-1][[place, place + 2]] = thing
    rows = np.array(rows)
    rows = rows[~fits(picture[None], rows)[0]]
    return list(rows[rng.integers(len(rows), size=WRONG)])


def random_frame(rng: np.random.Generator) -> Scene:
    """A frame of a random clip; its thing is at times larger, as in the demo model's training."""
    scene = random_scene(rng)
    if len(scene.things) == 1 and rng.uniform() < 0.4:
        scene = replace(scene, things=(replace(scene.things[0], r=rng.uniform(0.18, 0.3)),))
    return video(scene, 8, int(rng.integers(1 << 31)))[rng.integers(8)]


@torch.inference_mode()
def through_vae(vae, pictures: np.ndarray, rng: np.random.Generator, noise: float = 0.0) -> np.ndarray:
    """Encode and decode uint8 pictures, half of them with up to `noise` in the latents, for an edit's raggedness."""
    latents = vae.encode(torch.from_numpy(pictures).float() / 255)
    strength = rng.uniform(0, noise, len(latents)) * (rng.uniform(size=len(latents)) < 0.5)
    latents = latents + torch.from_numpy((rng.standard_normal(latents.shape).T * strength).T).float()
    return (vae.decode(latents).float().clamp(0, 1) * 255).round().byte().numpy()


def draw_pool(work: Path, pictures: int, vae) -> None:
    """Write DIR/pool_HxW.safetensors: `pictures` uint8 [n, H, W, 3], `facts` int64 [n, 6] and `spots` [n, 2, 3], each
    thing's x, y and radius in pixels. The second half of each file's pictures is seen through the VAE."""
    for (height, width), share in SIZES.items():
        path = work / f"pool_{height}x{width}.safetensors"
        if path.exists():
            continue
        rng = np.random.default_rng((height, width))
        scenes = [random_frame(rng) for _ in range(round(pictures * share))]
        drawn = np.stack([render(scene, height, width) for scene in scenes])
        for start in range(len(drawn) // 2, len(drawn), 16):
            drawn[start : start + 16] = through_vae(vae, drawn[start : start + 16], rng, noise=0.8)
            print(f"{path.name}: {start} of {len(drawn)}", end="\r", flush=True)
        facts = np.array([facts_of(scene) for scene in scenes])
        spots = np.full((len(scenes), 2, 3), -1000, np.float32)
        for row, scene in zip(spots, scenes):
            for slot, thing in enumerate(scene.things):
                row[slot] = thing.x * width, thing.y * height, thing.r * height
        arrays = {"pictures": drawn, "facts": facts, "spots": spots}
        part = path.with_suffix(".part")
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, part)
        part.replace(path)


def draw_batch(pool: list[dict], rng: np.random.Generator, count: int):
    """Pictures of one size as an IMAGE, mirrored, noisy and blurred at random, with their facts and spots."""
    part = pool[rng.choice(len(pool), p=list(SIZES.values()))]
    chosen = torch.from_numpy(rng.integers(len(part["facts"]), size=count))
    images, spots = part["pictures"][chosen].float() / 255, part["spots"][chosen].clone()
    mirrored = torch.from_numpy(rng.uniform(size=count) < 0.5)
    images[mirrored] = images[mirrored].flip(2)
    spots[mirrored, :, 0] = images.shape[2] - spots[mirrored, :, 0]
    return ragged(images, rng), part["facts"][chosen], spots


def ragged(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The pictures with a little less sharpness, other light and noise, each in some of them."""
    count = len(images)
    blurred = torch.from_numpy(rng.uniform(size=count) < 0.25)
    taps = torch.exp(-(torch.linspace(-2, 2, 5) ** 2) / (2 * rng.uniform(0.5, 1.2) ** 2))
    kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(3, 1, 5, 5)
    soft = F.conv2d(F.pad(images[blurred].movedim(-1, 1), (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    images[blurred] = soft.movedim(1, -1)
    light = torch.from_numpy(rng.uniform(0.94, 1.06, (count, 1, 1, 1)) * rng.uniform(0.98, 1.02, (count, 1, 1, 3)))
    noise = torch.from_numpy(rng.uniform(0, 0.05, (count, 1, 1, 1)) * (rng.uniform(size=(count, 1, 1, 1)) < 0.5))
    return (images * light.float() + torch.randn_like(images) * noise.float()).clamp(0, 1)


def reading_loss(judge: Judge, images: torch.Tensor, facts: torch.Tensor, spots: torch.Tensor) -> torch.Tensor:
    """Cross entropies of what is at each place and of what is in the picture; colours do not count in sketches."""
    with torch.autocast("cpu", torch.bfloat16):
        last = judge.maps(images)[-1]
    pooled, place = judge.look(last.float())
    colors, shapes, colored = facts[:, :2], facts[:, 2:4], facts[:, 5] != SKETCH
    rows, columns = (torch.arange(size) * 16 + 7.5 for size in place.shape[2:])
    away = torch.hypot(columns[None, None, None] - spots[..., 0, None, None], rows[:, None] - spots[..., 1, None, None])
    radius = spots[..., 2, None, None]
    near, thing = (away / radius.clamp(min=1)).min(1)  # the nearest thing
    inside = (away < (0.5 * radius).clamp(min=11.4)).gather(1, thing[:, None])[:, 0] & (near < 50)
    clear = inside | (near > 0.8)
    here = place.movedim(1, -1)
    losses = [F.binary_cross_entropy_with_logits(here[clear][:, 0], inside[clear].float()) * 4]
    at, which = here[inside], inside.nonzero()[:, 0]
    number, seen = thing[inside], colored[which]
    losses.append(F.cross_entropy(at[seen][:, 1:9], colors[which, number][seen]))
    losses.append(F.cross_entropy(at[:, 9:], shapes[which, number]))
    ground, style = judge.whole(pooled).split((len(GROUND), len(STYLES)), 1)
    losses += [F.cross_entropy(ground, facts[:, 4]), F.cross_entropy(style, facts[:, 5])]
    reading, (true_things, true_colors, true_shapes) = judge.reading(pooled, place), targets(facts)
    losses += [
        binary(reading.things[colored], true_things[colored]) * 8,
        binary(reading.colors[colored], true_colors[colored]),
        binary(reading.shapes, true_shapes) * 3,
    ]
    return torch.stack(losses).sum()


def binary(probability: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy(probability.clamp(1e-4, 1 - 1e-4), truth)


def targets(facts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `Reading`'s things, colors and shapes should be, 0 or 1."""
    things = torch.zeros(len(facts), len(COLOR), len(SHAPE))
    for slot in range(2):
        there = (facts[:, slot] >= 0) & (facts[:, 2 + slot] >= 0)
        things[there.nonzero()[:, 0], facts[there, slot], facts[there, 2 + slot]] = 1
    return things, things.amax(2), things.amax(1)


def anneal(optimizer, progress: float) -> None:
    """The learning rate: up in the first twentieth, then down to zero along half a cosine."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * min(progress / 0.05 + 0.02, 0.5 + 0.5 * np.cos(np.pi * min(progress, 1)))


def adam(parameters, rate: float):
    return torch.optim.AdamW([{"params": list(parameters), "initial_lr": rate}], lr=rate, weight_decay=0.02)


def train_reading(judge: Judge, pool: list[dict], seconds: float, rng: np.random.Generator) -> int:
    """The convolutions, place and whole; returns the number of steps."""
    optimizer = adam([*judge.stages.parameters(), *judge.place.parameters(), *judge.whole.parameters()], 3e-3)
    start, steps, recent = time.process_time(), 0, []
    while (progress := (time.process_time() - start) / seconds) < 1:
        anneal(optimizer, progress)
        loss = reading_loss(judge, *draw_batch(pool, rng, BATCH))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 5.0)
        optimizer.step()
        steps, recent = steps + 1, [*recent[-49:], float(loss.detach())]
        if steps % 50 == 0:
            print(f"reading: step {steps}, {progress:.0%}, loss {np.mean(recent):.3f}", flush=True)
    return steps


@torch.no_grad()
def summaries(judge: Judge, pool: list[dict], rng: np.random.Generator, rounds: int = 2):
    """Every picture's `summary`, seen `rounds` times as raggedly as in training, and the facts."""
    seen, facts = [], []
    for part in pool * rounds:
        for images, rows in zip(part["pictures"].split(64), part["facts"].split(64)):
            seen.append(judge.summary(ragged(images.float() / 255, rng)))
            facts.append(rows)
    return torch.cat(seen), torch.cat(facts).numpy()


def train_embedding(judge: Judge, seen: torch.Tensor, facts: np.ndarray, seconds: float, rng) -> int:
    """The heads of the picture and of the text: symmetric InfoNCE, with wrong captions for each picture besides.

    Pairs that happen to be true (captions leave things out) do not count. Both embeddings also have to tell the things
    through one linear map; without it, the embeddings long ignore which colour is whose. Returns the number of steps.
    """
    tell = torch.nn.Linear(judge.config["embedding"], len(COLOR) * len(SHAPE))
    parts = tell, judge.image_head, judge.token, judge.phrase, judge.longer, judge.text_head
    optimizer = adam([judge.scale, *(p for part in parts for p in part.parameters())], 2e-3)
    start, steps, recent = time.process_time(), 0, []
    while (progress := (time.process_time() - start) / seconds) < 1:
        anneal(optimizer, progress)
        chosen = rng.integers(len(facts), size=TEXT_BATCH)
        pictures = facts[chosen]
        captions = np.array([forget(row, rng) for row in pictures])
        others = np.concatenate([wrong(row, picture, rng) for row, picture in zip(captions, pictures)])
        texts = judge.join_text(judge.tokens([say(row, rng.uniform() < 0.1) for row in (*captions, *others)]))
        images, scale = judge.join_image(seen[chosen]), judge.scale.clamp(max=4).exp()
        true, near = texts.split((TEXT_BATCH, len(others)))
        also = torch.from_numpy(fits(pictures, captions)) & ~torch.eye(TEXT_BATCH, dtype=torch.bool)
        logits = (scale * images @ true.T).masked_fill(also, -torch.inf)
        hard = scale * (images[:, None] * near.view(TEXT_BATCH, WRONG, -1)).sum(-1)
        right = torch.arange(TEXT_BATCH)
        loss = F.cross_entropy(torch.cat([logits, hard], 1), right) + F.cross_entropy(logits.T, right)
        rows = np.concatenate([pictures[pictures[:, 5] != SKETCH], captions, others])
        known = torch.from_numpy(((rows[:, :2] >= 0) == (rows[:, 2:4] >= 0)).all(1))
        told = tell(8 * torch.cat([images[torch.from_numpy(pictures[:, 5] != SKETCH)], texts]))[known]
        things = targets(torch.from_numpy(rows))[0].flatten(1)[known]
        loss = loss + 10 * F.binary_cross_entropy_with_logits(told, things)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps, recent = steps + 1, [*recent[-49:], float(loss.detach())]
        if steps % 100 == 0:
            print(f"embedding: step {steps}, {progress:.0%}, loss {np.mean(recent):.3f}", flush=True)
    return steps


def train(work: Path, minutes: float, path: Path) -> None:
    """Train a judge on the pool in `work` and write it to `path`."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pool = [load_file(work / f"pool_{height}x{width}.safetensors") for height, width in SIZES]
    judge = Judge(CONFIG)
    reading_steps = train_reading(judge, pool, minutes * 45, rng)
    seen, facts = summaries(judge, pool, rng)
    embedding_steps = train_embedding(judge, seen, facts, minutes * 10, rng)
    training = {
        "pictures": sum(len(part["facts"]) for part in pool),
        "minutes": minutes,
        "reading_steps": reading_steps,
        "embedding_steps": embedding_steps,
    }
    part = path.with_suffix(".part")
    save_file(
        {name: value.detach().half().contiguous() for name, value in judge.state_dict().items()},
        part,
        {"config": json.dumps({**CONFIG, "training": training})},
    )
    part.replace(path)
    print(f"{path}: {path.stat().st_size} bytes, {training}")


def fresh_pictures(kind: str, count: int, height: int, width: int, vae, seed: int):
    """Pictures seen through the VAE that were not trained on, and their facts.

    kind: a style, one thing in it, or `two` plain things; never white on snow or black on the night sky.
    """
    rng, scenes = np.random.default_rng(seed), []
    while len(scenes) < count:
        scene = random_frame(rng)
        alike = any((t.color, scene.ground) in (("white", "snow"), ("black", "night sky")) for t in scene.things)
        if len(scene.things) == (2 if kind == "two" else 1) and not alike:
            scenes.append(replace(scene, style="" if kind == "two" else kind))
    drawn = np.stack([render(scene, height, width) for scene in scenes])
    drawn = np.concatenate([through_vae(vae, part, rng) for part in np.array_split(drawn, -(-count // 16))])
    return torch.from_numpy(drawn).float() / 255, torch.tensor([facts_of(scene) for scene in scenes])


def accuracy(judge: Judge, images: torch.Tensor, facts: torch.Tensor) -> dict[str, float]:
    """Shares of pictures of which all things, colours, shapes are read rightly at 0.5, the ground and style most likely
    are right, and the right caption is nearer than every one with a fact changed."""
    reading, truth = judge.read(images), targets(facts)
    sketch = bool((facts[:, 5] == SKETCH).any())
    right = {
        name: ((getattr(reading, name) > 0.5) == (wanted > 0.5)).flatten(1).all(1)
        for name, wanted in zip(("things", "colors", "shapes"), truth)
        if name == "shapes" or not sketch
    }
    right |= {"ground": reading.ground.argmax(1) == facts[:, 4], "style": reading.style.argmax(1) == facts[:, 5]}
    retrieved = []
    for embedding, row in zip(judge.embed_images(images), facts.numpy()):
        others = np.array(changes(row))
        others = others[~fits(row[None], others)[0]]
        own, *near = (judge.embed_text([say(row), *map(say, others)]) @ embedding).tolist()
        retrieved.append(own > max(near))
    right["caption"] = torch.tensor(retrieved)
    return {name: float(values.float().mean()) for name, values in right.items()}


def evaluate(path: Path, vae) -> None:
    """Print the accuracies on fresh pictures of all kinds and sizes."""
    judge = load_judge(path)
    for seed, (kind, count, height, width) in enumerate(
        (
            ("", 300, 128, 128),
            ("two", 150, 128, 128),
            ("pencil sketch", 150, 128, 128),
            ("mosaic", 150, 128, 128),
            ("", 100, 96, 160),
            ("", 60, 192, 128),
            ("", 60, 104, 136),
        ),
        800000,
    ):
        numbers = accuracy(judge, *fresh_pictures(kind, count, height, width, vae, seed))
        print(
            f"{kind or 'plain':13} {height}x{width}",
            {name: round(value, 3) for name, value in numbers.items()},
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the pool of pictures is or will be")
    parser.add_argument("--pictures", type=int, default=8000, help="how many to draw where DIR has none")
    parser.add_argument("--minutes", type=float, default=15, help="processor time of the training, after the pool")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="FILE", help="where the judge is or will be")
    parser.add_argument("--evaluate", action="store_true", help="only measure the judge that is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vae = load_demo_model()[2]
    if not options.evaluate:
        if options.work is None:
            parser.error("--work names the folder for the pool of pictures; it is needed to train.")
        options.work.mkdir(parents=True, exist_ok=True)
        draw_pool(options.work, options.pictures, vae)
        train(options.work, options.minutes, options.weights)
    evaluate(options.weights, vae)


if __name__ == "__main__":
    main()
