"""Ask the demo video model for clips, and count how often it follows the words in their first and last frames.

COMFYUI_PATH=... python -m demo.evaluate_video [--weights FILE] [--prompts 96] [--frames 9] [--sheet FILE]
"""

import argparse
from pathlib import Path

import torch

from .evaluate import SHEET, follow_rates, generate, write_sheet
from .video_model import WEIGHTS, load_demo_video_model
from .world import SIZE, caption


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--frames", type=int, default=9, help="of a clip: 1, 5, 9 ...")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--sheet", type=Path, help="where to write the last frames of sample prompts")
    options = parser.parse_args()
    settings = (16, 1 + (options.frames - 1) // 4, SIZE // 8, SIZE // 8), "simple", options.steps, options.cfg
    with torch.inference_mode():
        loaded = load_demo_video_model(options.weights)
        if options.sheet:
            write_sheet(options.sheet, generate(*loaded, SHEET, 1, *settings)[:, -1])
        drawn = {}

        def draw(frame):
            def pictures(scenes):
                if not drawn:
                    drawn["clips"] = generate(*loaded, [caption(scene) for scene in scenes], 100, *settings)
                return drawn["clips"][:, frame]

            return pictures

        for name, frame in {"first frame": 0, "last frame": -1}.items():
            rates, shapes = follow_rates(draw(frame), options.prompts)
            print(name, rates, {shape: f"{found.count(shape)} of {len(found)}" for shape, found in shapes.items()})


if __name__ == "__main__":
    main()
