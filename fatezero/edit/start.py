"""What a sampler is given to start an edit from: the inverted clip, a stage before it, or what cannot be meant."""

import torch

from ..refusal import Refusal

# Share of the distance between the clip and its inverted latent at a level. The stages of eight edits by the demo
# models were at 0.998 and more; a clip itself is at 0, a finished edit below 0.5 in the noisier third of the steps.
LEAST_NOISE = 0.5
SAME_CLIP = 0.25  # relative distance of two encodings of one clip, at most


def check_start(latent_image: torch.Tensor, inverted: torch.Tensor) -> None:
    """What a sampler without noise starts from, at the noisiest level, must be this source's inverted latent."""
    inverted = inverted.to(latent_image)
    if float((latent_image - inverted).norm()) > 0.5 * float(inverted.norm()):
        raise Refusal(
            "the sampler adds no noise, but its latent is not the inverted one (another run's, "
            "or the clip itself); connect the latent of the DDIM Invert that 'inverted clip' comes from."
        )


def check_stage(latent: torch.Tensor, inverted: torch.Tensor, clean: torch.Tensor) -> None:
    """What a sampler without noise goes on from, below the noisiest level, must hold the noise of its level.

    Args:
        latent: What it starts from, in the model's own scale.
        inverted: The source's latent at that level, of the same shape.
        clean: The source's clean latent, scaled as in `inverted`.

    Raises:
        Refusal: It is nearer to the clip than anything can be that holds as much noise as `inverted`.
    """
    latent, noise = latent.to(inverted), float((inverted - clean).norm())
    if float((latent - clean).norm()) < LEAST_NOISE * noise:
        raise Refusal(
            "the sampler adds no noise, but its latent lacks the noise of the step that it starts at (the clip itself, "
            "or a finished edit); connect the latent of DDIM Invert, or of a stage before that returns its leftover "
            "noise."
        )


def unused_latent(model, noise, latent_image, inverted: torch.Tensor, clean: torch.Tensor) -> list[str]:
    """What to tell where a sampler adds noise and so starts from the inverted clip, whatever else it is given.

    Args:
        model: ModelPatcher.
        noise: What the sampler adds.
        latent_image: What it adds that to, of the same shape.
        inverted: The end of the inversion, in the model's own scale.
        clean: The source's clean latent, likewise.
    """
    if not noise.any() or not latent_image.any():
        return []
    latent = model.model.process_latent_in(latent_image).to(clean)
    if any(float((latent - known).norm()) < SAME_CLIP * float(known.norm()) for known in (inverted, clean)):
        return []
    return [
        "! the sampler adds noise, so the edit starts from the inverted clip and not from the latent that it is given; "
        "to go on from a stage before, switch 'add_noise' off"
    ]
