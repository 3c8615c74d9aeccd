"""A latent that no clip was put into, as nodes for generation give it out."""

import torch

from ..refusal import Refusal


def refuse_empty(samples: torch.Tensor) -> None:
    """Refuses a LATENT's samples of zeros, [n, c, h, w] or [1, c, F, h, w]: there is nothing in it to invert or edit.

    Raises:
        Refusal: Every value is zero.
    """
    if not bool(samples.any()):
        raise Refusal("'latent' is empty, all zeros; connect your clip through VAE Encode.")
