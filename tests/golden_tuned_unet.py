"""The official codes' tuned UNets on ComfyUI's own (tests/golden_tuned/README.md)."""

import json
from pathlib import Path

import comfy.model_management
import comfy.patcher_extension
import torch
from safetensors.torch import load_file

from fatezero_pack.fatezero.network.key_frames import parse_key_frames
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.tuning.layouts import layout_of, unet_names
from fatezero_pack.fatezero.tuning.tuned_state import TunedState
from golden_unet import FOLDER as NEUTRAL
from golden_unet import UNET_CONFIG, patcher, sd15_model

FOLDER = Path(__file__).parent / "golden_tuned"
CASES = json.loads((FOLDER / "cases.json").read_text())
HEADS = {"fatezero": 2, "tav": 8}
KEY_FRAMES = {"mid": "middle", "first": "first", -1: "-1", 0: "current", 1: "+1", "last": "last"}


def base_model(which: str, dtype=torch.float32):
    """A ModelPatcher with the weights that the tuned model `which` was tuned from."""
    config = {**UNET_CONFIG, "num_heads": HEADS[which]}
    model = sd15_model(config, dtype=dtype)
    weights = load_file(NEUTRAL / "unet.safetensors")
    names = unet_names(model.diffusion_model, config)
    model.diffusion_model.load_state_dict({ours: weights[theirs] for theirs, ours in names.items()})
    return patcher(model)


def tuned_tensors(which: str) -> dict[str, torch.Tensor]:
    """What the tuning of `which` changed or added, as its file names it."""
    return load_file(FOLDER / f"unet_{which}.safetensors")


def golden_tensors(name: str) -> dict[str, torch.Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def tuned_state(which: str, **facts) -> TunedState:
    """The tuning of `which` as a state; facts: of TunedState."""
    tensors = tuned_tensors(which)
    return TunedState(layout_of(tensors), tensors, **facts)


def evaluate(model, clips, timestep, embeddings):
    """The UNet's answer to clips [rows, 4, n, h, w] with an embedding [rows, T, C] each."""
    rows, channels, frames, height, width = clips.shape
    comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])
    options = {**model.model_options["transformer_options"], "cond_or_uncond": list(range(rows))}
    options["uuids"] = list(range(rows))
    comfy.patcher_extension.merge_nested_dicts(options.setdefault("wrappers", {}), model.wrappers, copy_dict1=False)
    dtype, place = model.model.get_dtype_inference(), model.load_device
    answer = model.model.diffusion_model(
        clips.transpose(1, 2).reshape(-1, channels, height, width).to(place, dtype),
        torch.full((rows * frames,), float(timestep), device=place),
        context=embeddings.repeat_interleave(frames, 0).to(place, dtype),
        transformer_options=options,
    )
    return answer.unflatten(0, (rows, frames)).transpose(1, 2).float().cpu()


def inflated(model, key_frames, minimum_width: int = 0):
    """As the official UNets: key frames by their names for them, norms over all frames."""
    entries = parse_key_frames(",".join(KEY_FRAMES[frame] for frame in key_frames))
    return inflate(model, Inflation(entries, minimum_width, normalise_across_frames=True))
