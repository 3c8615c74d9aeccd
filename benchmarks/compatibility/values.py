"""Values for a node's inputs: its defaults, or others at which it acts on a latent of 16x16 in few steps."""

import inspect

import torch

from edit_cases import clip_latent, lora_hook, random_controlnet, small_model

from .graph import other_prompt

ACTING = {
    "EasyCache": {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0},
    "LazyCache": {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0},
    "HyperTile": {"tile_size": 64, "swap_size": 1},
    "HyperTile //Inspire": {"tile_size": 64, "swap_size": 1},
    "PatchModelAddDownscale": {"block_number": 1, "end_percent": 1.0},
    "FreSca": {"scale_low": 1.1, "scale_high": 1.2},
    "CFGOverride": {"cfg": 3.0},
    "UNetSelfAttentionMultiply": {"q": 1.1, "v": 0.9},
    "UNetCrossAttentionMultiply": {"q": 1.1, "v": 0.9},
    "ContextWindowsManual": {"context_length": 2, "context_overlap": 1},
    "ConditioningSetTimestepRange": {"end": 0.5},
    "ConditioningSetAreaPercentage": {"width": 0.5},
    "ConditioningMultiply": {"multiplier": 0.5},
    "ConditioningAverage": {"conditioning_to_strength": 0.5},
    "ConditioningSetProperties": {"hooks": lambda: lora_hook(small_model())},
    "DualModelGuider": {"negative": other_prompt},
}


def filled(name: str, node, through: str | None = None) -> dict | None:
    """Values for the inputs that a node needs, or None where there is nothing for one of them.

    Args:
        name: The node's id.
        node: Its class.
        through: A type that the node must take; the first such input gets this function as a mark in place of a value.
    """
    try:
        inputs = node.INPUT_TYPES()
    except Exception:  # a pack's node that cannot even be described
        return None
    declared = {**inputs.get("required", {}), **inputs.get("optional", {})}
    taking = next((key for key, (kind, *_) in declared.items() if kind == through), None)
    if through is not None and taking is None:
        return None
    values = {} if taking is None else {taking: filled}
    needed = inputs.get("required", {}).keys() | _without_default(node)
    for key, (kind, *options) in declared.items():
        if key in needed and key not in values:
            values[key] = _value(kind, options[0] if options else {})
            if values[key] is None:
                return None
    acting = {key: value() if callable(value) else value for key, value in ACTING.get(name, {}).items()}
    return {**values, **acting}


def _without_default(node) -> set[str]:
    """The inputs that a node's function cannot be called without, whatever the node says of them."""
    function = getattr(node, getattr(node, "FUNCTION", "execute"))
    parameters = inspect.signature(function).parameters.values()
    return {one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD}


def _value(kind, options: dict):
    """Something for an input of this type; None where there is nothing."""
    if isinstance(kind, list):
        return options.get("default", kind[0] if kind else None)
    if kind == "COMBO":
        choices = options.get("options") or [None]
        return options.get("default") or choices[0]
    if kind in ("INT", "FLOAT", "STRING", "BOOLEAN"):
        return options.get("default", {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}[kind])
    made = {
        "MODEL": _another_model,
        "CONDITIONING": other_prompt,
        "LATENT_OPERATION": lambda: lambda latent, **_: latent * 0.9,
        "CONTROL_NET": lambda: random_controlnet(1.0),
        "IMAGE": lambda: torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0)),
        "MASK": lambda: torch.ones(1, 128, 128).tril(),
        "LATENT": lambda: {"samples": clip_latent()},
    }
    return made[kind]() if kind in made else None


def _another_model():
    """A model with small weights, so that adding them does not blow up rounding."""
    model = small_model(seed=1)
    for parameter in model.model.diffusion_model.parameters():
        parameter.data *= 0.05
    return model
