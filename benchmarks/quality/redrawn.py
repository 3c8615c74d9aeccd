"""Another drawing of a case's target prompt: what an edit may show that does all it is told, and no more.

A prompt says neither how large a new shape is nor how it is turned, nor where the bricks of a new wall lie. So the
truth is one of many right answers, and how far another of them is from it bounds what can be asked of an edit.
"""

from dataclasses import replace
from zlib import crc32

import numpy as np

from fatezero_pack.demo import world

from .cases import Case

SIZE, TURN = (0.9, 1.1), (-0.25, 0.25)  # times the thing's radius; radians, as in training


def redrawn(case: Case) -> world.Scene:
    """The target scene with all that the prompts leave open drawn anew; what the clip shows and the edit keeps stays.

    New shapes stand at their place, in another size and turn; a new ground has another texture.
    """
    rng = np.random.default_rng(crc32(case.name.encode()))
    source, target = case.source, case.target
    things = list(target.things)
    for index, thing in enumerate(things):
        if index >= len(source.things) or source.things[index].shape != thing.shape:
            things[index] = replace(thing, r=thing.r * rng.uniform(*SIZE), angle=float(rng.uniform(*TURN)))
    ground = target.ground_seed if source.ground == target.ground else int(rng.integers(1 << 31))
    return replace(target, things=tuple(things), ground_seed=ground)
