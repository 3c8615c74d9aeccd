"""Clips of the demo world with their true edits, and the demo model to edit them, for the smaller benchmarks."""
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import comfyui_pack  # noqa: E402,F401
from fatezero_pack.demo.model import load_demo_model  # noqa: E402
from fatezero_pack.demo.world import Scene, Thing, caption, render, thing_mask, video  # noqa: E402
from fatezero_pack.fatezero.blend_settings import BlendSettings  # noqa: E402
from fatezero_pack.fatezero.inflation import Inflation, inflate  # noqa: E402
from fatezero_pack.fatezero.inversion import inversion_sigmas, invert  # noqa: E402
from fatezero_pack.fatezero.prompt_edit import make_prompt_edit  # noqa: E402
from fatezero_pack.fatezero.sampling import sample_edit  # noqa: E402
from fatezero_pack.fatezero.schedule import OFFICIAL  # noqa: E402
from fatezero_pack.fatezero.tokens import tokenize_prompt  # noqa: E402

GUIDANCE = 4.0  # as in the demo workflows; the papers' 7.5 suits Stable Diffusion


@dataclass(frozen=True)
class Case:
    """One edit: kind names the preset; source and target are scenes that differ in what the prompt differs in."""

    kind: str
    source: Scene
    target: Scene
    seed: int

    @property
    def name(self) -> str:
        return f"{caption(self.source)} -> {caption(self.target)}"


def recolored(scene: Scene, color: str) -> Scene:
    return replace(scene, things=(replace(scene.things[0], color=color), *scene.things[1:]))


def reshaped(scene: Scene, shape: str) -> Scene:
    return replace(scene, things=(replace(scene.things[0], shape=shape), *scene.things[1:]))


def scene(ground, color, shape, x, y, r, seed, *others) -> Scene:
    return Scene(ground, (Thing(color, shape, x, y, r), *others), ground_seed=seed)


# Written down before any was run.
CASES = [
    Case("attribute", (s := scene("grass", "red", "circle", .45, .5, .2, 1)), recolored(s, "blue"), 11),
    Case("attribute", (s := scene("snow", "blue", "square", .55, .45, .2, 2)), recolored(s, "orange"), 12),
    Case("attribute", (s := scene("sand", "purple", "heart", .5, .55, .22, 3)), recolored(s, "black"), 13),
    Case("attribute", (s := scene("water", "yellow", "star", .5, .5, .23, 4)), recolored(s, "red"), 14),
    Case("attribute", (s := scene("grass", "red", "circle", .3, .35, .17, 5, Thing("white", "square", .7, .65, .17))),
         recolored(s, "yellow"), 15),
    Case("shape", (s := scene("grass", "red", "circle", .5, .5, .21, 6)), reshaped(s, "square"), 16),
    Case("shape", (s := scene("snow", "purple", "square", .45, .55, .21, 7)), reshaped(s, "star"), 17),
    Case("shape", (s := scene("sand", "blue", "triangle", .55, .5, .22, 8)), reshaped(s, "circle"), 18),
    Case("background", (s := scene("grass", "red", "square", .5, .5, .22, 9)), replace(s, ground="snow"), 19),
    Case("background", (s := scene("sand", "blue", "heart", .45, .5, .22, 10)), replace(s, ground="grass"), 20),
    Case("background", (s := scene("snow", "orange", "circle", .55, .5, .22, 11)), replace(s, ground="night sky"), 21),
    Case("style", (s := scene("sand", "red", "star", .5, .5, .23, 12)), replace(s, style="pencil sketch"), 22),
    Case("style", (s := scene("grass", "yellow", "heart", .5, .5, .22, 13)), replace(s, style="pencil sketch"), 23),
    Case("style", (s := scene("snow", "blue", "cross", .5, .5, .22, 14)), replace(s, style="mosaic"), 24),
]


def draw(scene: Scene, frames: int, seed: int) -> torch.Tensor:
    """A clip as an IMAGE, float32 [n, 128, 128, 3] of 0..1."""
    return torch.from_numpy(np.stack([render(frame) for frame in video(scene, frames, seed)])).float() / 255


def edited_region(case: Case, frames: int) -> torch.Tensor:
    """Where the edit belongs, bool [n, H, W]: the things of an attribute or shape edit, before and after; the rest of
    the frame for a background edit; everywhere for a style."""
    def things(scene):
        return torch.stack([torch.from_numpy(thing_mask(frame.things[0])) for frame in video(scene, frames, case.seed)])
    region = torch.maximum(things(case.source), things(case.target)) > 0.02
    if case.kind == "style":
        return torch.ones_like(region)
    return ~region if case.kind == "background" else region


def psnr(ours: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels [n, H, W, 3] of 0..1 where the mask is set; nan where it is empty."""
    if not where.any():
        return float("nan")
    return float(-10 * torch.log10(((ours - truth) ** 2)[where].mean()))


class Editor:
    """The demo model with a way from clip to edited clip; everything goes through the functions behind the nodes."""

    def __init__(self, steps: int, key_frames=("current", "middle"), guidance: float = GUIDANCE):
        self.model, self.clip, self.vae = load_demo_model()
        self.inflated = inflate(self.model, Inflation(key_frames))
        self.steps, self.guidance = steps, guidance

    def encode(self, text: str):
        tokens = tokenize_prompt(self.clip, text)
        conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))
        return tokens, [[embedding, {**options, "fatezero_tokens": tokens}] for embedding, options in conditioning]

    def invert(self, case: Case, clip: torch.Tensor):
        _, conditioning = self.encode(caption(case.source))
        sigmas = inversion_sigmas(self.inflated, OFFICIAL, self.steps)
        return invert(self.inflated, conditioning, self.vae.encode(clip), sigmas=sigmas, disable_pbar=True)

    def edit(self, case: Case, source, settings: BlendSettings, mode: str = "auto") -> torch.Tensor:
        """The edited clip as an IMAGE."""
        target_tokens, positive = self.encode(caption(case.target))
        edit = make_prompt_edit(source.tokens, target_tokens, mode)
        negative = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(""))
        latent = sample_edit(self.inflated, source, edit, settings, positive, negative, self.guidance, disable_pbar=True)
        return self.vae.decode(latent)
