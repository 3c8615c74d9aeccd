"""`python -m benchmarks.quality.draw_cases`: draws the first list of edits, cases.json, from one seed.

Written before any edit of the list was run; the list changes only together with every result. Each kind has as many
cases to tune on as are held out, alike in size. Colours stand out from the ground, because what cannot be seen cannot
be judged.
"""

import json
from dataclasses import asdict, replace

import numpy as np

from fatezero_pack.demo import pixel_judge as pixels
from fatezero_pack.demo import world

from .cases import HELD_OUT, LIST, TUNING

SEED = 20261121
CLIP, IMAGE = 8, 1
# kind: how many pairs of clips
PAIRS = {
    "colour": 4,
    "shape": 4,
    "colour and shape": 3,
    "background": 4,
    "style": 3,
    "one of two": 3,
    "removal": 2,
    "adjective": 2,
}
IMAGES = ("colour", "shape", "background")  # a pair each
SIZES = [(128, 128), (128, 192), (128, 128), (160, 160)]  # (height, width) of the pairs of a kind, in turn
VISIBLE = 90.0  # least distance of a thing's colour from the ground's mean and of two colours, in levels of 255


def main():
    rng = np.random.default_rng(SEED)
    cases = []
    clips, images = ((kind, pairs, False) for kind, pairs in PAIRS.items()), ((kind, 1, True) for kind in IMAGES)
    for kind, pairs, image in [*clips, *images]:
        for pair in range(pairs):
            height, width = (128, 128) if image else SIZES[pair % len(SIZES)]
            for half in (TUNING, HELD_OUT):
                source, target, preset = draw_edit(rng, kind, pair)
                prompts = world.caption(source), world.caption(target)
                if kind == "adjective":  # the clip's colour goes unsaid
                    prompts = prompts[0].replace(source.things[0].color + " ", ""), prompts[1]
                name = f"{kind.replace(' ', '_')}{'_image' if image else ''}_{pair + 1}{'a' if half == TUNING else 'b'}"
                cases.append(
                    {
                        "name": name,
                        "kind": f"{kind} (image)" if image else kind,
                        "half": half,
                        "preset": preset,
                        "source": asdict(source),
                        "target": asdict(target),
                        "source_prompt": prompts[0],
                        "target_prompt": prompts[1],
                        "seed": int(rng.integers(1000)),
                        "frames": IMAGE if image else CLIP,
                        "height": height,
                        "width": width,
                    }
                )
    LIST.write_text(json.dumps({"seed": SEED, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases: {LIST}")


def draw_edit(rng, kind: str, pair: int):
    """A source scene, its target and the preset of such an edit; drawn again until all colours can be seen."""
    while True:
        things = 2 if kind in ("one of two", "removal") else 1
        scene = draw_scene(rng, things)
        first = scene.things[0]
        color, shape = str(rng.choice(list(world.COLORS))), str(rng.choice(world.SHAPES))
        if kind in ("colour", "adjective"):
            target, preset = with_first(scene, color=color), "attribute"
        elif kind == "shape":
            target, preset = with_first(scene, shape=shape), "shape"
        elif kind == "colour and shape":
            target, preset = with_first(scene, color=color, shape=shape), "shape"
        elif kind == "background":
            target, preset = replace(scene, ground=str(rng.choice(list(world.GROUNDS)))), "background"
        elif kind == "style":
            target, preset = replace(scene, style=world.STYLES[1 + pair % 2]), "style"
        elif kind == "one of two":
            target, preset = (
                (with_first(scene, color=color), "attribute")
                if pair % 2 == 0
                else (with_first(scene, shape=shape), "shape")
            )
        else:
            target, preset = replace(scene, things=(first,)), "remove"
        if kind == "colour and shape" and (color == first.color or shape == first.shape):
            continue
        visible = can_be_seen(scene) and can_be_seen(target)
        if target != scene and visible and told_apart(first.color, target.things[0].color):
            return scene, target, preset


def draw_scene(rng, count: int) -> world.Scene:
    first = world.random_thing(rng)
    things = (replace(first, r=float(rng.uniform(0.17, 0.24))),)
    if count == 2:
        things = first, world.random_thing(rng, first)
        if things[0].color == things[1].color or things[0].shape == things[1].shape:
            return draw_scene(rng, count)  # words must tell them apart
    return world.Scene(str(rng.choice(list(world.GROUNDS))), things, ground_seed=int(rng.integers(1 << 31)))


def with_first(scene: world.Scene, **changes) -> world.Scene:
    return replace(scene, things=(replace(scene.things[0], **changes), *scene.things[1:]))


def can_be_seen(scene: world.Scene) -> bool:
    ground = pixels.ground_color(scene.ground)
    return all(np.linalg.norm(np.array(world.COLORS[thing.color]) - ground) > VISIBLE for thing in scene.things)


def told_apart(color: str, other: str) -> bool:
    difference = np.subtract(world.COLORS[color], world.COLORS[other])
    return color == other or np.linalg.norm(difference) > VISIBLE


if __name__ == "__main__":
    main()
