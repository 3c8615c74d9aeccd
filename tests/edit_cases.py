"""A small random UNet, prompts and clips for tests of inversion and editing, and what they share."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.hooks
import comfy.lora
import comfy.model_management
import comfy.ops
import comfy.samplers
import comfy.sd
import torch
from comfy.model_base import ModelType
from comfy.sd1_clip import SD1Tokenizer

from fatezero_pack.fatezero.edit.edit_check import check_sampler
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.tuning.first_weights import first_state
from fatezero_pack.fatezero.tuning.layouts import TUNE_A_VIDEO
from fatezero_pack.fatezero.tuning.settings import Tuning
from fatezero_pack.fatezero.tuning.tuned_state import TunedState, tuned_model
from golden_unet import UNET_CONFIG, random_model

# Two levels with attention, five transformers: fast, and all that the method meets (places, sizes, depths).
SMALL_UNET = dict(
    num_res_blocks=[1, 1], channel_mult=[1, 2], transformer_depth=[1, 1], transformer_depth_output=[1, 1, 1, 1]
)
SOURCE, TARGET = "a silver jeep on a road", "a red jeep on a road"
TOKENIZER = SD1Tokenizer()
ATTENTION_ALONE = Tuning(TUNE_A_VIDEO, 0, ("first",), 1, 1e-3)
OUTPUTS = ("to_out.0.weight", "conv_temporal.up.weight")  # of temporal parts, zero before a tuning


def small_model(seed: int = 0, model_type=ModelType.EPS, **config):
    """A ModelPatcher with a small UNet of random weights."""
    return random_model(seed, model_type, **{**SMALL_UNET, **config})


def random_tuned_model(model, settings=ATTENTION_ALONE):
    """A model with temporal parts that do something, as a tuning would leave them."""
    state = first_state(model, settings)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) * 0.1 if name.endswith(OUTPUTS) else tensor
        for name, tensor in state.tensors.items()
    }
    return tuned_model(model, TunedState(state.layout, tensors, state.key_frames))


def deterministic_samplers() -> list[str]:
    """The names of ComfyUI's samplers that an edit can use."""

    def passes(name):
        try:
            check_sampler(comfy.samplers.sampler_object(name))
        except ValueError:
            return False
        return True

    return [name for name in comfy.samplers.SAMPLER_NAMES if passes(name)]


def prompt_edit(source: str = SOURCE, target: str = TARGET, *arguments, **options):
    """A PromptEdit with CLIP's real tokenizer."""
    source, target = tokenize_prompt(TOKENIZER, source), tokenize_prompt(TOKENIZER, target)
    return make_prompt_edit(source, target, *arguments, **options)


def conditioning(tokens, width: int = 64, **options):
    """A CONDITIONING in which every token id has its own random embedding, and every place a little of one."""
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(tokens.length, width, generator=generator) * 0.1
    embeddings = [torch.randn(width, generator=torch.Generator().manual_seed(token)) for token in tokens.ids]
    return [[(torch.stack(embeddings) + places)[None], {"fatezero_tokens": tokens, **options}]]


def negative():
    return [[conditioning(tokenize_prompt(TOKENIZER, "blurry"))[0][0], {}]]


def clip_latent(frames: int = 2, height: int = 16, width: int = 16, seed: int = 0, channels: int = 4):
    """A smooth random clip's latent [frames, channels, height, width] as a VAE gives it (SD 1.x: spread of about 5)."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(1, channels, height, width, generator=generator)
    return 4.0 * (scene + 0.3 * torch.randn(frames, channels, height, width, generator=generator))


def inverted(model, edit, latent=None, steps: int = 3, schedule: str = OFFICIAL, **options):
    """The SourceRun of a clip under the source prompt of an edit."""
    latent = clip_latent() if latent is None else latent
    return invert(
        model,
        options.pop("conditioning", None) or conditioning(edit.source),
        latent,
        sigmas=inversion_sigmas(model, schedule, steps),
        disable_pbar=True,
        **options,
    )


def edited(model, source, edit, settings, cfg: float = 5.0):
    """The edited latent by the way of Attention Blend Sampler."""
    return sample_edit(model, source, edit, settings, conditioning(edit.target), negative(), cfg, disable_pbar=True)


def sampled(
    model, source, edit, sampler: str = "euler", sigmas=None, cfg=5.0, callback=None, positive=None, avoided=None
):
    """Any model sampled from the inverted noise under the target prompt, as SamplerCustomAdvanced does."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or conditioning(edit.target), avoided or negative())
    guider.set_cfg(cfg)
    noise = inverted_noise(model, source)
    return guider.sample(
        torch.zeros_like(noise),
        noise,
        comfy.samplers.sampler_object(sampler),
        source.sigmas.flip(0) if sigmas is None else sigmas,
        callback=callback,
        disable_pbar=True,
        seed=0,
    )


