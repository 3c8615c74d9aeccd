"""An SDXL-shaped model (transformers of several blocks, pooled conditioning, other resolutions) through the same code."""

import comfy.model_base
import comfy.supported_models
import pytest
import torch
from comfy.sdxl_clip import SDXLTokenizer

from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet_attention import transformer_depths
from fatezero_pack.fatezero.network.unet_inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.inversion import inversion_sigmas, invert
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from golden_unet import patcher, randomise, relative

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


@pytest.fixture(scope="module")
def model():
    config = comfy.supported_models.SDXL(dict(SDXL))
    config.set_inference_dtype(torch.float32, None)
    sdxl = comfy.model_base.SDXL(config, device=torch.device("cpu"))
    randomise(sdxl.diffusion_model)
    return inflate(patcher(sdxl), Inflation(("current", "middle")))


def conditioning(tokens, length: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    options = {"pooled_output": torch.randn(1, 1280, generator=generator)}
    if tokens is not None:
        options["fatezero_tokens"] = tokens
    return [[torch.randn(1, length, 64, generator=generator), options]]


def test_invert_and_edit(model):
    depths = dict(transformer_depths(model.model.diffusion_model))
    assert depths[("input", 4)] == 2 and depths[("middle", 0)] == 3 and depths[("output", 0)] == 3
    tokenizer = SDXLTokenizer()
    source, target = (tokenize_prompt(tokenizer, f"a {color} jeep on a road") for color in ("silver", "red"))
    edit = make_prompt_edit(source, target)
    source_prompt = conditioning(source, source.length, 1)
    target_prompt = conditioning(target, target.length, 2)
    negative = conditioning(None, 77, 3)
    latent = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(4)) / 0.13025  # SDXL's scale
    with torch.inference_mode():
        run = invert(
            model, source_prompt, latent, sigmas=inversion_sigmas(model, OFFICIAL, 4), refinement=4, disable_pbar=True
        )
        again = reconstruct(model, run, disable_pbar=True)
        settings = BlendSettings(Window(0, 1), Window(0, 1), mask_from=WORDS, threshold=0.5)
        fused = sample_edit(model, run, edit, settings, target_prompt, negative, 3.0, disable_pbar=True)
        free = sample_edit(
            model, run, edit, BlendSettings(Window(0, 0), Window(0, 0)), target_prompt, negative, 3.0, disable_pbar=True
        )
        same = sample_edit(
            model,
            run,
            make_prompt_edit(source, source),
            BlendSettings(Window(0, 1), Window(0, 1)),
            source_prompt,
            negative,
            1.0,
            disable_pbar=True,
        )
    assert run.word_maps.shape[-2:] == (8, 12)  # the level half as fine as a latent too small for a quarter
    assert relative(again, latent) < 1e-2
    assert relative(same, again) < 1e-3
    assert bool(torch.isfinite(fused).all()) and relative(fused, free) > 1e-2
