"""The benchmarks' judge against pictures whose facts are known because the program drew them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.quality.judge.network import WEIGHTS, perceptual_distance
from fatezero_pack.demo.world import (
    COLORS,
    GROUNDS,
    SHAPES,
    STYLES,
    Scene,
    Thing,
    caption,
    random_scene,
    render,
    thing_mask,
)

RED_CIRCLE = Scene("grass", (Thing("red", "circle", 0.45, 0.5, 0.2),), ground_seed=1)
PAIR = Scene("sand", (Thing("red", "circle", 0.3, 0.4, 0.18), Thing("blue", "square", 0.7, 0.6, 0.18)), ground_seed=2)


def draw(*scenes: Scene, height: int = 128, width: int = 128) -> torch.Tensor:
    """The scenes as an IMAGE."""
    return torch.from_numpy(np.stack([render(scene, height, width) for scene in scenes])).float() / 255


def one_thing_scenes(count: int, seed: int) -> list[Scene]:
    rng, scenes = np.random.default_rng(seed), []
    while len(scenes) < count:
        scene = random_scene(rng)
        pairs = {(thing.color, scene.ground) for thing in scene.things}
        if len(scene.things) == 1 and not pairs & {("white", "snow"), ("black", "night sky")}:
            scenes.append(scene)
    return scenes


def nearest(judge, scene: Scene, *prompts: str) -> str:
    """The prompt nearest to the picture."""
    return prompts[int((judge.embed_text(list(prompts)) @ judge.embed_images(draw(scene))[0]).argmax())]


def test_the_file_is_small_and_knows_the_worlds_names(judge):
    assert WEIGHTS.stat().st_size < 2_000_000
    assert judge.colors == tuple(COLORS) and judge.shapes == SHAPES
    assert judge.grounds == tuple(GROUNDS) and judge.styles == STYLES
    assert not judge.training and all(parameter.dtype == torch.float32 for parameter in judge.parameters())


def test_reads_plain_pictures(judge):
    scenes = [replace(scene, style="") for scene in one_thing_scenes(60, seed=5)]
    reading = judge.read(draw(*scenes))
    things = torch.zeros(60, 8, 6, dtype=torch.bool)
    for row, scene in zip(things, scenes):
        row[judge.colors.index(scene.things[0].color), judge.shapes.index(scene.things[0].shape)] = True
    assert ((reading.things > 0.5) == things).flatten(1).all(1).float().mean() > 0.9
    assert ((reading.colors > 0.5) == things.any(2)).all(1).float().mean() > 0.93
    assert ((reading.shapes > 0.5) == things.any(1)).all(1).float().mean() > 0.93
    ground = torch.tensor([judge.grounds.index(scene.ground) for scene in scenes])
    assert (reading.ground.argmax(1) == ground).float().mean() > 0.95
    assert (reading.style.argmax(1) == 0).float().mean() > 0.95
    assert torch.allclose(reading.ground.sum(1), torch.ones(60))
    assert torch.allclose(reading.style.sum(1), torch.ones(60))


def test_reads_styles_and_the_shapes_of_sketches(judge):
    scenes = [replace(scene, style=style) for scene in one_thing_scenes(15, seed=6) for style in STYLES]
    reading = judge.read(draw(*scenes))
    assert (reading.style.argmax(1) == torch.arange(3).repeat(15)).float().mean() > 0.95
    shapes = torch.tensor([judge.shapes.index(scene.things[0].shape) for scene in scenes[1::3]])
    assert (reading.shapes[1::3].argmax(1) == shapes).float().mean() > 0.8


@pytest.mark.parametrize("height, width", [(96, 96), (96, 192), (104, 136), (192, 192)])
def test_sizes(judge, height, width):
    images = draw(RED_CIRCLE, PAIR, height=height, width=width)
    reading, embeddings = judge.read(images), judge.embed_images(images)
    assert reading.things[0, judge.colors.index("red"), judge.shapes.index("circle")] > 0.5
    assert reading.things[1, judge.colors.index("blue"), judge.shapes.index("square")] > 0.5
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(2))
    assert perceptual_distance(judge, images[:1], images[1:]).shape == (1, height, width)


def test_a_prompt_binds_colors_to_shapes(judge):
    right, wrong = "a red circle and a blue square on yellow sand", "a blue circle and a red square on yellow sand"
    assert nearest(judge, PAIR, wrong, right) == right
    swapped = replace(
        PAIR, things=tuple(replace(thing, color=color) for thing, color in zip(PAIR.things, ("blue", "red")))
    )
    assert nearest(judge, swapped, right, wrong) == wrong


def test_a_prompt_is_nearest_to_its_picture(judge):
    scenes = one_thing_scenes(40, seed=7)
    prompts = [[caption(scene)] for scene in scenes]
    for scene, known in zip(scenes, prompts):
        thing = scene.things[0]
        others = [replace(scene, ground=ground) for ground in GROUNDS if ground != scene.ground]
        others += [replace(scene, things=(replace(thing, shape=shape),)) for shape in SHAPES if shape != thing.shape]
        known += map(caption, others)
    hits = [nearest(judge, scene, *known) == known[0] for scene, known in zip(scenes, prompts)]
    assert np.mean(hits) > 0.85


def test_a_prompt_may_leave_facts_out(judge):
    assert nearest(judge, RED_CIRCLE, "a star on green grass", "a circle on green grass") == "a circle on green grass"
    assert nearest(judge, RED_CIRCLE, "a blue circle", "a red circle") == "a red circle"
    alone, among = judge.embed_text(["a red circle"]), judge.embed_text(["a red circle", caption(PAIR)])
    assert torch.allclose(alone[0], among[0], atol=1e-5)


def test_unknown_words_are_named(judge):
    with pytest.raises(ValueError, match="'crimson'"):
        judge.embed_text(["a red circle", "a crimson circle on green grass"])
    with pytest.raises(ValueError, match="empty"):
        judge.embed_text([""])


def test_only_pictures_are_judged(judge):
    with pytest.raises(ValueError, match=r"\[2, 3, 128, 128\]"):
        judge.read(torch.zeros(2, 3, 128, 128))
    with pytest.raises(ValueError, match="must be alike"):
        perceptual_distance(judge, torch.zeros(1, 96, 96, 3), torch.zeros(1, 96, 128, 3))


def test_perceptual_distance_lies_where_the_pictures_differ(judge):
    before = draw(RED_CIRCLE)
    after = draw(replace(RED_CIRCLE, things=(replace(RED_CIRCLE.things[0], shape="star"),)))
    distance = perceptual_distance(judge, before, after)[0]
    inside = torch.from_numpy(thing_mask(RED_CIRCLE.things[0])) > 0
    assert perceptual_distance(judge, before, before).abs().max() == 0
    assert distance.shape == (128, 128) and distance.min() >= 0
    assert distance[inside].mean() > 5 * distance[~inside].mean()
