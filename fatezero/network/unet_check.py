"""What a model is, and whether it can do what our nodes ask of it."""

import comfy.model_sampling
import torch

from ..refusal import Refusal

PIXELS_PER_CELL = 8  # height and width of a latent's cell, in every SD model


def size_in_pixels(shape) -> str:
    """The pictures' size of a latent's shape, as people write it.

    >>> size_in_pixels((8, 4, 48, 64))
    '512x384'
    """
    height, width = shape[-2:]
    return f"{width * PIXELS_PER_CELL}x{height * PIXELS_PER_CELL}"


def require_unet(model) -> None:
    """Refuses models without an SD-style UNet (diffusion transformers, audio and video models)."""
    diffusion_model = model.model.diffusion_model
    if not hasattr(diffusion_model, "input_blocks") or not hasattr(diffusion_model, "middle_block"):
        raise Refusal(
            f"'model' is a {type(model.model).__name__}, but cross-attention editing needs an SD 1.x, SD 2.x or "
            "SDXL UNet; load one of those checkpoints."
        )


def require_clip_latent(model, samples: torch.Tensor) -> None:
    """Refuses latents that are not a batch of frames of this model, or that hold NaN."""
    if getattr(samples, "is_nested", False) or samples.ndim != 4:
        raise Refusal(
            f"'latent' has {getattr(samples, 'ndim', 'nested')} dimensions (a video or audio "
            "model's latent), but frames must come as a batch of images; use VAE Encode of an SD model."
        )
    channels = model.model.latent_format.latent_channels
    if samples.shape[1] != channels:
        raise Refusal(
            f"'latent' has {samples.shape[1]} channels, but 'model' works on {channels}; encode "
            "the frames with this checkpoint's own VAE."
        )
    if samples.shape[0] == 0:
        raise Refusal("'latent' holds no frames; load at least one.")
    if not bool(torch.isfinite(samples).all()):
        raise Refusal(
            "'latent' holds NaN or infinite values; the VAE probably overflowed in fp16: start "
            "ComfyUI with --fp32-vae or use another VAE."
        )


def refuse_context_windows(model) -> None:
    """Refuses a model that cuts the clip into windows which a source run does not know."""
    if model.model_options.get("context_handler") is not None:
        raise Refusal("'model' has context windows, which cut the clip into parts; remove the Context Windows node.")


def check_embedding(model, embedding: torch.Tensor, name: str) -> None:
    """Refuses a prompt's encoding [1 or n, T, C] of another text encoder or with NaN; name: the node's input."""
    width = model.model.model_config.unet_config.get("context_dim")
    if width is not None and embedding.shape[-1] != width:
        raise Refusal(
            f"'{name}' has {embedding.shape[-1]} channels but 'model' reads {width}; use the CLIP "
            "of the same checkpoint."
        )
    if not bool(torch.isfinite(embedding).all()):
        raise Refusal(f"'{name}' holds NaN or infinite values; encode the prompt again with another CLIP.")


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
