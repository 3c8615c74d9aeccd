"""Wan 2.2 14B, which is two models: each knows a part of the noise levels.

They are built alike; the names of their files tell them apart, where ComfyUI keeps those.
"""

from pathlib import PurePath
from typing import Any

import torch

from ...refusal import Refusal, counted
from ..inspection.model_identity import fingerprint
from .families import require_family, takes_picture

LOW_NOISE_MODEL = "low noise model"  # the input's name on the nodes
HIGH_NOISE, LOW_NOISE = "high_noise", "low_noise"  # in the names of their files


def steps_of_models(sigmas: torch.Tensor, skip: float, boundary: float | None) -> list[range]:
    """Which steps of a schedule which model takes: those of the model for high noise, those of the one for low noise.

    Args:
        sigmas: The schedule, falling, [steps + 1].
        skip: Share of the first steps that are left out.
        boundary: The sigma below which the model for low noise goes on; None where there is one model.

    Returns:
        One range, or two, of which either may be empty.

    >>> steps_of_models(torch.tensor([1.0, 0.9, 0.8, 0.5, 0.0]), 0.25, 0.875)
    [range(1, 2), range(2, 4)]
    """
    steps = len(sigmas) - 1
    first = round(skip * steps)
    if boundary is None:
        return [range(first, steps)]
    change = max(first, int((sigmas[:-1] >= boundary).sum()))
    return [range(first, change), range(change, steps)]


def share_in_words(of_low: int, boundary: float) -> str:
    """How many steps the model for low noise takes, of two; boundary: a sigma."""
    return f"two models: the one for low noise takes {counted(of_low, 'step')}, below sigma {boundary:g}"


def check_kinds(model, low_noise_model) -> None:
    """Refuses a second ModelPatcher that cannot carry on what the first one began."""
    if require_family(model) is not require_family(low_noise_model, LOW_NOISE_MODEL):
        raise Refusal(
            f"'{LOW_NOISE_MODEL}' is a {type(low_noise_model.model).__name__}, 'model' a {type(model.model).__name__}; "
            "connect the two models of one Wan 2.2, or nothing."
        )
    kind, other = (type(each.model.latent_format) for each in (model, low_noise_model))
    if kind is not other:
        raise Refusal(
            f"'{LOW_NOISE_MODEL}' works on latents of {other.__name__}, 'model' on those of {kind.__name__}; connect "
            "the two models of one Wan 2.2, or nothing."
        )


def refuse_second(low_noise_model) -> None:
    """Refuses a second ModelPatcher beside a UNet; None for none."""
    if low_noise_model is not None:
        raise Refusal(
            "'low noise model' is for the second of Wan 2.2 14B's two models, but 'model' has no second; disconnect it."
        )


def refuse_halves(model, low_noise_model) -> None:
    """Refuses what does not go through all noise levels, and would be known after a long run only: one of the two
    models alone, or each in the place of the other; arguments as of `pair_notes`."""
    name, half = _file(model)
    if _are_swapped(model, low_noise_model):
        raise Refusal(f"'model' is {name} and 'low noise model' {_file(low_noise_model)[0]}; swap them.")
    if low_noise_model is None and half is not None:
        raise Refusal(
            f"'model' is {name}, one of Wan 2.2 14B's two models, but an inversion goes through all noise levels; "
            "connect the one for high noise to 'model' and the other to 'low noise model'."
        )


def pair_notes(model, low_noise_model) -> list[str]:
    """What to say of models that do not make a whole; low_noise_model: ModelPatcher, or None where there is one."""
    name, half = _file(model)
    if low_noise_model is None:
        alone = f"! 'model' is {name}, one of Wan 2.2 14B's two models; connect the other one, too"
        return [] if half is None else [alone]
    notes = []
    if _are_swapped(model, low_noise_model):
        notes.append(f"! 'model' is {name} and 'low noise model' {_file(low_noise_model)[0]}; swap them")
    elif fingerprint(model) == fingerprint(low_noise_model):
        notes.append("! 'low noise model' is the same as 'model'; connect the other one of Wan 2.2 14B's two models")
    reads = [takes_picture(each) for each in (model, low_noise_model)]
    if reads[0] != reads[1]:
        of_picture, of_text = ("model", LOW_NOISE_MODEL) if reads[0] else (LOW_NOISE_MODEL, "model")
        notes.append(f"! '{of_picture}' is for image to video and '{of_text}' is not; connect two of one kind")
    return [*notes, *_unlike_shifts(model, low_noise_model)]


def _are_swapped(model, low_noise_model) -> bool:
    """Whether the files' names say that each of two models is in the place of the other."""
    return low_noise_model is not None and (_file(model)[1], _file(low_noise_model)[1]) == (LOW_NOISE, HIGH_NOISE)


def _unlike_shifts(model, low_noise_model) -> list[str]:
    """What to say of two models whose noise levels are not spread alike."""
    shifts = [getattr(each.get_model_object("model_sampling"), "shift", None) for each in (model, low_noise_model)]
    if None in shifts or shifts[0] == shifts[1]:
        return []
    return [
        f"! 'model' has shift {shifts[0]:g} and 'low noise model' {shifts[1]:g}; the steps are those of 'model' here, "
        "but not under KSamplers: give both one shift (ModelSamplingSD3)"
    ]


def _file(model) -> tuple[str, str | None]:
    """The name of a model's file, and which half of the two it is."""
    loaded: Any = getattr(model, "cached_patcher_init", None)  # how ComfyUI would load it again; not in 0.18
    paths = [value for value in loaded[1] if isinstance(value, str)] if loaded else []
    name = PurePath(paths[0]).name if paths else ""
    return name, next((half for half in (HIGH_NOISE, LOW_NOISE) if half in name), None)
