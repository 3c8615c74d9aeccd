"""FateZero as the paper writes it: the softmax maps of every step stored, and the edit's maps fused with them.

An independent implementation on ComfyUI's UNetModel: DDIM in alpha-bar space, Eq. 5-7 on the maps. It shares nothing
with the pack but the UNet's weights; tests/test_stored_maps.py compares the edits, the benchmark bytes and time.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, Upsample

LATENT_SCALE = 0.18215
TOKENS = 77
KEY_FRAMES = 2  # current and middle
ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)


@dataclass(frozen=True)
class Fusion:
    """What is fused.

    self_window, cross_window: (start, end) as fractions of the steps, counted from the noisiest; finest_until: the
    share of them in which maps of the latent's own size are, too; words_threshold, given: the edit keeps its own
    self-attention inside the words' mask of Eq. 6 and inside a mask [1, H, W], where there are such (the source's
    everywhere without).
    """

    self_window: tuple[float, float]
    cross_window: tuple[float, float]
    finest_until: float = 1.0
    words_threshold: float | None = None
    given: torch.Tensor | None = None


class MapStore:
    """The attention store and controller of one clip.

    model: ModelPatcher, not inflated, on its device; frames, steps: the clip's; finest: side of the finest layers whose
    maps are kept (official: 32), None for all; evaluate_at: "target", as the official code, or "current", as the paper.
    Maps are kept on the CPU in the model's type: `maps[timestep][kind, block]` is [frames, heads, queries, keys].
    """

    def __init__(self, model, frames: int, steps: int, finest: int | None = None, evaluate_at: str = "target"):
        self.unet = model.model.diffusion_model
        self.dtype, self.device = model.model_dtype(), model.load_device
        self.frames, self.finest, self.evaluate_at = frames, finest, evaluate_at
        self.levels = [0, *(index * (1000 // steps) + 1 for index in range(steps))]
        self.maps = {}

    @property
    def bytes(self) -> int:
        return sum(map.numel() * map.element_size() for maps in self.maps.values() for map, _ in maps.values())

    def call(self, z, timestep: int, context, control=None):
        """The noise that the UNet predicts; control(kind, block, size, probabilities) returns the maps to use."""

        def attend(kind):
            def replacement(query, key, value, extra):
                size = tuple(extra["activations_shape"][-2:])
                query, key, value = (heads_apart(hidden, extra["n_heads"]) for hidden in (query, key, value))
                if self.finest and min(size) > self.finest:
                    return heads_together(F.scaled_dot_product_attention(query, key, value))
                probabilities = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
                return heads_together(control(kind, extra["block"], size, probabilities) @ value)

            return {block: replacement for block, _, _ in attention_layers(self.unet)}

        def inflate_keys(query, key, value, extra):
            wide = torch.cat([key, key[(self.frames - 1) // 2].expand_as(key)], dim=1)
            return query, wide, wide

        options = {"patches": {"attn1_patch": [inflate_keys]}}
        if control is not None:
            options["patches_replace"] = {"attn1": attend("self"), "attn2": attend("cross")}
        context = context.expand(len(z), -1, -1).to(self.device, self.dtype)
        labels = torch.full((len(z),), float(timestep), device=self.device)
        return self.unet(z.to(self.dtype), labels, context=context, transformer_options=options).to(z)

    def invert(self, latent, source):
        """Stores the source's maps of every step; returns the noise. latent: [frames, 4, h, w]; source: [1, T, C]."""
        z = latent.to(self.device) * LATENT_SCALE
        for here, there in zip(self.levels, self.levels[1:]):
            timestep = there if self.evaluate_at == "target" else here
            z = moved(z, self.call(z, timestep, source, self.storing(timestep)), here, there)
        if self.evaluate_at == "current":  # never evaluates the noisiest level, with which the edit begins
            self.call(z, self.levels[-1], source, self.storing(self.levels[-1]))
        return z

    def storing(self, timestep: int):
        def control(kind, block, size, probabilities):
            self.maps.setdefault(timestep, {})[kind, block] = probabilities.to("cpu"), size
            return probabilities

        return control

    def edit(self, z, edit, fusion: Fusion, target, unconditional, guidance: float):
        """The edited clip [frames, 4, h, w] as a VAE takes it. edit: a PromptEdit; target, unconditional: [1, T, C]."""
        last_seen = self.levels[-1] if self.evaluate_at == "target" else self.levels[-2]
        for step, (here, there) in enumerate(zip(self.levels[::-1], self.levels[-2::-1])):
            control = self.fusing(edit, fusion, step, z.shape[-2:], self.maps[here], self.maps[min(here, last_seen)])
            noise = self.call(z, here, target, control)
            plain = self.call(z, here, unconditional)
            z = moved(z, plain + guidance * (noise - plain), here, there)
        return z.cpu() / LATENT_SCALE

    def fusing(self, edit, fusion: Fusion, step: int, latent_size, stored, stored_for_mask):
        """Eq. 5 (with prompt-to-prompt's mapper, emphasis and windows) and Eq. 6-7 on the maps of one step."""
        steps = len(self.levels) - 1
        alpha = torch.full((TOKENS,), float(inside(fusion.cross_window, step, steps + 1)))
        for tokens, start, end in edit.windows:
            alpha[list(tokens)] = float(inside((start, end), step, steps + 1))

        def control(kind, block, size, own):
            if size == tuple(latent_size) and not inside((0, fusion.finest_until), step, steps):
                return own
            here = alpha.to(own)
            if kind == "cross":
                source = stored[kind, block][0].to(own)
                from_source, mapper, emphasis = (t.to(own) for t in (edit.from_source, edit.mapper, edit.emphasis))
                replaced = from_source * (source @ mapper) + (1 - from_source) * own
                return here * emphasis * replaced + (1 - here) * own
            if not inside(fusion.self_window, step, steps):
                return own
            source = stored[kind, block][0].to(own)
            mask = self.mask(edit, fusion, stored_for_mask, size, latent_size)
            if mask is None:
                return source
            mask = mask.flatten(1)[:, None, :, None].to(own)
            return mask * own + (1 - mask) * source

        return control

    def mask(self, edit, fusion: Fusion, stored, size, latent_size):
        """Where the edit keeps its own self-attention, [frames, *size], or None for nowhere."""
        if fusion.words_threshold is None and fusion.given is None:
            return None
        mask = torch.ones(self.frames, *size)
        if fusion.words_threshold is not None:
            map_size = mask_size(latent_size, stored)
            mask = words_mask(stored, edit.source_mask_tokens, map_size, size, fusion.words_threshold)
        if fusion.given is not None:
            mask = mask * F.adaptive_avg_pool2d(fusion.given, tuple(size))
        return mask


