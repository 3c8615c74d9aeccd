"""Whether a clip can be tuned on, asked before any work."""

from __future__ import annotations

import math

import torch

from ..network.inspection.other_nodes import refuse_blended, refuse_merging
from ..network.unet.check import (
    check_embedding,
    prediction_type,
    refuse_context_windows,
    require_clip_latent,
    size_in_pixels,
)
from ..refusal import Refusal, counted
from .fit import require_sd
from .settings import Tuning
from .tuned_state import tuned_state_of

_LIMITS = ("area", "mask", "start_percent", "end_percent", "timestep_start", "timestep_end", "gligen", "hooks")


def check_tuning(model, conditioning, latent: torch.Tensor, settings: Tuning) -> None:
    """Refuses, in one sentence in the words on the node, what cannot be tuned.

    Args:
        model: ModelPatcher.
        conditioning: CONDITIONING of the clip's prompt.
        latent: The clip [n, c, h, w].
        settings: What was chosen.
    """
    require_sd(model)
    refuse_blended(model)
    refuse_merging(model)
    prediction_type(model)
    require_clip_latent(model, latent)
    refuse_context_windows(model, len(latent))
    _check_channels(model)
    _check_prompt(model, conditioning, "source conditioning")
    if not settings.steps >= 1:
        raise Refusal(f"'steps' is {settings.steps}; choose 1 or more.")
    if not (math.isfinite(settings.learning_rate) and settings.learning_rate > 0):
        raise Refusal(f"'learning rate' is {settings.learning_rate:g}; choose a value above 0, such as 3e-5.")
    if settings.layout.convolution and settings.rank < 1:
        raise Refusal(f"'rank' is {settings.rank}; choose 1 or more.")
    state = tuned_state_of(model)
    if state is not None and state.layout != settings.layout:
        raise Refusal(
            f"'model' is tuned in the {state.layout.name} layout already, but 'preset' tunes in that of "
            f"{settings.layout.name}; choose another preset to go on with it, or connect the checkpoint."
        )


def check_pictures(model, conditioning, pictures: torch.Tensor, latent: torch.Tensor) -> None:
    """Refuses pictures [m, c, h, w] that a tuning on a clip [n, c, h, w] cannot take along."""
    require_clip_latent(model, pictures, "pictures")
    if pictures[0].numel() > latent[0].numel():
        raise Refusal(
            f"'pictures' are {size_in_pixels(pictures.shape)}, larger than the clip's {size_in_pixels(latent.shape)}; "
            "scale them down before VAE Encode."
        )
    _check_prompt(model, conditioning, "pictures prompt")
    if len(conditioning[0][0]) not in (1, len(pictures)):
        raise Refusal(
            f"'pictures prompt' holds {len(conditioning[0][0])} prompts for {counted(len(pictures), 'picture')}; "
            "give one for all."
        )


def check_no_mask(latent: dict, name: str = "latent") -> None:
    """Refuses a LATENT that is to be inpainted; name: the node's input."""
    if latent.get("noise_mask") is not None:
        raise Refusal(
            f"'{name}' carries a noise mask (Set Latent Noise Mask, VAE Encode (for Inpainting)), but a tuning learns "
            "the whole picture; use VAE Encode."
        )


def _check_channels(model) -> None:
    """Inpainting and pix2pix models read a picture beside the clip, which a tuning does not have."""
    channels = model.model.model_config.unet_config["in_channels"]
    if channels != model.model.latent_format.latent_channels:
        raise Refusal(
            f"'model' reads {channels} channels (an inpainting or pix2pix checkpoint), but tuning shows it the clip "
            "alone; load an ordinary SD 1.x or SD 2.x checkpoint."
        )


def _check_prompt(model, conditioning, name: str) -> None:
    """One plain prompt of the model's own text encoder."""
    if len(conditioning) != 1:
        raise Refusal(
            f"'{name}' holds {len(conditioning)} conditionings (Conditioning Combine or a prompt schedule), but tuning "
            "takes one prompt; use CLIP Text Encode or the source conditioning of Edit Prompts."
        )
    embedding, options = conditioning[0]
    limited = [limit for limit in _LIMITS if options.get(limit) is not None]
    if limited or options.get("control") is not None:
        raise Refusal(
            f"'{name}' carries '{(limited or ['control'])[0]}', but tuning needs a plain prompt; use CLIP Text Encode "
            "or the source conditioning of Edit Prompts."
        )
    check_embedding(model, embedding, f"'{name}'")
