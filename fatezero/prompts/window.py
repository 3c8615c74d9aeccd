"""A window of denoising steps."""

import math
from dataclasses import dataclass

from ..readable import readable


@readable
@dataclass(frozen=True)
class Window:
    """A span of the denoising steps, as fractions counted from the noisiest step: start <= step / steps < end."""

    start: float = 0.0
    end: float = 1.0

    @property
    def duration(self) -> float:
        """The share of the steps in it."""
        return self.end - self.start

    def contains(self, step: int, steps: int) -> bool:
        """Whether a step (0 is the noisiest) lies inside. As the official code: floor(start·N) <= j < floor(end·N).

        The small constant keeps products such as 0.29·100 from falling just short of their whole number.
        """
        return math.floor(self.start * steps + 1e-9) <= step < math.floor(self.end * steps + 1e-9)


ALWAYS = Window()
