"""The official code's golden UNet in ComfyUI's own classes, and the golden cases (tests/golden/README.md)."""

import json
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch
from comfy.model_base import BaseModel, ModelType
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "golden"
CASES = json.loads((FOLDER / "cases.json").read_text())
UNET_CONFIG = dict(
    image_size=32,
    in_channels=4,
    out_channels=4,
    model_channels=32,
    num_res_blocks=[2, 2, 2, 2],
    channel_mult=[1, 2, 2, 2],
    num_heads=2,
    use_spatial_transformer=True,
    transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
    transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    transformer_depth_middle=1,
    context_dim=64,
    adm_in_channels=None,
    use_linear_in_transformer=False,
    legacy=False,
    use_temporal_attention=False,
    use_temporal_resblock=False,
)


def sd15_model(unet_config=UNET_CONFIG, model_type=ModelType.EPS, dtype=torch.float32) -> BaseModel:
    """A ComfyUI SD 1.x model of any size, on the CPU, weights not yet set."""
    config = comfy.supported_models.SD15({**unet_config, "dtype": dtype})
    config.unet_config.update(unet_config)  # SD15 would set its own 8 heads
    config.set_inference_dtype(dtype, None)
    return BaseModel(config, model_type, device=torch.device("cpu"))


def patcher(model) -> comfy.model_patcher.ModelPatcher:
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def golden_model():
    """A ModelPatcher with the golden UNet's weights."""
    model = sd15_model()
    weights = load_file(FOLDER / "unet.safetensors")
    names = comfy.utils.unet_to_diffusers(UNET_CONFIG)
    unet = {ours: weights[theirs] for theirs, ours in names.items() if theirs in weights}
    model.diffusion_model.load_state_dict(unet)
    return patcher(model)


def random_model(seed: int = 0, model_type=ModelType.EPS, **config):
    """A ModelPatcher of the golden geometry with random weights, tame enough not to explode."""
    model = sd15_model({**UNET_CONFIG, **config}, model_type)
    randomise(model.diffusion_model, seed)
    return patcher(model)


def randomise(diffusion_model, seed: int = 0) -> None:
    """Random weights scaled by fan-in, norms neutral, a small last convolution."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in diffusion_model.named_parameters():
        if parameter.ndim > 1:
            scale = parameter[0].numel() ** -0.5 * (0.1 if name.startswith("out.2") else 1.0)
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
        else:
            parameter.data = torch.full_like(parameter, float(name.endswith("weight")))


def golden_case(name: str) -> dict:
    """A case's settings and tensors, frames as the batch: trajectory [N + 1, F, 4, 64, 64], edited [F, 4, 64, 64]."""
    tensors = load_file(FOLDER / f"{name}.safetensors")
    return {
        **CASES[name],
        **tensors,
        "trajectory": tensors["trajectory"].transpose(1, 2),
        "edited": tensors["edited"][0].transpose(0, 1),
        "uncontrolled": tensors["uncontrolled"][0].transpose(0, 1),
    }


def relative(ours: torch.Tensor, golden: torch.Tensor) -> float:
    ours, golden = ours.cpu(), golden.cpu()
    return float((ours - golden).norm() / golden.norm())
