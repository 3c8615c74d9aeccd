"""Whether a clip can be inverted under a conditioning, asked before the first step."""

from ..network.empty_latent import refuse_empty
from ..network.inspection.other_nodes import refuse_blended, refuse_merging
from ..network.option_keys import TOKENS
from ..network.transformer.check import check_options, check_text, check_video_latent
from ..network.transformer.families import family_of, require_family
from ..network.transformer.two_models import LOW_NOISE_MODEL, check_kinds, refuse_halves, refuse_second
from ..network.unet.check import (
    check_embedding,
    prediction_type,
    refuse_context_windows,
    require_clip_latent,
    require_unet,
)
from ..refusal import Refusal


def check_inversion(model, conditioning, samples, low_noise_model=None) -> None:
    """Refuses a clip that cannot be inverted; low_noise_model: the second of two ModelPatchers, None for one."""
    refuse_blended(model)
    if family_of(model) is not None:
        require_family(model)
        refuse_halves(model, low_noise_model)
        if low_noise_model is not None:
            refuse_blended(low_noise_model, LOW_NOISE_MODEL)
            check_kinds(model, low_noise_model)
            check_options(low_noise_model, LOW_NOISE_MODEL)
        check_video_latent(model, samples)
        check_options(model)
        check_prompt(conditioning)
        return check_text_encoder(model, conditioning)
    require_unet(model)
    refuse_second(low_noise_model)
    refuse_merging(model)
    prediction_type(model)
    require_clip_latent(model, samples)
    refuse_empty(samples)
    refuse_context_windows(model, len(samples))
    check_conditioning(model, conditioning)
    return None


def check_text_encoder(model, conditioning) -> None:
    """Refuses a prompt for a video model that another text encoder than its own has read."""
    tokens = conditioning[0][1].get(TOKENS)
    if tokens is not None and not tokens.is_t5:
        raise Refusal(
            "'source conditioning' was made with a CLIP of Stable Diffusion; connect the model's own text encoder to "
            "Edit Prompts."
        )
    check_text(model, conditioning, "source conditioning")


def check_no_mask(latent: dict) -> None:
    """Refuses a LATENT that is to be inpainted: an inversion runs over the whole picture."""
    if latent.get("noise_mask") is not None:
        raise Refusal(
            "'latent' carries a noise mask (Set Latent Noise Mask, VAE Encode (for Inpainting)), but an inversion runs "
            "over the whole picture; use VAE Encode, and connect the mask to 'mask' of Attention Blend Sampler."
        )


def check_conditioning(model, conditioning) -> None:
    """One plain prompt of a UNet's own text encoder."""
    check_prompt(conditioning)
    check_embedding(model, conditioning[0][0], "'source conditioning'")


def check_prompt(conditioning) -> None:
    """One plain prompt, for the whole picture and all steps."""
    if len(conditioning) > 1 and all("clip_start_percent" in options for _, options in conditioning):
        raise Refusal(
            f"'source conditioning' holds {len(conditioning)} conditionings, since the CLIP of Edit Prompts has hooks "
            "that change from step to step (Set CLIP Hooks); switch its 'schedule_clip' off."
        )
    if len(conditioning) != 1:
        raise Refusal(
            f"'source conditioning' holds {len(conditioning)} conditionings (Conditioning Combine or a prompt "
            "schedule), but inversion follows one prompt; use the source output of Edit Prompts."
        )
    embedding, options = conditioning[0]
    if "area" in options or "mask" in options:
        raise Refusal(
            "'source conditioning' is limited to an area or mask, but inversion needs the whole picture; "
            "remove the Conditioning (Set Area / Set Mask) node."
        )
    if "start_percent" in options:
        raise Refusal(
            "'source conditioning' is limited to a part of the steps, but inversion needs it in all of them; "
            "remove the ConditioningSetTimestepRange node."
        )
    if _acts_by_step(options):
        raise Refusal(
            "'source conditioning' has keyframes (Set Hook Keyframes, or a ControlNet's Timestep Keyframe), which are "
            "counted for denoising, but an inversion goes through the steps backwards; remove them."
        )
    tokens = options.get(TOKENS)
    if tokens is not None and tokens.length != embedding.shape[1]:
        raise Refusal(
            f"'source conditioning' has {embedding.shape[1]} tokens but its prompt has {tokens.length} "
            "(Conditioning Concat?); connect Edit Prompts directly."
        )


def _acts_by_step(options: dict) -> bool:
    """Whether a hook or a ControlNet of a conditioning changes at some step."""
    hooks, control = options.get("hooks"), options.get("control")
    groups = [getattr(hook, "hook_keyframe", None) for hook in getattr(hooks, "hooks", ())]
    while control is not None:
        groups.append(getattr(control, "timestep_keyframes", None))  # of Advanced-ControlNet
        control = getattr(control, "previous_controlnet", None)
    keyframes = [keyframe for group in groups for keyframe in getattr(group, "keyframes", ())]
    return any(keyframe.start_percent > 0 for keyframe in keyframes)
