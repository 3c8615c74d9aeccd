"""An SDXL-shaped model (transformers of several blocks, pooled conditioning, other sizes) through the same code."""

import pytest
import torch
from comfy.sdxl_clip import SDXLTokenizer

from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet.walk import transformer_depths
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from golden_unet import relative
from sdxl_cases import sdxl_conditioning


@pytest.mark.slow
def test_invert_and_edit(sdxl_model):
    depths = dict(transformer_depths(sdxl_model.model.diffusion_model))
    assert depths[("input", 4)] == 2 and depths[("middle", 0)] == 3 and depths[("output", 0)] == 3
    tokenizer = SDXLTokenizer()
    source, target = (tokenize_prompt(tokenizer, f"a {color} jeep on a road") for color in ("silver", "red"))
    edit = make_prompt_edit(source, target)
    source_prompt = sdxl_conditioning(source, source.length, 1)
    target_prompt = sdxl_conditioning(target, target.length, 2)
    negative = sdxl_conditioning(None, 77, 3)
    latent = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(4)) / 0.13025  # SDXL's scale
    run = invert(
        sdxl_model,
        source_prompt,
        latent,
        sigmas=inversion_sigmas(sdxl_model, OFFICIAL, 4),
        refinement=4,
        disable_pbar=True,
    )
    again = reconstruct(sdxl_model, run, disable_pbar=True)
    settings = BlendSettings(Window(0, 1), Window(0, 1), mask_from=WORDS, threshold=0.5)
    fused = sample_edit(sdxl_model, run, edit, settings, target_prompt, negative, 3.0, disable_pbar=True)
    free = sample_edit(
        sdxl_model,
        run,
        edit,
        BlendSettings(Window(0, 0), Window(0, 0)),
        target_prompt,
        negative,
        3.0,
        disable_pbar=True,
    )
    same = sample_edit(
        sdxl_model,
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
