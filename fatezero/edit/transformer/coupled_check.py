"""Whether a clip can be edited by coupled sampling, known before anything runs."""

import torch

from ...network.option_keys import TOKENS
from ...network.transformer.check import check_options, check_text, refuse_lazycache
from ...network.transformer.families import reads_text_in_blocks
from ...network.transformer.two_models import LOW_NOISE_MODEL, check_kinds
from ...prompts.prompt_edit import PromptEdit
from ...refusal import Refusal, counted, shortened
from ..conditioning_check import refuse_swapped

# What Wan's nodes give a conditioning beside its prompt.
GIVEN = (
    "concat_latent_image",
    "clip_vision_output",
    "reference_latents",
    "vace_frames",
    "camera_conditions",
    "control_video",
    "reference_motion",
    "pose_video_latent",
    "face_video_pixels",
    "audio_embed",
    "context_latents",
)
AREA = "the Conditioning (Set Area / Set Mask) node"


def check_prompts(edit: PromptEdit, source, positive, negative) -> None:
    """Refuses conditionings that are not those of the edit's prompts, or not for the whole clip."""
    prompts = (("source conditioning", source, edit.source), ("positive", positive, edit.target))
    for name, conditioning, tokens in prompts:
        if not tokens.is_t5:
            raise Refusal("'edit' was made with a CLIP of Stable Diffusion; connect the model's own text encoder.")
        _check_plain(name, conditioning)
        embedding, options = conditioning[0]
        said = options.get(TOKENS)
        if said is not None and said.ids != tokens.ids:
            if said.text == tokens.text:
                raise Refusal(
                    f"'{name}' was made with another text encoder than 'edit'; connect that conditioning of the same "
                    "Edit Prompts node."
                )
            raise Refusal(
                f"'{name}' says \"{shortened(said.text)}\" where 'edit' says \"{shortened(tokens.text)}\"; connect "
                "that conditioning of the same Edit Prompts node."
            )
        if embedding.shape[1] != tokens.length:
            raise Refusal(
                f"'{name}' has {embedding.shape[1]} tokens where its prompt has {tokens.length}; connect what Edit "
                "Prompts gives."
            )
    _check_plain("negative", negative)
    refuse_swapped([positive[0][1]], [negative[0][1]], edit)


def check_embeddings(model, source, positive, negative) -> None:
    """Refuses CONDITIONINGs of another text encoder, and those of unlike length where the model reads them outside of
    its blocks."""
    for name, conditioning in (("source conditioning", source), ("positive", positive), ("negative", negative)):
        check_text(model, conditioning, name)
    lengths = [conditioning[0][0].shape[1] for conditioning in (source, positive, negative)]
    if len(set(lengths)) > 1 and not reads_text_in_blocks(model):
        raise Refusal(
            f"'source prompt' has {lengths[0]} tokens, 'target prompt' {lengths[1]} and the negative one {lengths[2]}, "
            f"but VACE takes prompts of one length; shorten them to {min(lengths)} tokens."
        )


def check_given(source, positive, negative) -> None:
    """Refuses CONDITIONINGs of which some were given a picture, a clip or sound and others were not: the clip's own row
    would then lack the first frame that the edit's has. negative: None where it is not used."""
    conditionings = {"source conditioning": source, "positive": positive, "negative": negative}
    given = {
        name: {key for key in GIVEN if conditioning[0][1].get(key) is not None}
        for name, conditioning in conditionings.items()
        if conditioning is not None
    }
    for name, held in given.items():
        other = next((other for other, theirs in given.items() if theirs - held), None)
        if other is not None:
            raise Refusal(
                f"'{name}' was not given the picture, clip or sound that '{other}' was; pass source conditioning, "
                "positive and negative all through the same kind of node, such as WanImageToVideo."
            )


def _check_plain(name: str, conditioning) -> None:
    """One prompt, for the whole clip and all steps: only then do its rows run beside the source's."""
    if len(conditioning) != 1:
        raise Refusal(
            f"'{name}' holds {len(conditioning)} conditionings (Conditioning Combine or a prompt schedule), but a "
            "video model is edited under one; connect one."
        )
    options = conditioning[0][1]
    in_some_steps = options.get("start_percent", 0.0) > 0 or options.get("end_percent", 1.0) < 1
    if in_some_steps or "area" in options or "mask" in options:
        node = "the ConditioningSetTimestepRange node" if in_some_steps else AREA
        raise Refusal(f"'{name}' is for a part of the clip or of the steps; remove {node}.")


def check_levels(sigmas: torch.Tensor, scheduler: str) -> None:
    """Refuses a schedule whose noise levels, [steps + 1], do not fall from step to step."""
    steps = len(sigmas) - 1
    if not bool(torch.isfinite(sigmas).all()) or not bool((sigmas.diff() < 0).all()):
        raise Refusal(
            f"'scheduler' {scheduler} repeats noise levels at {counted(steps, 'step')}; raise 'steps' or choose "
            "another."
        )


def check_steps(steps: int, skip: float) -> None:
    """Refuses settings that leave no step to make."""
    if round(skip * steps) >= steps:
        raise Refusal(f"'skip' {skip:g} leaves none of {counted(steps, 'step')}; lower it, or raise 'steps'.")


def check_pair(model, low_noise_model) -> None:
    """Refuses a second model that cannot carry on what the first one began, or whose steps cannot be followed."""
    check_kinds(model, low_noise_model)
    check_options(low_noise_model, LOW_NOISE_MODEL)
    refuse_lazycache(low_noise_model, LOW_NOISE_MODEL)
