"""Wan 2.2 14B, which is two models: each knows a part of the noise levels.

They are built alike; the names of their files tell them apart, where ComfyUI keeps those.
"""

from pathlib import PurePath
from typing import Any

from ...refusal import Refusal

HIGH_NOISE, LOW_NOISE = "high_noise", "low_noise"  # in the names of their files


def refuse_half(model) -> None:
    """Refuses one of the two models for what goes through all noise levels; model: ModelPatcher."""
    name, half = _file(model)
    if half is not None:
        raise Refusal(
            f"'model' is {name}, one of Wan 2.2 14B's two models, but an inversion goes through all noise levels; edit "
            "with Coupled Edit Sampler, which takes both."
        )


def pair_note(model, low_noise_model) -> str | None:
    """What to say of models that do not make a whole; low_noise_model: ModelPatcher, or None where there is one."""
    name, half = _file(model)
    if half is None:
        return None
    if low_noise_model is None:
        return f"! 'model' is {name}, one of Wan 2.2 14B's two models; connect the other one, too"
    other, other_half = _file(low_noise_model)
    if (half, other_half) == (LOW_NOISE, HIGH_NOISE):
        return f"! 'model' is {name} and 'low noise model' {other}; swap them"
    return None


def _file(model) -> tuple[str, str | None]:
    """The name of a model's file, and which half of the two it is."""
    loaded: Any = getattr(model, "cached_patcher_init", None)  # how ComfyUI would load it again; not in 0.18
    paths = [value for value in loaded[1] if isinstance(value, str)] if loaded else []
    name = PurePath(paths[0]).name if paths else ""
    return name, next((half for half in (HIGH_NOISE, LOW_NOISE) if half in name), None)
