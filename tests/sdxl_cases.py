"""A small SDXL-shaped model with random weights, and prompts for it."""

import comfy.model_base
import comfy.supported_models
import pytest
import torch

from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from golden_unet import patcher, randomise

SDXL = dict(
    image_size=32,
    in_channels=4,
    out_channels=4,
    model_channels=32,
    num_res_blocks=[2, 2, 2],
    channel_mult=[1, 2, 4],
    num_heads=-1,
    num_head_channels=16,
    use_spatial_transformer=True,
    transformer_depth=[0, 0, 2, 2, 3, 3],
    transformer_depth_output=[0, 0, 0, 2, 2, 2, 3, 3, 3],
    transformer_depth_middle=3,
    context_dim=64,
    adm_in_channels=2816,
    num_classes="sequential",
    use_linear_in_transformer=True,
    legacy=False,
    use_temporal_attention=False,
    use_temporal_resblock=False,
    dtype=torch.float32,
)


@pytest.fixture(scope="session")
def sdxl_model():
    """An inflated SDXL of three levels on the CPU, shared by all tests."""
    config = comfy.supported_models.SDXL(dict(SDXL))
    config.set_inference_dtype(torch.float32, None)
    model = comfy.model_base.SDXL(config, device=torch.device("cpu"))
    randomise(model.diffusion_model)
    return inflate(patcher(model), Inflation(("current", "middle")))


def sdxl_conditioning(tokens, length: int, seed: int):
    """A CONDITIONING of `length` tokens with random embeddings and SDXL's pooled output."""
    generator = torch.Generator().manual_seed(seed)
    options = {"pooled_output": torch.randn(1, 1280, generator=generator)}
    if tokens is not None:
        options["fatezero_tokens"] = tokens
    return [[torch.randn(1, length, 64, generator=generator), options]]
