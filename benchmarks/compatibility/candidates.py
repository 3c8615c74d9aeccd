"""The nodes that take a MODEL and give one back, each with values at which it acts on a small UNet."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

import nodes
from edit_cases import negative, small_model

# Values in place of a node's defaults, at which it acts on a latent of 16x16 in few steps.
ACTING = {
    "EasyCache": {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0},
    "LazyCache": {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0},
    "HyperTile": {"tile_size": 64, "swap_size": 1},
    "PatchModelAddDownscale": {"block_number": 1, "end_percent": 1.0},
    "FreSca": {"scale_low": 1.1, "scale_high": 1.2},
    "CFGOverride": {"cfg": 3.0},
    "UNetSelfAttentionMultiply": {"q": 1.1, "v": 0.9},
    "UNetCrossAttentionMultiply": {"q": 1.1, "v": 0.9},
    "ContextWindowsManual": {"context_length": 2, "context_overlap": 1},
}
# What only other kinds of model read, or what needs files and devices that are not here.
OTHER_KINDS = (
    *(
        "Wan",
        "WAN",
        "wan",
        "LTXV",
        "Flux",
        "SD3",
        "Qwen",
        "Hunyuan",
        "Chroma",
        "Cosmos",
        "Mochi",
        "Aura",
        "Krea",
        "SD35",
    ),
    *(
        "HiDream",
        "MiniMax",
        "StableCascade",
        "TripoSplat",
        "ARVideo",
        "ScaleROPE",
        "ModelNoiseScale",
        "DiT",
        "SDXL",
        "SD2",
    ),
)
TOO_SLOW = ("TorchCompileModel",)  # compiles the small UNet for minutes


@dataclass(frozen=True)
class Candidate:
    """A node and how it is applied: `apply(model)` gives the patched model."""

    name: str
    apply: Callable
    pack: str = "core"


def candidates(only: str | None = None) -> Iterator[Candidate]:
    """Every registered node with a MODEL in and out whose other inputs can be filled here."""
    for name, node in sorted(nodes.NODE_CLASS_MAPPINGS.items()):
        if name.startswith("FateZero") or name in TOO_SLOW or (only and only.lower() not in name.lower()):
            continue
        filled = _filled(name, node)
        if filled is not None:
            yield Candidate(name, _application(node, *filled), _pack(node))


def load_nodes(packs: bool) -> None:
    """Registers ComfyUI's own nodes, and with `packs` those of its custom_nodes folder."""
    asyncio.run(nodes.init_builtin_extra_nodes())
    if packs:
        asyncio.run(nodes.init_external_custom_nodes())


def _filled(name: str, node) -> tuple[str, dict, int] | None:
    """The name of the input that takes the model, values for the others, and which output is the model."""
    try:
        inputs, outputs = node.INPUT_TYPES(), list(node.RETURN_TYPES)
    except Exception:  # a pack's node that cannot even be described
        return None
    if "MODEL" not in outputs or any(kind in name for kind in OTHER_KINDS):
        return None
    declared = {**inputs.get("required", {}), **inputs.get("optional", {})}
    models = [name for name, (kind, *_) in declared.items() if kind == "MODEL"]
    if not models:
        return None
    values = {}
    for key, (kind, *options) in inputs.get("required", {}).items():
        if key != models[0]:
            value = _value(kind, options[0] if options else {})
            if value is None:
                return None
            values[key] = value
    return models[0], {**values, **ACTING.get(name, {})}, outputs.index("MODEL")


def _value(kind, options: dict):
    """Something for an input of this type; None where there is nothing."""
    if isinstance(kind, list):
        return options.get("default", kind[0] if kind else None)
    if kind == "COMBO":
        choices = options.get("options") or [None]
        return options.get("default") or choices[0]
    if kind in ("INT", "FLOAT", "STRING", "BOOLEAN"):
        return options.get("default", {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}[kind])
    if kind == "MODEL":
        return _another_model()
    if kind == "CONDITIONING":
        return negative()
    if kind == "LATENT_OPERATION":
        return lambda latent, **_: latent * 0.9
    return None


def _another_model():
    """A model with small weights, so that adding them does not blow up rounding."""
    model = small_model(seed=1)
    for parameter in model.model.diffusion_model.parameters():
        parameter.data *= 0.05
    return model


def _application(node, model_input: str, values: dict, output: int) -> Callable:
    def apply(model):
        arguments = {model_input: model, **values}
        if hasattr(node, "define_schema"):
            result = node.execute(**arguments)
        else:
            result = getattr(node(), node.FUNCTION)(**arguments)
        return getattr(result, "result", result)[output]

    return torch.inference_mode()(apply)


def _pack(node) -> str:
    module = inspect.getmodule(node)
    place = getattr(node, "RELATIVE_PYTHON_MODULE", None) or (module.__name__ if module else "")
    return place.split(".")[1] if place.startswith("custom_nodes.") else "core"
