"""Train the demo video model: a tiny Wan and its T5 text encoder, on clips encoded by the demo model's autoencoder.

    export COMFYUI_PATH=...
    python -m demo.train_video clips    --work DIR --count 3000 --frames 1
    python -m demo.train_video clips    --work DIR --count 900  --frames 9
    python -m demo.train_video families --work DIR --count 4200 --frames 1
    python -m demo.train_video families --work DIR --count 900  --frames 5
    python -m demo.train_video train    --work DIR --minutes 90
    python -m demo.train_video export   --work DIR --weights demo/toy_wan.safetensors

As `demo.train`: a stage goes on from its checkpoint in DIR, and `--from` starts from an exported file, whose training
time is counted in.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .training.data import draw_family, draw_one
from .training.sizes import SIZES
from .training.vae import load_vae
from .training.video.data import make_clips
from .training.video.sizes import SHIFT, TEXT_ENCODER, TEXT_LENGTH, TRANSFORMER
from .training.video.text import tokenizer, train_vocabulary
from .training.video.transformer import train_transformer

AUTOENCODER = Path(__file__).parent / "toy_sd.safetensors"
RATE = 1.5e-3  # the highest learning rate


def read_start(path):
    """The weights of an exported file in float32, and the minutes for which they were trained."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    return {key: tensor.float() for key, tensor in load_file(path).items()}, config["minutes_trained"]


def load_vocabulary(work, start):
    """The vocabulary of an exported file, or the one in `work`, made there if need be."""
    path = work / "vocabulary.safetensors"
    if "spiece_model" in start:
        return start["spiece_model"].to(torch.uint8)
    if not path.exists():
        save_file({"spiece_model": train_vocabulary()}, path)
    return load_file(path)["spiece_model"]


def export(vocabulary, work, path):
    """Write averaged weights, float16, and the vocabulary as one file with the configuration in its header."""
    with safe_open(work / "transformer.safetensors", "pt") as file:
        weights = {key[8:]: file.get_tensor(key).half() for key in file.keys() if key.startswith("average.")}
        meta = file.metadata()
    config = {
        "transformer": TRANSFORMER,
        "te": {**TEXT_ENCODER, "vocab_size": tokenizer(vocabulary).get_piece_size()},
        "text_length": TEXT_LENGTH,
        "shift": SHIFT,
        "steps_trained": int(meta["step"]),
        "minutes_trained": round(float(meta["minutes"]), 1),
    }
    part = path.with_suffix(".part")
    save_file({**weights, "spiece_model": vocabulary}, part, {"config": json.dumps(config)})
    part.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("clips", "families", "train", "export"))
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints and training data")
    parser.add_argument("--from", dest="start", type=Path, help="exported weights to start from")
    parser.add_argument("--weights", type=Path, help="where export writes")
    parser.add_argument("--count", type=int, default=3000, help="how many clips")
    parser.add_argument("--frames", type=int, default=1, help="frames of a clip: 1, 5, 9 ...")
    parser.add_argument("--minutes", type=float, default=90, help="training time in all, earlier runs counted in")
    parser.add_argument("--rate", type=float, default=RATE, help="highest learning rate")
    parser.add_argument("--batch", type=int, default=8, help="pictures per step")
    parser.add_argument("--processes", type=int, default=1, help="that draw clips")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    options.work.mkdir(parents=True, exist_ok=True)
    start, minutes_before = read_start(options.start) if options.start else ({}, 0.0)
    vocabulary = load_vocabulary(options.work, start)
    if options.stage == "train":
        train_transformer(vocabulary, options.work, options.minutes, options.batch, options.rate, start, minutes_before)
    elif options.stage == "export":
        export(vocabulary, options.work, options.weights)
    else:
        autoencoder = {key: tensor.float() for key, tensor in load_file(AUTOENCODER).items()}
        vae = load_vae(SIZES["small"], options.work, autoencoder)
        draw = {"clips": draw_one, "families": draw_family}[options.stage]
        make_clips(vae, vocabulary, options.work, options.stage, options.count, options.frames, draw, options.processes)


if __name__ == "__main__":
    main()
