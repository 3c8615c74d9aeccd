"""Whether a clip can be edited by coupled sampling, known before anything runs."""

import torch

from ..network.transformer.check import check_options
from ..network.transformer.families import require_family
from ..prompts.prompt_edit import PromptEdit
from ..refusal import Refusal

LOW_NOISE_MODEL = "low noise model"  # the input's name on the node


def check_prompts(edit: PromptEdit, source, positive) -> None:
    """Refuses conditionings that are not those of the edit's prompts."""
    prompts = (("source conditioning", source, edit.source), ("positive", positive, edit.target))
    for name, conditioning, tokens in prompts:
        if not tokens.is_t5:
            raise Refusal("'edit' was made with a CLIP of Stable Diffusion; connect the model's own text encoder.")
        found = conditioning[0][0].shape[1]
        if found != tokens.length:
            raise Refusal(
                f"'{name}' has {found} tokens where its prompt has {tokens.length}; connect what Edit Prompts gives."
            )
    lengths = [conditioning[0][0].shape[1] for _, conditioning, _ in prompts]
    if lengths[0] != lengths[1]:
        raise Refusal(
            f"'source prompt' has {lengths[0]} tokens and 'target prompt' {lengths[1]}, but they go through the model "
            f"together; shorten the longer one to {min(lengths)} tokens."
        )


def check_levels(sigmas: torch.Tensor, scheduler: str) -> None:
    """Refuses a schedule whose noise levels, [steps + 1], do not fall from step to step."""
    if not bool(torch.isfinite(sigmas).all()) or not bool((sigmas.diff() < 0).all()):
        raise Refusal(
            f"'scheduler' {scheduler} repeats noise levels at {len(sigmas) - 1} steps; raise 'steps' or choose another."
        )


def check_pair(model, low_noise_model) -> None:
    """Refuses a second model that cannot carry on what the first one began."""
    formats = [type(each.model.latent_format) for each in (model, low_noise_model)]
    if require_family(model) is not require_family(low_noise_model, LOW_NOISE_MODEL) or formats[0] is not formats[1]:
        raise Refusal(
            f"'{LOW_NOISE_MODEL}' is a {type(low_noise_model.model).__name__}, 'model' a {type(model.model).__name__}; "
            "connect the two models of one Wan 2.2, or nothing."
        )
    check_options(low_noise_model, LOW_NOISE_MODEL)
