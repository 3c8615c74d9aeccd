"""Replay with fusion folded into the values equals FateZero as it is written: stored attention maps, fused map by map.

The other side of the comparison shares nothing with ours but the UNet's weights: DDIM in alpha-bar space, softmax maps
of every head kept during inversion, and Eq. 5-7 on the maps.
"""

import pytest
import torch

from edit_cases import clip_latent, conditioning, edited, inverted, negative, prompt_edit, small_model
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, WORDS, WORDS_IN_MASK, BlendSettings
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, TARGET_LABEL
from golden_unet import relative
from oracles.stored_maps import Fusion, MapStore, words_mask

STEPS, FRAMES, GUIDANCE = 4, 3, 5.0
SPLIT_MASK = (torch.arange(16) < 9).float().expand(1, 16, 16) * torch.linspace(0.2, 1, 16)[:, None]


def stored_map_edit(model, edit, latent, settings, label):
    """The edit by the method as the paper and the official code write it, [n, c, h, w] as a VAE takes it."""
    fusion = Fusion(
        self_window=(settings.self_window.start, settings.self_window.end),
        cross_window=(settings.cross_window.start, settings.cross_window.end),
        finest_until=settings.finest_until,
        words_threshold=settings.threshold if settings.mask_from in (WORDS, WORDS_IN_MASK) else None,
        given=settings.mask if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK) else None,
    )
    store = MapStore(model, FRAMES, STEPS, evaluate_at=label)
    noise = store.invert(latent, conditioning(edit.source)[0][0])
    if fusion.words_threshold is not None:
        for maps in store.maps.values():
            mask = words_mask(maps, edit.source_mask_tokens, (16, 16), (16, 16), fusion.words_threshold)
            assert 0.02 < mask.mean() < 0.98
    return store.edit(noise, edit, fusion, conditioning(edit.target)[0][0], negative()[0][0], GUIDANCE)


CASES = {
    "swap": (dict(mode="swap"), BlendSettings(Window(0, 0.5), Window(0, 0.7)), TARGET_LABEL),
    "refine": (dict(mode="refine"), BlendSettings(Window(0.25, 0.75), Window(0, 1)), TARGET_LABEL),
    "longer target": (dict(target="a big red racing car on a road at night"), BlendSettings(), TARGET_LABEL),
    "emphasis": (dict(mode="swap", emphasis="red:4, road:-2"), BlendSettings(), TARGET_LABEL),
    "windows per word": (
        dict(mode="swap", windows="red:0.3, road:0.5-1, jeep:0"),
        BlendSettings(Window(0, 0), Window(0, 0.6)),
        TARGET_LABEL,
    ),
    "mask of words": (dict(mode="swap"), BlendSettings(Window(0, 1), Window(0, 0.5), WORDS, 0.98), TARGET_LABEL),
    "mask given": (dict(mode="refine"), BlendSettings(mask_from=INPUT_MASK, mask=SPLIT_MASK), TARGET_LABEL),
    "words inside mask": (
        dict(mode="swap", emphasis="red:2"),
        BlendSettings(mask_from=WORDS_IN_MASK, threshold=0.98, mask=SPLIT_MASK),
        TARGET_LABEL,
    ),
    "coarse layers only": (dict(mode="swap"), BlendSettings(finest_until=0.0), TARGET_LABEL),
    "finest layers until half of the steps": (dict(mode="swap"), BlendSettings(finest_until=0.5), TARGET_LABEL),
    "evaluated at the current label": (
        dict(mode="swap"),
        BlendSettings(Window(0, 0.5), Window(0, 0.5), WORDS, 0.98),
        CURRENT_LABEL,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_replay_equals_stored_maps(name):
    prompts, settings, label = CASES[name]
    edit = prompt_edit(**prompts)
    plain = small_model()
    latent = clip_latent(FRAMES)
    model = inflate(plain, Inflation(("current", "middle")))
    with torch.no_grad():
        theirs = stored_map_edit(plain, edit, latent, settings, label)
        source = inverted(model, edit, latent, STEPS, label=label)
        ours = edited(model, source, edit, settings, GUIDANCE)
        unfused = edited(model, source, edit, BlendSettings(Window(0, 0), Window(0, 0)), GUIDANCE)
    assert relative(ours, theirs) <= 2e-5
    assert relative(unfused, theirs) > 1e-3
