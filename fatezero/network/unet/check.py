"""What a model is, and whether it can do what our nodes ask of it."""

import comfy.model_sampling
import torch

from ...refusal import Refusal
from .walk import transformers

TOKENS_PER_BLOCK = 77  # as CLIP encodes prompts; T5 gives other lengths
PIXELS_PER_CELL = 8  # height and width of a latent's cell, in every SD model


def size_in_pixels(shape) -> str:
    """The pictures' size of a latent's shape, as people write it.

    >>> size_in_pixels((8, 4, 48, 64))
    '512x384'
    """
    height, width = shape[-2:]
    return f"{width * PIXELS_PER_CELL}x{height * PIXELS_PER_CELL}"


# What is built like an SD UNet and yet cannot be edited by a prompt, by ComfyUI's class: what it is.
OTHER_UNETS = {
    "SVD_img2vid": "Stable Video Diffusion, a video model that follows a picture instead of a prompt",
    "SV3D_u": "Stable Video 3D, a video model that follows a picture instead of a prompt",
    "SV3D_p": "Stable Video 3D, a video model that follows a picture instead of a prompt",
    "Stable_Zero123": "Stable Zero123, which follows a picture and a camera instead of a prompt",
    "SD_X4Upscaler": "the x4 upscaler, which draws a small picture again instead of following a prompt",
    "SDXLRefiner": "the SDXL refiner, which knows only the last noise levels, so that no clip can be inverted with it",
    "Lotus": "Lotus, which predicts depth or normals and follows no prompt",
}
# How many input channels a UNet has beyond the latent's: a mask and a picture (inpainting), or a picture (pix2pix).
KNOWN_EXTRA_CHANNELS = (0, 4, 5)


def require_unet(model) -> None:
    """Refuses models whose UNet does not follow a prompt as SD's do (diffusion transformers, video models ...)."""
    diffusion_model = model.model.diffusion_model
    kind = next((base.__name__ for base in type(model.model).__mro__ if base.__name__ in OTHER_UNETS), None)
    config = getattr(model.model.model_config, "unet_config", {})
    if kind is None and (config.get("use_temporal_attention") or config.get("use_temporal_resblock")):
        found = f"{type(model.model).__name__}, a video model"
    elif kind is not None:
        found = OTHER_UNETS[kind]
    elif not hasattr(diffusion_model, "input_blocks") or not hasattr(diffusion_model, "middle_block"):
        raise Refusal(
            f"'model' is a {type(model.model).__name__}, but these nodes edit with SD 1.x, SD 2.x, SDXL, Wan 2.1, Wan "
            "2.2, LTX-Video and HunyuanVideo; load one of those."
        )
    else:
        _check_blocks(diffusion_model)
        return _check_channels(model, config)
    raise Refusal(f"'model' is {found}; load an SD 1.x, SD 2.x or SDXL base checkpoint.")


def _check_blocks(diffusion_model) -> None:
    """Transformers as ComfyUI builds them, or compiled: others need not ask anyone what they attend to."""
    kinds = {type(transformer) for transformer in transformers(diffusion_model)}
    foreign = sorted(kind.__name__ for kind in kinds if not kind.__module__.startswith(("comfy.", "torch.")))
    if foreign or not kinds:
        found = foreign[0] if foreign else type(diffusion_model).__module__
        raise Refusal(
            f"the attention layers of 'model' are another pack's ({found}) and do not follow ComfyUI's patches; load "
            "the checkpoint again, without that pack's node (FLATTEN, Veevee ...)."
        )


def _check_channels(model, config: dict) -> None:
    """Input channels that ComfyUI fills by itself or from the conditioning."""
    latent = model.model.latent_format.latent_channels
    channels = config.get("in_channels", latent)
    if channels - latent not in KNOWN_EXTRA_CHANNELS:
        raise Refusal(
            f"'model' reads {channels} channels instead of {latent}, so it needs more than a latent and a prompt; "
            "load an SD 1.x, SD 2.x or SDXL checkpoint, also one for inpainting or pix2pix."
        )


def require_clip_latent(model, samples: torch.Tensor, name: str = "latent") -> None:
    """Refuses latents that are not a batch of frames of this model, or that hold NaN; name: the node's input."""
    if getattr(samples, "is_nested", False) or samples.ndim != 4:
        raise Refusal(
            f"'{name}' has {getattr(samples, 'ndim', 'nested')} dimensions (a video or audio "
            "model's latent), but frames must come as a batch of images; use VAE Encode of an SD model."
        )
    channels = model.model.latent_format.latent_channels
    if samples.shape[1] != channels:
        raise Refusal(
            f"'{name}' has {samples.shape[1]} channels, but 'model' works on {channels}; encode "
            "the frames with this checkpoint's own VAE."
        )
    if samples.shape[0] == 0:
        raise Refusal(f"'{name}' holds no frames; load at least one.")
    if not bool(torch.isfinite(samples).all()):
        raise Refusal(
            f"'{name}' holds NaN or infinite values; the VAE probably overflowed in fp16: start "
            "ComfyUI with --fp32-vae or use another VAE."
        )


def refuse_context_windows(model, frames: int) -> None:
    """Refuses a model that cuts a clip of so many frames into windows which a source run does not know."""
    if model.model_options.get("context_handler") is not None:
        raise Refusal("'model' has context windows, which cut the clip into parts; remove the Context Windows node.")
    animatediff = getattr(model.get_attachment("ADE_params"), "context_options", None)
    length = getattr(animatediff, "context_length", None)
    if length is not None and length < frames:
        raise Refusal(
            f"'model' has AnimateDiff's context options of {length} frames, which cut the clip of {frames} into parts; "
            f"use its context options 'Views Only' instead, or load at most {length} frames."
        )


def check_embedding(model, embedding: torch.Tensor, called: str) -> None:
    """Refuses a prompt's encoding [1 or n, T, C] of another text encoder or with NaN; called: the subject of what is
    said, such as an input's name in quotes."""
    width = model.model.model_config.unet_config.get("context_dim")
    if width is not None and embedding.shape[-1] != width:
        raise Refusal(
            f"{called} has {embedding.shape[-1]} channels but 'model' reads {width}; use the CLIP "
            "of the same checkpoint."
        )
    if embedding.shape[1] % TOKENS_PER_BLOCK:
        raise Refusal(
            f"{called} has {embedding.shape[1]} tokens where CLIP gives blocks of {TOKENS_PER_BLOCK}; use the CLIP "
            "of the same checkpoint."
        )
    if not bool(torch.isfinite(embedding).all()):
        raise Refusal(f"{called} holds NaN or infinite values; encode the prompt again with another CLIP.")


def prediction_type(model) -> str:
    """ "epsilon" or "v"; refuses other model samplings (flow, EDM, x0, CogVideoX) in one sentence."""
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, (comfy.model_sampling.EDM, comfy.model_sampling.X0)):
        if isinstance(sampling, comfy.model_sampling.V_PREDICTION):
            return "v"
        if isinstance(sampling, comfy.model_sampling.EPS):
            return "epsilon"
    kind = next((base.__name__ for base in type(sampling).__mro__ if "calculate_denoised" in vars(base)), "unknown")
    raise Refusal(
        f"'model' predicts in a way DDIM inversion is not defined for "
        f"({kind}); use an epsilon- or v-prediction checkpoint."
    )
