"""`python -m benchmarks.quality.draw_hard_cases`: draws the second list of edits, hard_cases.json, from one seed.

Written before any edit of the list was run; it never changes: a third list would be another file. Each kind has as many
cases to choose settings on as are held out. Beside the kinds of the first list it has pairs that share a colour or a
shape, things to add, words to re-weight, clips of 24 and 48 frames, things that cross, and things that leave the frame.
Places are fractions of the frame, so the scenes hold in pictures of any size.
"""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fatezero_pack.demo import world

from .cases import HARD_LIST, HELD_OUT, TUNING
from .draw_cases import SIZES, can_be_seen, draw_edit, told_apart

SEED = 20261127
FRAMES = 8
LONG = {"24 frames": 24, "48 frames": 48}
SQUARE = (128, 128)
WEIGHTS = (-1.0, 1.0, 3.0)
# kind: how many cases of each half
KINDS = {
    "colour": 3,
    "shape": 4,
    "colour and shape": 3,
    "background": 3,
    "style": 2,
    "removal": 2,
    "adjective": 1,
    "pair of one colour": 4,
    "pair of one shape": 4,
    "addition": 3,
    "24 frames": 3,
    "48 frames": 2,
    "crossing": 3,
    "leaving": 3,
    "re-weighting": 4,
}
FIRST_LIST = ("colour", "shape", "colour and shape", "background", "style", "removal", "adjective")


def main():
    write_list(HARD_LIST, SEED, KINDS)


