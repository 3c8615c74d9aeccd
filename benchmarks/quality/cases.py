"""The edits that are judged: scenes whose edited clip can be drawn as well.

draw_cases made the first list, cases.json, draw_hard_cases the second, hard_cases.json, draw_later_cases the
third and the fourth.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fatezero_pack.demo import world

LIST, HARD_LIST, THIRD_LIST, FOURTH_LIST = (
    Path(__file__).parent / name for name in ("cases.json", "hard_cases.json", "third_cases.json", "fourth_cases.json")
)
TUNING, HELD_OUT = "tuning", "held out"  # what settings are chosen on, and what only the final table shows


@dataclass(frozen=True)
class Case:
    """One edit: `source` and `target` are scenes that differ in what the prompts differ in.

    preset: the one that a user would choose for it; seed: of the motion; frames: 1 for a single image; paths: how far
    each thing goes from the first frame to the last, (x, y, turn) in widths, heights and radians, instead of the
    seed's; word: the one that is re-weighted, by `weight`, while the prompts are the same.
    """

    name: str
    kind: str
    half: str
    preset: str
    source: world.Scene
    target: world.Scene
    source_prompt: str
    target_prompt: str
    seed: int
    frames: int
    height: int
    width: int
    paths: tuple[tuple[float, float, float], ...] = ()
    word: str = ""
    weight: float = 1.0

    @property
    def emphasis(self) -> str:
        """As on the node Edit Prompts."""
        return f"{self.word}:{self.weight:g}" if self.word else ""

    def at_detail(self, detail: int) -> "Case":
        """The same scenes in pictures `detail` times as high and wide."""
        return replace(self, height=self.height * detail, width=self.width * detail)

    def scenes(self, scene: world.Scene) -> list[world.Scene]:
        """The scene in motion, one for each frame; the middle of the motion for a single image."""
        if self.paths:
            return moved(scene, self.frames, self.paths)
        if self.frames > 1:
            return world.video(scene, self.frames, self.seed)
        return [world.video(scene, 9, self.seed)[4]]

    def clip(self, scene: world.Scene) -> torch.Tensor:
        """The scene in motion as an IMAGE, float32 [n, H, W, 3] of 0..1."""
        frames = [world.render(frame, self.height, self.width) for frame in self.scenes(scene)]
        return torch.from_numpy(np.stack(frames)).float() / 255

    def things(self, scene: world.Scene, which=None) -> torch.Tensor:
        """Where the things of a scene (those whose index is in `which`, or all) are, bool [n, H, W]."""
        covered = [
            [
                world.thing_mask(thing, self.height, self.width)
                for index, thing in enumerate(frame.things)
                if which is None or index in which
            ]
            for frame in self.scenes(scene)
        ]
        empty = np.zeros((self.height, self.width), np.float32)
        return torch.from_numpy(np.stack([np.max([empty, *frame], 0) for frame in covered])) > 0.02

    def edited_region(self) -> torch.Tensor:
        """Where the edit belongs, bool [n, H, W]: everywhere for a style, all but the things for a ground, else the
        things that change, before and after; the first thing where its colour is re-weighted."""
        source, target = self.source, self.target
        if self.word and not source.style:
            return self.things(source, {0})
        if self.word or source.style != target.style:
            return torch.ones(self.frames, self.height, self.width, dtype=torch.bool)
        if source.ground != target.ground:
            return ~(self.things(source) | self.things(target))
        kept = [index for index, (one, other) in enumerate(zip(source.things, target.things)) if one == other]
        before, after = (self.things(scene, set(range(len(scene.things))) - set(kept)) for scene in (source, target))
        return before | after


def load_cases(path: Path = LIST) -> list[Case]:
    """The list of the file, in its order."""
    return [case_from(entry) for entry in json.loads(path.read_text(encoding="utf-8"))["cases"]]


def case_from(entry: dict) -> Case:
    scenes = {name: scene_from(entry[name]) for name in ("source", "target")}
    return Case(**{**entry, **scenes, "paths": tuple(tuple(path) for path in entry.get("paths", ()))})


def scene_from(entry: dict) -> world.Scene:
    return world.Scene(**{**entry, "things": tuple(world.Thing(**thing) for thing in entry["things"])})


def moved(scene: world.Scene, frames: int, paths: tuple[tuple[float, float, float], ...]) -> list[world.Scene]:
    """One scene for each frame: each thing goes along its path, with its own place in the middle of it."""
    clip = []
    for frame in range(frames):
        passed = frame / (frames - 1) - 0.5 if frames > 1 else 0.0
        things = tuple(
            replace(thing, x=thing.x + x * passed, y=thing.y + y * passed, angle=thing.angle + turn * passed)
            for thing, (x, y, turn) in zip(scene.things, paths)
        )
        clip.append(replace(scene, shift=16 + (frame - (frames - 1) / 2) * 0.6, things=things))
    return clip
