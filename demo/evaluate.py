"""Ask the demo model for pictures, count how often it follows the words, and draw a sheet of samples.

COMFYUI_PATH=... python -m demo.evaluate [--weights FILE] [--prompts 192] [--pairs 96] [--sheet demo/samples.png]
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, os.environ["COMFYUI_PATH"])
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = not torch.cuda.is_available()
import comfy.sample  # noqa: E402

from .model import WEIGHTS, load_demo_model, read_config  # noqa: E402
from .pixel_judge import color_mask, judge_color, judge_ground, judge_shape, judge_things  # noqa: E402
from .world import COLORS, GROUNDS, SHAPES, SIZE, Scene, Thing, caption  # noqa: E402

# A thing of nearly the ground's colour cannot be told from it, by the judge or by eye.
ALIKE = {
    ("white", "snow"),
    ("black", "night sky"),
    ("purple", "night sky"),
    ("blue", "night sky"),
    ("blue", "water"),
    ("yellow", "sand"),
    ("orange", "sand"),
    ("red", "brick wall"),
    ("orange", "brick wall"),
}
SHEET = [
    "a red circle on green grass",
    "a blue square on white snow",
    "a yellow triangle in a dark night sky",
    "a purple star on yellow sand",
    "a white heart on blue water",
    "a black cross on a brick wall",
    "a pink star on green grass",
    "a orange heart on white snow",
    "a red triangle on blue water",
    "a yellow circle on a brick wall",
    "a white cross in a dark night sky",
    "a blue heart on yellow sand",
    "a red star and a blue circle on white snow",
    "a yellow cross and a white square on green grass",
    "a pencil sketch of a purple heart on a brick wall",
    "a mosaic of a red circle on blue water",
]


def generate(model, clip, vae, prompts, seed, size, scheduler="normal", steps=20, cfg=4.0):
    """What ComfyUI's euler sampler draws for each prompt: uint8 RGB (prompts, frames, H, W, 3).

    `size` is that of a latent: (4, h, w) of a picture, which is one frame, or (16, f, h, w) of a clip.
    """
    clips, empty = [], clip.encode_from_tokens_scheduled(clip.tokenize(""))
    for number, prompt in enumerate(prompts):
        latent = torch.zeros(1, *size)
        samples = comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(latent, seed + number),
            steps,
            cfg,
            "euler",
            scheduler,
            clip.encode_from_tokens_scheduled(clip.tokenize(prompt)),
            empty,
            latent,
            disable_pbar=True,
        )
        frames = vae.decode(samples).flatten(0, -4)
        clips.append((frames.float().clamp(0, 1) * 255).round().byte().cpu().numpy())
    return np.stack(clips)


def write_sheet(path, pictures):
    """Writes pictures, uint8 RGB (n, H, W, 3), as a sheet of two rows."""
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in np.split(pictures, 2)], 0)
    cv2.imwrite(str(path), sheet[..., ::-1])


def plain_pairs():
    """The pairs of a colour and a ground that can be told apart."""
    return [(color, ground) for color in COLORS for ground in GROUNDS if (color, ground) not in ALIKE]


def reduced(pictures):
    """Pictures at the size that the judge measures: uint8 (n, SIZE, SIZE, 3)."""
    return np.stack([cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for picture in pictures])


def follow_rates(draw, count, seed=0):
    """Shares of prompts whose shape, colour and ground words are followed; `draw(prompts)` returns their pictures."""
    rng, pairs = np.random.default_rng(seed), plain_pairs()
    chosen = [(*pairs[rng.integers(len(pairs))], SHAPES[i % len(SHAPES)]) for i in range(count)]
    pictures = draw([Scene(ground, (Thing(color, shape, 0.5, 0.5, 0.25),)) for color, ground, shape in chosen])
    pictures = reduced(pictures)
    right, shapes = np.zeros(3), {shape: [] for shape in SHAPES}
    for picture, (color, ground, shape) in zip(pictures, chosen):
        found, _ = judge_shape(color_mask(picture, color, ground))
        right += (found == shape, judge_color(picture, ground) == color, judge_ground(picture) == ground)
        shapes[shape].append(found)
    return dict(zip(("shape", "color", "ground"), (right / count).round(3).tolist())), shapes


def pair_rates(draw, count, seed=0):
    """Shares of prompts with two things whose picture shows these two and nothing else, by what the two share."""
    rng, pairs = np.random.default_rng(seed), plain_pairs()
    scenes, kinds = [], ("nothing", "colour", "shape")
    while len(scenes) < count:
        kind = kinds[len(scenes) % 3]
        (first, ground), (second, other_ground) = (pairs[rng.integers(len(pairs))] for _ in range(2))
        shape, other_shape = rng.choice(SHAPES, 2).tolist()
        if ground == other_ground and (first == second, shape == other_shape) == (kind == "colour", kind == "shape"):
            things = Thing(first, shape, 0.3, 0.5, 0.2), Thing(second, other_shape, 0.7, 0.5, 0.2)
            scenes.append(Scene(ground, things))
    right = {kind: [] for kind in kinds}
    for number, (scene, picture) in enumerate(zip(scenes, reduced(draw(scenes)))):
        found = Counter(judge_things(picture, scene.ground))
        right[kinds[number % 3]].append(found == Counter((thing.color, thing.shape) for thing in scene.things))
    return {kind: round(float(np.mean(each)), 3) for kind, each in right.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--prompts", type=int, default=192)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--sheet", type=Path, help="where to write the sheet of samples")
    options = parser.parse_args()
    with torch.inference_mode():
        loaded, side = load_demo_model(options.weights), read_config(options.weights)["image_size"]

        size = 4, side // 8, side // 8

        def draw(scenes):
            return generate(*loaded, [caption(scene) for scene in scenes], 100, size)[:, 0]

        if options.sheet:
            write_sheet(options.sheet, generate(*loaded, SHEET, 1, size)[:, 0])
        if options.prompts:
            rates, shapes = follow_rates(draw, options.prompts)
            print(rates)
            for shape, found in shapes.items():
                print(f"{shape:9}", {name: found.count(name) for name in (*SHAPES, None) if name in found})
        if options.pairs:
            print("pairs by what they share", pair_rates(draw, options.pairs))


if __name__ == "__main__":
    main()
