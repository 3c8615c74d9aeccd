"""What the bench runs on a clip: ComfyUI's own sampler, our inversion and edits, and an edit with stored maps."""

from functools import lru_cache

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch

from edit_cases import TOKENIZER, clip_latent, conditioning, prompt_edit
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import REPLAY, WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from golden_unet import UNET_CONFIG, randomise, sd15_model
from oracles.stored_maps import Fusion, MapStore

from .sizes import UNETS, Size

GUIDANCE = 7.5


@lru_cache(maxsize=1)  # SD 1.5's takes seconds to make, and several measurements in a row use it
def random_model(unet: str):
    """A ModelPatcher of random weights for ComfyUI's device: float16 on a GPU, float32 on the CPU."""
    device = comfy.model_management.get_torch_device()
    dtype = torch.float32 if comfy.model_management.is_device_cpu(device) else torch.float16
    model = sd15_model({**UNET_CONFIG, **UNETS[unet]}, dtype=dtype)
    randomise(model.diffusion_model)
    model.diffusion_model.to(dtype)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


def weightless_unet(unet: str):
    """A UNet's modules, for its shapes alone."""
    with torch.device("meta"):
        return sd15_model({**UNET_CONFIG, **UNETS[unet]}).diffusion_model


def fused_in_every_step(source_attention: str = REPLAY, **settings) -> BlendSettings:
    return BlendSettings(Window(0, 1), Window(0, 1), source_attention=source_attention, **settings)


IN_WORDS = {"mask_from": WORDS, "threshold": 0.3}


class ClipRuns:
    """A random model and clip of one size, and what can be run on them; key frames are current and middle.

    model: its ModelPatcher; `widened` attends to the key frames by the shortest patch there is, and is otherwise
    ComfyUI's; `inflated` is ours. source: the latest inversion's SourceRun; store: the latest MapStore.
    """

    def __init__(self, size: Size, model=None):
        self.size = size
        self.model = model or random_model(size.unet)
        self.inflated = sampled_in_chunks(inflate(self.model, Inflation(("current", "middle"))), size.at_once)
        self.widened = self.model.clone()
        self.widened.set_model_attn1_patch(widen_keys)
        width = {**UNET_CONFIG, **UNETS[size.unet]}["context_dim"]
        self.edit_prompts = prompt_edit(
            "a silver jeep driving down a curvy road", "a red porsche driving down a curvy road"
        )
        self.source_prompt = conditioning(self.edit_prompts.source, width)
        self.target_prompt = conditioning(self.edit_prompts.target, width)
        self.negative = conditioning(tokenize_prompt(TOKENIZER, "blurry"), width)
        self.latent = clip_latent(size.frames, *size.latent)
        self.sigmas = inversion_sigmas(self.model, OFFICIAL, size.steps)
        self.source = self.store = None

    def sample(self, rows: int, model=None):
        """ComfyUI's euler: two rows per frame with a negative, one without."""
        guider = comfy.samplers.CFGGuider(model or self.widened)
        if rows == 1:
            guider.inner_set_conds({"positive": self.source_prompt})
        else:
            guider.set_conds(self.target_prompt, self.negative)
            guider.set_cfg(GUIDANCE)
        return guider.sample(
            torch.zeros_like(self.latent),
            self.latent,
            comfy.samplers.ksampler("euler"),
            self.sigmas.flip(0),
            disable_pbar=True,
            seed=0,
        )

    def invert(self):
        self.source = invert(self.inflated, self.source_prompt, self.latent, sigmas=self.sigmas, disable_pbar=True)

    def edit(self, settings: BlendSettings):
        return sample_edit(
            self.inflated,
            self.source,
            self.edit_prompts,
            settings,
            self.target_prompt,
            self.negative,
            GUIDANCE,
            disable_pbar=True,
        )

    def edit_with_stored_maps(self):
        """Inversion and edit in the way of the paper, with every step's maps in RAM."""
        self.store = MapStore(self.model, self.size.frames, self.size.steps)
        noise = self.store.invert(self.latent, self.source_prompt[0][0])
        fusion = Fusion(self_window=(0, 1), cross_window=(0, 1))
        return self.store.edit(
            noise, self.edit_prompts, fusion, self.target_prompt[0][0], self.negative[0][0], GUIDANCE
        )

    def source_bytes(self) -> int:
        """What the source run keeps."""
        return sum(kept.numel() * kept.element_size() for kept in (self.source.trajectory, self.source.word_maps))


def widen_keys(query, key, value, extra):
    """ComfyUI `attn1_patch`: keys and values of the current and the middle frame, and nothing else."""
    clip = key.unflatten(0, (len(extra["cond_or_uncond"]), -1))
    frames = clip.shape[1]
    middle = clip[:, (frames - 1) // 2, None].expand_as(clip)
    wide = torch.cat([clip, middle], dim=2).flatten(0, 1)
    return query, wide, wide