def inside(window, step: int, steps: int) -> bool:
    start, end = window
    return int(start * steps) <= step < int(end * steps)


def heads_apart(hidden, heads: int):
    return hidden.unflatten(-1, (heads, -1)).transpose(1, 2)


def heads_together(hidden):
    return hidden.transpose(1, 2).flatten(2)


def moved(z, noise, here: int, there: int):
    """A DDIM step between two timesteps, either way."""
    a, b = float(ALPHAS[here]), float(ALPHAS[there])
    return math.sqrt(b) * (z - math.sqrt(1 - a) * noise) / math.sqrt(a) + math.sqrt(1 - b) * noise


def mask_size(latent_size, stored) -> tuple[int, int]:
    """The size of the layers that masks are read from: 16x16 at 512x512, for smaller clips not below 8.

    Never a network's coarsest of less than 16 cells; those of Stable Diffusion at 512x512 are 8x8.
    """
    height, width = latent_size
    coarser = next(factor for factor in (4, 2, 1) if factor == 1 or min(height, width) / factor >= 8)
    sizes = sorted({tuple(size) for (kind, _), (_, size) in stored.items() if kind == "cross"})
    if len(sizes) > 1 and min(sizes[0]) < 16:
        sizes = sizes[1:]
    return min(sizes, key=lambda size: abs(height / size[0] - coarser))


def words_mask(stored, tokens, map_size, size, threshold: float):
    """Eq. 6 from the maps of one step: mean over layers and heads, sum over tokens, 3x3 maximum, nearest resize.

    Smaller maps are brought to 16 cells before.
    """
    layers = [
        map.float().mean(dim=1)
        for (kind, _), (map, layer) in stored.items()
        if kind == "cross" and layer == tuple(map_size)
    ]
    heat = torch.stack(layers).mean(dim=0)[:, :, list(tokens)].sum(dim=-1).unflatten(1, map_size)[:, None]
    if min(map_size) < 16:
        larger = [round(side * 16 / min(map_size)) for side in map_size]
        heat = F.interpolate(heat, size=larger, mode="bilinear")
    heat = F.interpolate(F.max_pool2d(heat, 3, 1, 1), size=tuple(size))[:, 0]
    return (heat / heat.amax(dim=(1, 2), keepdim=True) > threshold).float()


def attention_layers(unet):
    """Yields ((place, number), downsampling, heads) of every block with a transformer in a ComfyUI UNetModel."""
    downsampling = 1
    blocks = [(("input", number), block) for number, block in enumerate(unet.input_blocks)]
    blocks += [(("middle", 0), unet.middle_block)]
    blocks += [(("output", number), block) for number, block in enumerate(unet.output_blocks)]
    for place, block in blocks:
        for module in block:
            if isinstance(module, Downsample):
                downsampling *= 2
            elif isinstance(module, Upsample):
                downsampling //= 2
            elif isinstance(module, SpatialTransformer):
                yield place, downsampling, module.transformer_blocks[0].attn1.heads


def map_store_bytes(unet, latent_size, frames: int, steps: int, element_size: int, finest: int | None = None) -> int:
    """What a MapStore keeps, from the shapes alone; element_size: bytes of a value (2 for float16)."""
    height, width = latent_size
    total = 0
    for _, downsampling, heads in attention_layers(unet):
        queries = (height // downsampling) * (width // downsampling)
        if finest is None or min(height, width) // downsampling <= finest:
            total += frames * heads * queries * (KEY_FRAMES * queries + TOKENS)
    return total * steps * element_size
