"""Whether null text can be optimised for a source run, asked before the first step."""

from ..network.inspection.other_nodes import refuse_blended
from ..network.transformer.families import family_of
from ..network.unet.check import check_embedding, prediction_type, refuse_context_windows, require_unet
from ..refusal import Refusal
from ..source.source_check import check_model

PART = "a part of the steps"
LIMITS = {
    "area": "an area",
    "mask": "a mask",
    "start_percent": PART,
    "end_percent": PART,
    "timestep_start": PART,
    "timestep_end": PART,
}


def check_null_text(model, source, negative, settings) -> None:
    """Refuses what cannot be optimized; settings: an Optimization."""
    family = family_of(model)
    if family is not None:
        raise Refusal(
            f"'model' is {family.name}, a video model, for which there is no null text; leave this node out, and "
            "connect 'inverted clip' of DDIM Invert to Attention Blend Sampler."
        )
    if not settings.guidance > 1:
        raise Refusal(
            f"'guidance' is {settings.guidance:g}, at which the unconditional embedding has no "
            "effect and there is nothing to optimize; choose the cfg of the edit, such as 7.5."
        )
    for name, value in (("inner steps", settings.inner_steps), ("learning rate", settings.learning_rate)):
        if not value > 0:
            raise Refusal(f"'{name}' is {value:g}; choose a value above 0.")
    if not settings.early_stop >= 0:
        raise Refusal(f"'early stop' is {settings.early_stop:g}; choose 0 or more.")
    require_unet(model)
    refuse_blended(model)
    prediction_type(model)
    check_model(model, source)
    channels = source.trajectory.shape[2]
    if model.model.latent_format.latent_channels != channels:
        raise Refusal(
            f"'inverted clip' has {channels} channels, but 'model' works on "
            f"{model.model.latent_format.latent_channels}; invert the clip again with this model."
        )
    refuse_context_windows(model, source.frames)
    check_negative(model, negative)


def check_negative(model, negative) -> None:
    """One plain prompt of the model's own text encoder."""
    if len(negative) != 1:
        raise Refusal(
            f"'negative' holds {len(negative)} conditionings (Conditioning Combine, a prompt "
            "schedule or another null text), but there must be one; use one CLIP Text Encode."
        )
    embedding, options = negative[0]
    for name, what in LIMITS.items():
        if name in options:
            raise Refusal(
                f"'negative' is limited to {what}, but it is needed everywhere in all steps; use "
                "a plain CLIP Text Encode."
            )
    check_embedding(model, embedding, "'negative'")