def inverted_noise(model, source):
    """What DDIM Invert gives out as its latent."""
    return model.model.process_latent_out(source.trajectory[-1])


def random_controlnet(strength: float, seed: int = 0, hint_seed: int = 1):
    """A ControlNet of the small UNet's geometry with random weights, applied to a random hint."""
    config = {**UNET_CONFIG, **SMALL_UNET}
    for name in ("out_channels", "use_temporal_resblock", "use_temporal_attention", "transformer_depth_output"):
        config.pop(name)
    network = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, dtype=torch.float32, operations=comfy.ops.disable_weight_init
    )
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (parameter[0].numel() ** -0.5)
    control = comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())
    hint = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(hint_seed))
    return control.set_cond_hint(hint, strength)


def with_lora(model, seed: int = 0, strength: float = 1.0):
    """A LoRA on the middle block's attention, as Load LoRA puts it on."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in ("attn1.to_q", "attn1.to_v", "attn2.to_k", "attn2.to_v"):
        name = f"diffusion_model.middle_block.1.transformer_blocks.0.{layer}"
        height, width = model.model.state_dict()[f"{name}.weight"].shape
        weights[f"{name}.lora_up.weight"] = torch.randn(height, 4, generator=generator)
        weights[f"{name}.lora_down.weight"] = torch.randn(4, width, generator=generator) * 0.1
    return comfy.sd.load_lora_for_models(model, None, weights, strength, 0.0)[0]


def lora_hook(model, seed: int = 0):
    """A LoRA on one layer's attention, as Create Hook LoRA gives it out."""
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    name = next(name for name in keys if "output_blocks_0" in name or "up_blocks_0" in name and "attn1_to_q" in name)
    weight = model.model.state_dict()[keys[name]]
    generator = torch.Generator().manual_seed(seed)
    lora = {
        f"{name}.lora_up.weight": torch.randn(len(weight), 2, generator=generator),
        f"{name}.lora_down.weight": torch.randn(2, weight[0].numel(), generator=generator) * 0.3,
        f"{name}.alpha": torch.tensor(2.0),
    }
    return comfy.hooks.create_hook_lora(lora, 1.0, 0.0)


def free_memory(amount: float):
    """A `comfy.model_management.get_free_memory` that always finds so many bytes."""

    def found(device=None, torch_free_too=False):
        return (amount, amount) if torch_free_too else amount

    return found


class FakeVae:
    """A VAE that only shrinks; a picture's latent has its channels and one of zeros."""

    def encode(self, pixels):
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat([small, torch.zeros_like(small[:, :1])], dim=1) * 4


class CallCounter:
    """Counts a model's UNet calls inside a `with`."""

    def __init__(self, model):
        self.module = model.model.diffusion_model
        self.calls = 0

    def __enter__(self):
        def count(*_):
            self.calls += 1

        self.hook = self.module.register_forward_pre_hook(count)
        return self

    def __exit__(self, *_):
        self.hook.remove()


def snapshot(patcher):
    """All that a node could have changed on a model: options and patches by identity, weights by value."""

    def frozen(value):
        if isinstance(value, dict):
            return {key: frozen(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [frozen(item) for item in value]
        return id(value)

    network = patcher.model.diffusion_model
    return dict(
        options=frozen(patcher.model_options),
        patches=frozen(patcher.patches),
        wrappers=frozen(patcher.wrappers),
        callbacks=frozen(patcher.callbacks),
        objects=frozen(patcher.object_patches),
        injections=frozen(patcher.injections),
        backup=frozen(patcher.object_patches_backup),
        attachments=frozen(patcher.attachments),
        weights={name: weight.double().sum().item() for name, weight in patcher.model.state_dict().items()},
        forwards=[name for name, module in network.named_modules() if "forward" in module.__dict__],
        hooks=[name for name, module in network.named_modules() if module._forward_hooks or module._forward_pre_hooks],
        types=[type(module) for module in network.modules()],
    )
