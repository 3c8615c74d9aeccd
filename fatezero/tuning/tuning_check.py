"""Whether a clip can be tuned on, asked before any work."""

from __future__ import annotations

import math

import torch

from ..network.unet.check import check_embedding, prediction_type, refuse_context_windows, require_clip_latent
from ..refusal import Refusal
from .fit import require_sd
from .settings import Tuning
from .tuned_state import tuned_state_of

_LIMITS = ("area", "mask", "start_percent", "end_percent", "timestep_start", "timestep_end")


def check_tuning(model, conditioning, latent: torch.Tensor, settings: Tuning) -> None:
    """Refuses, in one sentence in the words on the node, what cannot be tuned.

    Args:
        model: ModelPatcher.
        conditioning: CONDITIONING of the clip's prompt.
        latent: The clip [n, c, h, w].
        settings: What was chosen.
    """
    require_sd(model)
    prediction_type(model)
    require_clip_latent(model, latent)
    refuse_context_windows(model, len(latent))
    _check_prompt(model, conditioning)
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


def _check_prompt(model, conditioning) -> None:
    """One plain prompt of the model's own text encoder."""
    if len(conditioning) != 1:
        raise Refusal(
            f"'source conditioning' holds {len(conditioning)} conditionings (Conditioning Combine or a prompt "
            "schedule), but a clip is tuned under one prompt; use the source conditioning of Edit Prompts."
        )
    embedding, options = conditioning[0]
    limited = [name for name in _LIMITS if options.get(name) is not None]
    if limited or options.get("control") is not None:
        raise Refusal(
            f"'source conditioning' carries '{(limited or ['control'])[0]}', but tuning needs a plain prompt; use the "
            "source conditioning of Edit Prompts."
        )
    check_embedding(model, embedding, "'source conditioning'")
