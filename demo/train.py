"""Train the demo model: a KL autoencoder, then a UNet and its text encoder on the autoencoder's latents.

    export COMFYUI_PATH=...
    python -m demo.train vae      --work DIR [--minutes 30]
    python -m demo.train latents  --work DIR [--images 6000]
    python -m demo.train two      --work DIR [--images 3000]
    python -m demo.train families --work DIR [--images 2000]
    python -m demo.train beside   --work DIR [--images 3000]
    python -m demo.train unet     --work DIR [--minutes 90] [--batch 16]
    python -m demo.train export   --work DIR --weights demo/toy_sd.safetensors

`--size large` trains the larger model instead. `latents`, `two`, `families` and `beside` draw and encode the pictures
to train on; run them again for more, even beside a training. Each training stage keeps a checkpoint in DIR, outside the
repository, and goes on from it
when started again. `--from WEIGHTS` takes the first values of a training stage, and the autoencoder of the others, from
an exported file; where that is of the same size, the UNet's training time goes on too. On CPU cores that others use
too, `torchrun --nproc_per_node N` in place of `python`, with `--threads 1`, is faster than threads.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .training.data import draw_family, draw_family_of_two, draw_one, draw_two, make_latents
from .training.networks import DEVICE, LATENT_SCALE
from .training.run import WORKERS
from .training.sizes import SIZES
from .training.unet import train_unet
from .training.vae import load_vae, train_vae

# What each stage draws and encodes.
PICTURES = {"latents": draw_one, "two": draw_two, "families": draw_family, "beside": draw_family_of_two}
RATES = {"vae": 1.2e-3, "unet": 6e-4}  # the highest learning rates


def export(size, work, path, start):
    """Write autoencoder, averaged UNet and text encoder as one float16 file with the configuration in its header.

    Before the UNet's first checkpoint, the file holds the autoencoder alone.
    """
    weights = {"vae." + key: tensor for key, tensor in load_vae(size, work, start).state_dict().items()}
    config = {**size.header(), "latent_scale": LATENT_SCALE}
    if (checkpoint := work / "unet.safetensors").exists():
        with safe_open(checkpoint, "pt") as file:
            weights |= {key[8:]: file.get_tensor(key) for key in file.keys() if key.startswith("average.")}
            meta = file.metadata()
        config |= {"steps_trained": int(meta["step"]), "minutes_trained": round(float(meta["minutes"]), 1)}
    part = path.with_suffix(".part")
    save_file(
        {key: tensor.half().cpu().contiguous() for key, tensor in weights.items()}, part, {"config": json.dumps(config)}
    )
    part.replace(path)


def read_start(path, size):
    """The weights of an exported file in float32, and the minutes for which its UNet was trained in this size."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    minutes = config.get("minutes_trained", 0.0) if config["image_size"] == size.pixels else 0.0
    return {key: tensor.float() for key, tensor in load_file(path).items()}, minutes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("vae", *PICTURES, "unet", "export"))
    parser.add_argument("--size", choices=SIZES, default="small", help="which of the two models")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints and training data")
    parser.add_argument("--from", dest="start", type=Path, help="exported weights to start from")
    parser.add_argument("--weights", type=Path, help="where export writes")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=90, help="training time in all, earlier runs counted in")
    parser.add_argument("--batch", type=int, default=16, help="pictures per step and worker")
    parser.add_argument("--rate", type=float, help="highest learning rate")
    parser.add_argument("--decoder-only", action="store_true", help="train only the autoencoder's decoder")
    parser.add_argument("--processes", type=int, default=1, help="that draw pictures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    size = SIZES[options.size]
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    if WORKERS > 1:
        torch.distributed.init_process_group("gloo" if DEVICE.type == "cpu" else "nccl")
    options.work.mkdir(parents=True, exist_ok=True)
    start, minutes_before = read_start(options.start, size) if options.start else ({}, 0.0)
    rate = options.rate or RATES.get(options.stage)
    if options.stage == "vae":
        settings = options.minutes, options.batch, rate, start, options.decoder_only, options.images, options.processes
        train_vae(size, options.work, *settings)
    elif options.stage == "unet":
        train_unet(size, options.work, options.minutes, options.batch, rate, start, minutes_before)
    elif options.stage == "export":
        export(size, options.work, options.weights, start)
    else:
        draw = PICTURES[options.stage]
        vae = load_vae(size, options.work, start)
        make_latents(size, vae, options.work, options.stage, options.images, draw, options.processes)


if __name__ == "__main__":
    main()
