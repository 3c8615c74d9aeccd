"""How strong a re-weighted word is in a clip, and whether it grows with the weight."""

from dataclasses import replace

import torch

from .cases import Case

STRENGTH = {
    "strength": ("how far the clip lies from the scene without the word (0) towards the scene as drawn (1)", "", True)
}


def strength(case: Case, clip: torch.Tensor) -> float:
    """Where a clip [n, H, W, 3] lies on the line from the clip without the case's word, 0, to the one with it, 1."""
    region = case.edited_region()[..., None].float()
    drawn, plain = case.clip(case.source), without(case)
    way = (drawn - plain) * region
    return float(((clip - plain) * way).sum() / way.square().sum())


def without(case: Case) -> torch.Tensor:
    """The clip in no style, or with things in grey of the same brightness."""
    if case.source.style:
        return case.clip(replace(case.source, style=""))
    drawn = case.clip(case.source)
    return torch.where(case.things(case.source)[..., None], drawn.mean(dim=-1, keepdim=True), drawn)


def monotone(strengths: list[float]) -> bool:
    """Whether the strength grows with every weight; strengths in the order of the weights."""
    return all(one < other for one, other in zip(strengths, strengths[1:]))
