"""What names one attention layer of a network."""

from dataclasses import dataclass

SELF, CROSS = "attn1", "attn2"
TEMPORAL = "fatezero_temporal"  # of tuned models and motion modules: each place attends to itself in all frames


@dataclass(frozen=True)
class Layer:
    """One attention layer of a UNet. kind: SELF, CROSS or TEMPORAL; block: ComfyUI's (place, number); depth: block."""

    kind: str
    block: tuple[str, int]
    depth: int