def write_list(path: Path, seed: int, kinds: dict[str, int], prefix: str = "") -> None:
    """Draws a list from a seed and writes it; kinds: how many cases of each half; prefix: of the cases' names."""
    rng = np.random.default_rng(seed)
    cases = []
    for kind, count in kinds.items():
        for number in range(count):
            for half in (TUNING, HELD_OUT):
                name = f"{prefix}{kind.replace(' ', '_')}_{number + 1}{'a' if half == TUNING else 'b'}"
                cases += [
                    {"name": name, "kind": kind, "half": half, "seed": int(rng.integers(1000)), **entry}
                    for entry in draw_entries(rng, kind, number)
                ]
    for case in cases:
        if "weight" in case:
            case["name"] += f"_at_{case['weight']:g}"
    path.write_text(json.dumps({"seed": seed, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases: {path}")


def draw_entries(rng, kind: str, number: int) -> list[dict]:
    """A case's scenes, prompts, preset, size and paths; for a word to re-weight one entry for each weight."""
    height, width = SQUARE if kind in (*LONG, "crossing", "leaving") else SIZES[number % len(SIZES)]
    source, target, preset, *paths = draw(rng, kind, number)
    prompts = world.caption(source), world.caption(target)
    if kind == "adjective":  # the clip's colour goes unsaid
        prompts = prompts[0].replace(source.things[0].color + " ", ""), prompts[1]
    entry = {
        "preset": preset,
        "source": asdict(source),
        "target": asdict(target),
        "source_prompt": prompts[0],
        "target_prompt": prompts[1],
        "frames": LONG.get(kind, FRAMES),
        "height": height,
        "width": width,
    }
    if paths:
        entry["paths"] = paths[0]
    if kind == "re-weighting":
        word = source.style.split()[-1] if source.style else source.things[0].color
        return [{**entry, "word": word, "weight": weight} for weight in WEIGHTS]
    return [entry]


def draw(rng, kind: str, number: int):
    """Source, target, preset, and paths where they are not the seed's."""
    if kind in FIRST_LIST:
        return draw_edit(rng, kind, number)
    if kind.startswith("pair"):
        return draw_pair(rng, kind, number)
    if kind == "addition":
        return draw_addition(rng)
    if kind == "re-weighting":
        return draw_reweighting(rng, number)
    if kind == "crossing":
        return draw_crossing(rng, number)
    source, target, preset = draw_edit(rng, ("colour", "shape", "background")[number % 3], number)
    if kind == "leaving":
        return draw_leaving(rng, source, target, preset)
    return draw_long(rng, source, target, preset)


def draw_pair(rng, kind: str, number: int):
    """Two things of one colour or one shape; the first gets another shape or another colour, in turn."""
    shared = "color" if kind.endswith("colour") else "shape"
    while True:
        first = world.random_thing(rng)
        second = replace(world.random_thing(rng, first), **{shared: getattr(first, shared)})
        scene = scene_of(rng, first, second)
        change = {"shape": str(rng.choice(world.SHAPES))} if number % 2 else {"color": str(rng.choice([*world.COLORS]))}
        target = with_thing(scene, 0, change)
        if apart(scene) and distinct(scene, target) and words_differ(scene) and words_differ(target):
            return scene, target, "shape" if number % 2 else "attribute"


def draw_addition(rng):
    """A second thing appears beside the first. No preset is made for it; "background" leaves the edit most freedom."""
    while True:
        first = world.random_thing(rng)
        target = scene_of(rng, first, world.random_thing(rng, first))
        different = target.things[0].color != target.things[1].color and first.shape != target.things[1].shape
        if apart(target) and can_be_seen(target) and different:
            return replace(target, things=(first,)), target, "background"


def draw_reweighting(rng, number: int):
    """The same scene twice: drawn in a style whose word is re-weighted, or plain, where its thing's colour is."""
    while True:
        scene = scene_of(rng, replace(world.random_thing(rng), r=float(rng.uniform(0.18, 0.24))))
        color = scene.things[0].color
        if can_be_seen(scene) and color not in ("white", "black"):  # which have no colour to take away
            scene = replace(scene, style=world.STYLES[1 + number // 2 % 2] if number % 2 == 0 else "")
            return scene, scene, "enhance"


def draw_crossing(rng, number: int):
    """Two things pass each other; the one that changes lies below the other, or above it, in turn."""
    while True:
        across = float(rng.choice([-1, 1])) * rng.uniform(0.5, 0.6, 2) * [1, -1]
        aside = float(rng.choice([-1, 1])) * rng.uniform(0.05, 0.08)
        things = (
            replace(world.random_thing(rng), x=0.5, y=0.5 + side, r=float(rng.uniform(0.14, 0.17)))
            for side in (aside, -aside)
        )
        scene, index = scene_of(rng, *things), number % 2
        change = (
            {"shape": str(rng.choice(world.SHAPES))} if number == 1 else {"color": str(rng.choice([*world.COLORS]))}
        )
        target = with_thing(scene, index, change)
        colors = [{thing.color for thing in one.things} for one in (scene, target)]
        shapes = [{thing.shape for thing in one.things} for one in (scene, target)]
        told = all(told_apart(*(thing.color for thing in one.things)) for one in (scene, target))
        if distinct(scene, target) and told and all(len(words) == 2 for words in (*colors, *shapes)):
            paths = [(float(x), 0.0, float(rng.uniform(-0.3, 0.3))) for x in across]
            return scene, target, "shape" if number == 1 else "attribute", paths


def draw_leaving(rng, source: world.Scene, target: world.Scene, preset: str):
    """The thing goes out of the frame, or comes in: its centre ends, or begins, beyond an edge."""
    direction, back = int(rng.integers(4)), float(rng.choice([-1, 1]))
    x, y = [(1, 0), (-1, 0), (0, 1), (0, -1)][direction]
    place = {"x": 0.5 + 0.25 * x, "y": 0.5 + 0.25 * y}
    path = back * 0.7 * x, back * 0.7 * y, float(rng.uniform(-0.3, 0.3))
    return with_thing(source, 0, place), with_thing(target, 0, place), preset, [path]


def draw_long(rng, source: world.Scene, target: world.Scene, preset: str):
    """The thing crosses a third of the frame along a straight line and turns."""
    turn = rng.uniform(0, 2 * math.pi)
    place = {"x": float(rng.uniform(0.45, 0.55)), "y": float(rng.uniform(0.45, 0.55))}
    path = 0.33 * math.cos(turn), 0.33 * math.sin(turn), float(rng.uniform(-0.5, 0.5))
    return with_thing(source, 0, place), with_thing(target, 0, place), preset, [path]


def scene_of(rng, *things: world.Thing) -> world.Scene:
    return world.Scene(str(rng.choice(list(world.GROUNDS))), things, ground_seed=int(rng.integers(1 << 31)))


def with_thing(scene: world.Scene, index: int, changes: dict) -> world.Scene:
    things = list(scene.things)
    things[index] = replace(things[index], **changes)
    return replace(scene, things=tuple(things))


def apart(scene: world.Scene) -> bool:
    """Whether two things do not touch, wherever they drift within eight frames."""
    one, other = scene.things
    return math.hypot(one.x - other.x, one.y - other.y) > 1.15 * (one.r + other.r) + 0.05


def distinct(source: world.Scene, target: world.Scene) -> bool:
    """Whether something changes, and all of it stands out from the ground and from what was there."""
    changed = all(told_apart(one.color, other.color) for one, other in zip(source.things, target.things))
    return source != target and changed and can_be_seen(source) and can_be_seen(target)


def words_differ(scene: world.Scene) -> bool:
    """Whether colour and shape together tell two things apart."""
    one, other = scene.things
    return (one.color, one.shape) != (other.color, other.shape) and told_apart(one.color, other.color)


if __name__ == "__main__":
    main()
