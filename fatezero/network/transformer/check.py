"""Whether a video model and a latent can be used, known before anything runs."""

import torch

from ...refusal import Refusal
from ..empty_latent import refuse_empty
from .families import HUNYUAN, family_of, takes_picture, text_width

SKIPPERS = "rel_l1_thresh"  # TeaCache's mark: it keeps its memory on the model itself
LAZYCACHE = "lazycache"  # answers for a whole step, in which the clip's own row is then not asked


def check_video_latent(model, samples: torch.Tensor) -> None:
    """Refuses latents that are not one clip of this video model, that hold NaN, or nothing."""
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
    refuse_empty(samples)


def picture_note(model, conditioning) -> str | None:
    """What to say where a ModelPatcher reads a picture and the source's CONDITIONING was given none."""
    if not takes_picture(model) or conditioning[0][1].get("concat_latent_image") is not None:
        return None
    return (
        "! 'model' is for image to video, but was given no picture; pass source conditioning, positive and negative "
        "through WanImageToVideo with the clip's first frame, or choose the model for text to video"
    )


def check_text(model, conditioning, name: str) -> None:
    """Refuses a prompt, a CONDITIONING, of another text encoder; name: of the input."""
    embedding, options = conditioning[0]
    width = text_width(model)
    if width is not None and embedding.shape[-1] != width:
        raise Refusal(
            f"'{name}' has {embedding.shape[-1]} channels but 'model' reads {width}; use the model's own text encoder."
        )
    pooled = options.get("pooled_output")
    # T5, which Wan and LTX-Video read, pools nothing; HunyuanVideo has a CLIP beside its Llama.
    if isinstance(pooled, torch.Tensor) and bool(pooled.any()) and family_of(model) is not HUNYUAN:
        raise Refusal(f"'{name}' comes from a CLIP, but 'model' reads T5; use the model's own text encoder.")


def check_options(model, name: str = "model") -> None:
    """Refuses what other nodes have put on a model and what our runs of a video model cannot follow."""
    options = model.model_options.get("transformer_options", {})
    if SKIPPERS in options:
        raise Refusal(f"'{name}' has TeaCache, which skips steps by the last clip; remove it.")
    if "context_handler" in model.model_options:
        raise Refusal(f"'{name}' has context windows, which this node cannot follow; remove them or load fewer frames.")


def refuse_lazycache(model, name: str = "model") -> None:
    """Refuses, for an edit, a ModelPatcher by which steps of the clip's row are skipped with the edit's."""
    if any(LAZYCACHE in held for held in model.wrappers.values()):
        raise Refusal(f"'{name}' has LazyCache, which skips whole steps, also the clip's; use EasyCache, or remove it.")
