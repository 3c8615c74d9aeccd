"""Tune the demo model to the clip of the red circle, for the workflow that loads a tuned model.

COMFYUI_PATH=... python -m demo.tune [--steps 100] [--rate 3e-4]

Writes demo/tuned/demo_red_circle_on_grass.safetensors in float16; run it again whenever toy_sd.safetensors changes.
"""

import argparse
import os
from pathlib import Path

from benchmarks import comfyui  # noqa: F401  (first: it loads ComfyUI, and the pack as fatezero_pack)

# isort: split
import av
import numpy as np
import torch

from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.tuning.settings import PRESETS, chosen
from fatezero_pack.fatezero.tuning.tune import tune
from fatezero_pack.fatezero.tuning.tuned_file import write_tuned
from fatezero_pack.fatezero.tuning.tuned_state import in_half_precision, tuned_state_of

FOLDER, CLIP, CAPTION = Path(__file__).parent, "red_circle_on_grass", "a red circle on green grass"


def main(steps: int, rate: float) -> None:
    model, clip, vae = load_demo_model()
    with av.open(str(FOLDER / "clips" / f"{CLIP}.mp4")) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    latent = vae.encode(torch.from_numpy(frames).float() / 255)
    ((embedding, options),) = clip.encode_from_tokens_scheduled(clip.tokenize(CAPTION))
    conditioning = [[embedding, {**options, "fatezero_tokens": tokenize_prompt(clip, CAPTION)}]]
    settings = chosen(next(iter(PRESETS)), steps, rate, 0, 0)
    tuned, progress = tune(model, conditioning, latent, settings, on_loss=lambda step, loss: print(step, loss))
    os.makedirs(FOLDER / "tuned", exist_ok=True)
    write_tuned(str(FOLDER / "tuned" / f"demo_{CLIP}.safetensors"), in_half_precision(tuned_state_of(tuned)))
    print(tuned_state_of(tuned).summary(), progress.watched, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=3e-4)
    options = parser.parse_args()
    with torch.inference_mode():
        torch.set_num_threads(1)
        main(options.steps, options.rate)
