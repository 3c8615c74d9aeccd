"""`python -m benchmarks.quality.readme_picture`: docs/demo.jpg, edits by the large demo model as our presets make them.

A line of frames of the clip, and the same frames of its edit below, for each edit. First try, not chosen.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from fatezero_pack.demo.clips import CLIPS
from fatezero_pack.demo.model import LARGE_WEIGHTS
from fatezero_pack.demo.world import Scene, caption

from .cases import Case
from .editor import Editor
from .methods import OURS

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "demo.jpg"
SHOWN, GAP, STEPS = 4, 6, 20  # frames of each clip; pixels between pictures


def edited_scenes() -> dict[str, tuple[str, Scene, Scene]]:
    """{title: (preset, the clip's first scene, the same as edited)}"""
    names = "red_circle_on_grass", "blue_square_on_snow", "yellow_star_in_night_sky"
    circle, square, star = (CLIPS[name][0] for name in names)
    return {
        "colour": ("attribute", circle, with_thing(circle, color="blue")),
        "shape": ("shape", circle, with_thing(circle, shape="star")),
        "background": ("new background", square, replace(square, ground="grass")),
        "style": ("style", star, replace(star, style="mosaic")),
    }


def with_thing(scene: Scene, **changes) -> Scene:
    return replace(scene, things=(replace(scene.things[0], **changes),))


def cases(height: int, width: int) -> list[Case]:
    return [
        Case(f"readme_{title}", title, "", preset, *scenes, *map(caption, scenes), 10, 8, height, width)
        for title, (preset, *scenes) in edited_scenes().items()
    ]


def frames_of(clip: torch.Tensor) -> np.ndarray:
    """A line of frames of a clip [n, H, W, 3] of 0..1, uint8 with white gaps."""
    shown = clip[:: max(1, len(clip) // SHOWN)][:SHOWN]
    pictures = (shown.clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    return np.concatenate([np.pad(each, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for each in pictures], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=str(LARGE_WEIGHTS))
    parser.add_argument("--height", type=int, default=256, help="of the clips, in pixels")
    parser.add_argument("--width", type=int, default=448)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    editor, blocks = Editor(options.weights), []
    for case in cases(options.height, options.width):
        edited, _ = editor.make(case, replace(OURS, steps=STEPS))
        blocks.append(np.concatenate([frames_of(case.clip(case.source)), frames_of(edited)]))
        print(case.name, flush=True)
    left, right = (np.concatenate(half) for half in (blocks[:2], blocks[2:]))
    gap = np.full((len(left), 2 * GAP, 3), 255, np.uint8)
    cv2.imwrite(str(options.out), np.concatenate([left, gap, right], 1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
