"""The edits that are judged: scenes whose edited clip can be drawn as well. draw_cases made the list."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fatezero_pack.demo import world

LIST = Path(__file__).parent / "cases.json"
TUNING, HELD_OUT = "tuning", "held out"  # what settings are chosen on, and what only the final table shows


@dataclass(frozen=True)
class Case:
    """One edit: `source` and `target` are scenes that differ in what the prompts differ in.

    preset: the one that a user would choose for it; seed: of the motion; frames: 1 for a single image.
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

    def scenes(self, scene: world.Scene) -> list[world.Scene]:
        """The scene in motion, one for each frame; the middle of the motion for a single image."""
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
        things that change, before and after."""
        source, target = self.source, self.target
        if source.style != target.style:
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
    return Case(**{**entry, "source": scene_from(entry["source"]), "target": scene_from(entry["target"])})


def scene_from(entry: dict) -> world.Scene:
    return world.Scene(**{**entry, "things": tuple(world.Thing(**thing) for thing in entry["things"])})
