"""Replay with fusion folded into the values equals FateZero as it is written: stored attention maps, fused map by map.

The other side of the comparison shares nothing with ours but the UNet's weights: DDIM in alpha-bar space, softmax maps
of every head kept during inversion, and Eq. 5-7 on the maps.
"""
import math

import pytest
import torch
import torch.nn.functional as F
from edit_cases import clip_latent, conditioning, edited, inverted, negative, prompt_edit, small_model
from fatezero_pack.fatezero.blend_settings import (INPUT_MASK, NO_MASK, WORDS, WORDS_IN_MASK, BlendSettings)
from fatezero_pack.fatezero.fusion import Window
from fatezero_pack.fatezero.inflation import Inflation, inflate
from fatezero_pack.fatezero.source_run import CURRENT_LABEL, TARGET_LABEL
from golden_unet import relative

STEPS, FRAMES, GUIDANCE = 4, 3, 5.0
ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)
TIMESTEPS = [index * (1000 // STEPS) + 1 for index in range(STEPS)]
LEVELS = [0, *TIMESTEPS]
SPLIT_MASK = (torch.arange(16) < 9).float().expand(1, 16, 16) * torch.linspace(0.2, 1, 16)[:, None]


class StoredMaps:
    """FateZero's attention store and controller for ComfyUI's UNetModel, at every layer."""

    def __init__(self, model):
        self.unet = model.model.diffusion_model
        self.places = [("input", i) for i, block in enumerate(self.unet.input_blocks)] + [("middle", 0)]
        self.places += [("output", i) for i, block in enumerate(self.unet.output_blocks)]

    def call(self, z, timestep, context, control):
        def attend(kind):
            def replacement(query, key, value, extra):
                heads = extra["n_heads"]
                query, key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key, value))
                probabilities = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
                probabilities = control(kind, extra["block"], extra["activations_shape"][-2:], probabilities)
                return (probabilities @ value).transpose(1, 2).flatten(2)
            return {place: replacement for place in self.places}

        def inflate_keys(query, key, value, extra):
            wide = torch.cat([key, key[FRAMES // 2].expand_as(key)], dim=1)  # current and, of three, the middle frame
            return query, wide, wide

        options = {"patches_replace": {"attn1": attend("self"), "attn2": attend("cross")},
                   "patches": {"attn1_patch": [inflate_keys]}}
        context = context.expand(len(z), -1, -1)
        return self.unet(z, torch.full((len(z),), float(timestep)), context=context, transformer_options=options)


def stored_map_edit(model, edit, latent, settings, label):
    """The edit by the method as the paper and the official code write it, [n, c, h, w] as a VAE takes it."""
    maps = StoredMaps(model)
    z = latent * 0.18215
    store, trajectory = {}, [z]

    def remember(timestep):
        def control(kind, block, size, probabilities):
            store.setdefault(timestep, {})[kind, block] = probabilities, tuple(size)
            return probabilities
        return control

    source = conditioning(edit.source)[0][0]
    for here, there in zip(LEVELS, LEVELS[1:]):
        evaluated_at = there if label == TARGET_LABEL else here
        noise = maps.call(z, evaluated_at, source, remember(evaluated_at))
        z = moved(z, noise, here, there)
        trajectory.append(z)
    if label == CURRENT_LABEL:  # inversion never evaluates the noisiest level, with which the edit begins
        maps.call(z, LEVELS[-1], source, remember(LEVELS[-1]))
    last_seen = LEVELS[-1] if label == TARGET_LABEL else LEVELS[-2]

    target, unconditional = conditioning(edit.target)[0][0], negative()[0][0]
    for step, (here, there) in enumerate(zip(LEVELS[::-1], LEVELS[-2::-1])):
        control = fusing(edit, settings, step, store[here], store[min(here, last_seen)])
        noise = maps.call(z, here, target, control)
        plain = maps.call(z, here, unconditional, lambda kind, block, size, probabilities: probabilities)
        z = moved(z, plain + GUIDANCE * (noise - plain), here, there)
    return z / 0.18215


def moved(z, noise, here, there):
    a, b = float(ALPHAS[here]), float(ALPHAS[there])
    return math.sqrt(b) * (z - math.sqrt(1 - a) * noise) / math.sqrt(a) + math.sqrt(1 - b) * noise


def fusing(edit, settings, step, stored, stored_for_mask):
    """Eq. 5 (with prompt-to-prompt's mapper, emphasis and windows) and Eq. 6-7 on the maps of one step."""
    alpha = torch.full((77,), float(inside(settings.cross_window, step, STEPS + 1)))
    for tokens, start, end in edit.windows:
        alpha[list(tokens)] = float(inside(Window(start, end), step, STEPS + 1))

    def control(kind, block, size, own):
        source = stored[kind, block][0]
        if not settings.finest_layers and tuple(size) == (16, 16):
            return own
        if kind == "cross":
            replaced = edit.from_source * (source @ edit.mapper) + (1 - edit.from_source) * own
            return alpha * edit.emphasis * replaced + (1 - alpha) * own
        if not inside(settings.self_window, step, STEPS):
            return own
        mask = mask_of(edit, settings, stored_for_mask, size).flatten(1)[:, None, :, None]
        return mask * own + (1 - mask) * source
    return control


def inside(window, step, steps):
    return int(window.start * steps) <= step < int(window.end * steps)


def mask_of(edit, settings, stored, size):
    mask = torch.ones(FRAMES, *size) if settings.mask_from != NO_MASK else torch.zeros(FRAMES, *size)
    if settings.mask_from in (WORDS, WORDS_IN_MASK):
        layers = [probabilities.mean(dim=1) for (kind, _), (probabilities, layer) in stored.items()
                  if kind == "cross" and layer == (8, 8)]
        heat = torch.stack(layers).mean(dim=0)[:, :, list(edit.source_mask_tokens)].sum(dim=-1).reshape(FRAMES, 1, 8, 8)
        heat = F.interpolate(F.max_pool2d(heat, 3, 1, 1), size=tuple(size))[:, 0]
        mask = (heat / heat.amax(dim=(1, 2), keepdim=True) > settings.threshold).float()
        assert 0.02 < mask.mean() < 0.98
    if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK):
        mask = mask * F.adaptive_avg_pool2d(settings.mask, tuple(size))
    return mask


CASES = {
    "swap": (dict(mode="swap"), BlendSettings(Window(0, 0.5), Window(0, 0.7)), TARGET_LABEL),
    "refine": (dict(mode="refine"), BlendSettings(Window(0.25, 0.75), Window(0, 1)), TARGET_LABEL),
    "longer target": (dict(target="a big red racing car on a road at night"), BlendSettings(), TARGET_LABEL),
    "emphasis": (dict(mode="swap", emphasis="red:4, road:-2"), BlendSettings(), TARGET_LABEL),
    "windows per word": (dict(mode="swap", windows="red:0.3, road:0.5-1, jeep:0"),
                         BlendSettings(Window(0, 0), Window(0, 0.6)), TARGET_LABEL),
    "mask of words": (dict(mode="swap"), BlendSettings(Window(0, 1), Window(0, 0.5), WORDS, 0.98), TARGET_LABEL),
    "mask given": (dict(mode="refine"), BlendSettings(mask_from=INPUT_MASK, mask=SPLIT_MASK), TARGET_LABEL),
    "words inside mask": (dict(mode="swap", emphasis="red:2"),
                          BlendSettings(mask_from=WORDS_IN_MASK, threshold=0.98, mask=SPLIT_MASK), TARGET_LABEL),
    "coarse layers only": (dict(mode="swap"), BlendSettings(finest_layers=False), TARGET_LABEL),
    "evaluated at the current label": (dict(mode="swap"), BlendSettings(Window(0, 0.5), Window(0, 0.5), WORDS, 0.98),
                                       CURRENT_LABEL),
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
