"""Whether a clip can be edited by coupled sampling, known before anything runs."""

import torch

from ..network.transformer.families import require_family
from ..prompts.prompt_edit import PromptEdit
from ..refusal import Refusal

LOW_NOISE_MODEL = "low noise model"  # the input's name on the node
SKIPPERS = "rel_l1_thresh"  # TeaCache's mark: it keeps its memory on the model itself


def check_video_latent(model, samples: torch.Tensor) -> None:
    """Refuses latents that are not one clip of this video model, or that hold NaN."""
    if getattr(samples, "is_nested", False) or samples.ndim != 5:
        raise Refusal(
            f"'latent' has {getattr(samples, 'ndim', 'nested')} dimensions, not the 5 of a video model's; use VAE "
            "Encode with the VAE of 'model'."
        )
    channels = model.model.latent_format.latent_channels
    if samples.shape[1] != channels:
        raise Refusal(f"'latent' has {samples.shape[1]} channels, but 'model' works on {channels}; use its own VAE.")
    if samples.shape[0] != 1:
        raise Refusal(f"'latent' holds {samples.shape[0]} clips; connect one.")
    if not bool(torch.isfinite(samples).all()):
        raise Refusal("'latent' holds NaN or infinite values; encode the clip again.")


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


def check_options(model, name: str = "model") -> None:
    """Refuses what other nodes have put on a model and what a coupled run cannot follow."""
    options = model.model_options.get("transformer_options", {})
    if SKIPPERS in options:
        raise Refusal(f"'{name}' has TeaCache, which skips steps by the last clip; remove it.")
    if "context_handler" in model.model_options:
        raise Refusal(f"'{name}' has context windows, which this node cannot follow; remove them or load fewer frames.")


def check_pair(model, low_noise_model) -> None:
    """Refuses a second model that cannot carry on what the first one began."""
    formats = [type(each.model.latent_format) for each in (model, low_noise_model)]
    if require_family(model) is not require_family(low_noise_model, LOW_NOISE_MODEL) or formats[0] is not formats[1]:
        raise Refusal(
            f"'{LOW_NOISE_MODEL}' is a {type(low_noise_model.model).__name__}, 'model' a {type(model.model).__name__}; "
            "connect the two models of one Wan 2.2, or nothing."
        )
    check_options(low_noise_model, LOW_NOISE_MODEL)
