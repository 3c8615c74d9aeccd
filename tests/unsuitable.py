"""Models, prompts and latents that our nodes cannot work with, as other nodes really hand them over."""

import comfy.context_windows
import comfy.model_base
import comfy.nested_tensor
import comfy.supported_models
import comfy_extras.nodes_model_advanced as model_advanced
import node_helpers
import torch
from comfy.ldm.flux.model import FluxParams

from edit_cases import clip_latent, small_model
from golden_unet import patcher

NAN = float("nan")


def audio_latent():
    return comfy.nested_tensor.NestedTensor([torch.zeros(1, 8, 4, 4, 4), torch.zeros(1, 8, 16)])


def flux():
    """A real diffusion transformer, tiny."""
    sizes = dict(
        image_model="flux",
        in_channels=16,
        out_channels=16,
        patch_size=2,
        vec_in_dim=8,
        context_in_dim=8,
        hidden_size=64,
        mlp_ratio=2.0,
        num_heads=2,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[8, 12, 12],
        theta=10000,
        qkv_bias=True,
        guidance_embed=False,
        txt_ids_dims=[],
        dtype=torch.float32,
    )
    known = {"image_model", "dtype", *FluxParams.__dataclass_fields__}  # newer ComfyUI has more
    config = comfy.supported_models.Flux({name: size for name, size in sizes.items() if name in known})
    config.set_inference_dtype(torch.float32, None)
    return patcher(comfy.model_base.Flux(config, device=torch.device("cpu")))


def audio_model():
    """What an audio model looks like to us: no UNet of images."""
    model = small_model().model
    model.__class__ = type("StableAudio1", (type(model),), {})
    model.diffusion_model = torch.nn.Linear(2, 2)
    return patcher(model)


def other_checkpoint():
    model = small_model(seed=7)
    model.model.diffusion_model.out[0].weight.data *= 1.01  # the test models' norms are alike, a checkpoint's never
    return model


def context_windows(model):
    model = model.clone()
    model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        comfy.context_windows.get_matching_context_schedule("standard_static"),
        comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=1,
        context_overlap=0,
    )
    return model


def with_model_sampling(model, sampling):
    return model_advanced.ModelSamplingDiscrete.patch(model_advanced.ModelSamplingDiscrete(), model, sampling, False)[0]


def continuous_edm(model):
    return model_advanced.ModelSamplingContinuousEDM().patch(model, "edm", 80.0, 0.002)[0]


def limited(cond, **values):
    return node_helpers.conditioning_set_values(cond, values)


def concatenated(cond):
    """As Conditioning Concat: longer, the rest of its options kept."""
    return [[torch.cat([cond[0][0]] * 2, dim=1), cond[0][1]]]


def spoilt(cond, value=NAN):
    embedding = cond[0][0].clone()
    embedding[0, 0, 0] = value
    return [[embedding, cond[0][1]]]


def spoilt_latent(value=NAN):
    latent = clip_latent()
    latent[0, 0, 0, 0] = value
    return latent
