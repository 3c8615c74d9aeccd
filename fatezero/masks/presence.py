"""In which frames of a clip a thing is in sight.

Attention is shared out in every frame: where a thing is not, its words are seen somewhere all the same, but faintly,
and the picture there is like what is around the thing elsewhere.
"""

import torch

from .looks import finer, standing_out

FAINT = 0.4  # of the clip's strongest attention: below, the words alone do not tell that the thing is there
CLEAR = 0.6  # from here on they do
HOT = 0.5  # of a frame's heat: there the thing would be
SLIVER = 0.1  # of those places: so many tell, since little of the thing may be in the picture
LIKE = 0.5  # of the way from the look of what is around the thing to its own; so far they stand out in their frame


def in_sight(heat: torch.Tensor, strength: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """Where the words or the picture tell that a thing is there.

    Args:
        heat: How strongly each place belongs to the thing's words, [n, h, w] of 0..1, its maximum 1 in each frame.
        strength: The attention that they get there, [n].
        latent: The clip's, [n, c, h, w].

    Returns:
        bool [n]; True where nothing can tell.
    """
    strength = strength / strength.amax().clamp_min(torch.finfo(strength.dtype).tiny)
    faint, clear = strength < FAINT, strength > CLEAR
    places = finer(heat > HOT)
    pictures = standing_out(latent, places & clear[:, None, None]) if faint.any() else None
    if pictures is None:
        return torch.ones_like(faint)
    there = ~faint
    for frame in faint.nonzero().flatten().tolist():
        picture, place = torch.from_numpy(pictures[frame]), places[frame]
        if place.any():
            there[frame] = picture[place].quantile(1 - SLIVER) - picture[~place].mean() > LIKE
    return there
