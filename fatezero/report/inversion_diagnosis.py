"""What is wrong with the inversion of a clip, in words."""

import math

import torch

from ..refusal import counted
from ..source.schedule import FEW_STEPS, has_much_of_the_clip
from ..source.source_run import FAST_STEPS, UNI_INV, SourceRun

# With the demo model, inversions from which the clip came back (at 31 dB or more) had -0.07 to 0.3, and one from which
# it did not (6 dB, 2 steps) had 0.64.
MUSH = 0.45
# At 96x168 the demo model's agreed by 0.73 in 10 steps, 0.70 in 30, 0.69 in 50: steps do not help there, a size does.
ENOUGH_STEPS = 20


def of_the_inversion(source: SourceRun | None) -> list[str]:
    """An inversion that has not arrived at noise: what is drawn from it is mush."""
    if source is None:
        return []
    likeness = neighbour_likeness(source.trajectory[-1])
    if math.isnan(likeness) or likeness <= MUSH:
        return []
    return [
        "The inversion failed: its noise still has a picture in it (neighbouring values agree by "
        f"{likeness:.0%}, in a good inversion by {MUSH:.0%} at most), so that what is drawn from it is mush; "
        f"{_remedy(source)}, and let 'source prompt' say what the clip shows."
    ]


def _remedy(source: SourceRun) -> str:
    """What to set for an inversion that has failed."""
    if source.steps >= ENOUGH_STEPS:
        return "set a larger size in Video Load, near the one that the model was trained with"
    if source.steps == FAST_STEPS and source.label == UNI_INV:  # as 'speed' makes it, or a person without it
        return "set 'speed' of DDIM Invert to steps as set and 'steps' to 20 or more"
    return "raise 'steps' of DDIM Invert"


def neighbour_likeness(latent: torch.Tensor) -> float:
    """How much neighbouring values of a latent [n, c, h, w] agree: the correlation, 0 for noise and 1 for an even one.

    >>> neighbour_likeness(torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]]))
    -1.0
    """
    values = latent.float() - latent.float().mean(dim=(-2, -1), keepdim=True)
    across, down = values[..., :-1] * values[..., 1:], values[..., :-1, :] * values[..., 1:, :]
    products = torch.cat([across.flatten(), down.flatten()])
    return float(products.mean() / values.square().mean())


def of_the_steps(source: SourceRun | None, is_coupled: bool, is_look: bool) -> list[str]:
    """An inversion that ends before the noise, or has too few steps for more than a new style."""
    if source is None:
        return []
    end = float(source.sigmas[-1])
    if has_much_of_the_clip(end, is_flow=end <= 1):
        return [
            f"The noise of DDIM Invert ends at sigma {end:.2g}: much of the clip is still in it, so that an edit stays "
            "half done; use 10 or more steps."
        ]
    if is_coupled or is_look or source.steps >= FEW_STEPS:
        return []
    return [
        f"The clip was inverted in {counted(source.steps, 'step')}, too few for more than a new style; raise "
        "'steps' of DDIM Invert to 20 or more."
    ]
