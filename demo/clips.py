"""Draw the clips and the picture that the example workflows edit: python -m demo.clips

Each clip is a scene of `world.py` in motion; `clips.json` says what it shows. Those of 256x256 pixels are for the
larger demo model. The files are plain yuv420p H.264, which browsers play too.
"""

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2

from .world import Scene, Thing, caption, render, video

FOLDER = Path(__file__).parent / "clips"
FRAMES_PER_SECOND = 8
# name: scene, frames, seed of the motion, height, width
CLIPS = {
    "red_circle_on_grass": (
        Scene("grass", (Thing("red", "circle", 0.48, 0.52, 0.22),), ground_seed=3),
        8,
        10,
        128,
        128,
    ),
    "red_circle_on_grass_large": (
        Scene("grass", (Thing("red", "circle", 0.48, 0.52, 0.22),), ground_seed=3),
        8,
        10,
        256,
        256,
    ),
    "blue_square_on_snow": (
        Scene("snow", (Thing("blue", "square", 0.5, 0.5, 0.22, 0.1),), ground_seed=5),
        16,
        5,
        128,
        128,
    ),
    "yellow_star_in_night_sky": (
        Scene("night sky", (Thing("yellow", "star", 0.5, 0.5, 0.24),), ground_seed=8),
        8,
        13,
        128,
        192,
    ),
    "red_square_and_red_star": (
        Scene("grass", (Thing("red", "square", 0.28, 0.5, 0.16), Thing("red", "star", 0.74, 0.5, 0.17)), ground_seed=6),
        8,
        4,
        256,
        256,
    ),
}
PICTURES = {"purple_heart_on_sand": Scene("sand", (Thing("purple", "heart", 0.5, 0.5, 0.24),), ground_seed=2)}


def write_mp4(path, frames):
    """Write uint8 RGB frames (H, W, 3) as H.264."""
    with av.open(str(path), "w") as container:
        options = {"crf": "6", "preset": "veryslow"}
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main():
    FOLDER.mkdir(exist_ok=True)
    captions = {}
    for name, (scene, frames, seed, height, width) in CLIPS.items():
        write_mp4(FOLDER / f"{name}.mp4", [render(s, height, width) for s in video(scene, frames, seed)])
        captions[f"{name}.mp4"] = {"caption": caption(scene), "frames": frames, "height": height, "width": width}
    for name, scene in PICTURES.items():
        cv2.imwrite(str(FOLDER / f"{name}.png"), render(scene)[..., ::-1])
        captions[f"{name}.png"] = {"caption": caption(scene), "frames": 1, "height": 128, "width": 128}
    (FOLDER / "clips.json").write_text(json.dumps(captions, indent=2) + "\n")


if __name__ == "__main__":
    main()
