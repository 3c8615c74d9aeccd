"""What names one attention layer of a network."""

from dataclasses import dataclass

SELF, CROSS = "attn1", "attn2"


@dataclass(frozen=True)
class Layer:
    """One attention layer of a UNet. kind: SELF or CROSS; block: ComfyUI's (place, number); depth: transformer index."""

    kind: str
    block: tuple[str, int]
    depth: int
