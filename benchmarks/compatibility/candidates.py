"""The nodes that may stand beside the pack in a graph, each with values at which it acts on a small UNet."""

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.samplers
import torch

import nodes

from .graph import AS_USUAL, Graph, other_prompt
from .values import filled

# What only other kinds of model read, or what makes latents of its own.
OTHER_KINDS = (
    *("Wan", "WAN", "wan", "LTXV", "Flux", "SD3", "SD35", "SDXL", "SD2", "Qwen", "Hunyuan", "Chroma", "Cosmos"),
    *("Mochi", "Aura", "Krea", "HiDream", "MiniMax", "StableCascade", "StableZero", "SVD", "SV3D", "TripoSplat"),
    *("ARVideo", "ScaleROPE", "ModelNoiseScale", "DiT", "Kandinsky", "Audio", "VOID", "PiD", "SeedVR", "Upscale"),
    *("Reference", "PercentageVideo", "SkipLayerGuidanceSimple", "ResolutionBucket"),
    *("LTX2", "NABLA", "Ideogram", "RifleX"),
    # What chooses between its inputs, or is given them at run time.
    *("Switch", "Loop", "showAnything", "pipe", "Bus Node", "KSampler", "fluxLoader", "fullLoader"),
)
TOO_SLOW = "TorchCompile"  # compiles the small UNet for minutes
MODEL, CONDITIONING, GUIDER, SAMPLER = KINDS = "MODEL", "CONDITIONING", "GUIDER", "SAMPLER"


@dataclass(frozen=True)
class Candidate:
    """A node in a graph. kind: what it gives out; name: with where it stands, if that is not all over the graph."""

    name: str
    kind: str
    graph: Graph
    pack: str = "core"


def candidates(only: list[str] | None = None) -> Iterator[Candidate]:
    """Every registered node of the KINDS whose inputs can be filled here, and every sampler by name.

    only: parts of names; None for all.
    """
    for kind in KINDS:
        for name, node in sorted(nodes.NODE_CLASS_MAPPINGS.items()):
            if name.startswith("FateZero") or TOO_SLOW in name or any(other in name for other in OTHER_KINDS):
                continue
            for candidate in _of_node(name, node, kind):
                if only is None or any(part.lower() in candidate.name.lower() for part in only):
                    yield candidate
    for name in comfy.samplers.SAMPLER_NAMES:
        if only is None or any(part.lower() in f"sampler {name}" for part in only):
            sampler = comfy.samplers.sampler_object(name)
            graph = replace(AS_USUAL, sampler=lambda _, sampler=sampler: sampler)
            yield Candidate(f"sampler {name}", SAMPLER, graph, _pack(sampler.sampler_function))


def load_nodes(packs: bool = False, folders: list[Path] | None = None) -> None:
    """Registers ComfyUI's own nodes; with `packs` those of its custom_nodes folder, and those of other folders."""

    async def load():
        if packs or folders:
            from server import PromptServer

            PromptServer(asyncio.get_running_loop())  # packs register routes when they are imported
        await nodes.init_builtin_extra_nodes()
        if packs:
            await nodes.init_external_custom_nodes()
        for folder in folders or []:
            if not await nodes.load_custom_node(str(folder), module_parent="custom_nodes"):
                raise SystemExit(f"{folder} could not be loaded as a pack; see above.")

    asyncio.run(load())


def _of_node(name: str, node, kind: str) -> Iterator[Candidate]:
    """The places of a graph in which a node can stand for what it gives out."""
    try:
        outputs = list(node.RETURN_TYPES)
    except Exception:  # a pack's node that cannot even be described
        return
    through = kind in (MODEL, CONDITIONING)  # takes one and gives it back; else it is made of the others
    values = filled(name, node, kind if through else None) if kind in outputs and name != "KSamplerSelect" else None
    if values is None:
        return
    pack = _pack(node)
    if kind == CONDITIONING:
        for place in ("source", "positive", "negative"):
            graph = replace(AS_USUAL, **{place: _application(node, kind, values)})
            yield Candidate(f"{name} on the {place}", kind, graph, pack)
    elif kind == MODEL:
        yield Candidate(name, kind, replace(AS_USUAL, patch=_application(node, kind, values)), pack)
    elif kind == GUIDER:
        yield Candidate(name, kind, replace(AS_USUAL, guider=_guider(node, values)), pack)
    else:
        yield Candidate(name, kind, replace(AS_USUAL, sampler=lambda model: _run(node, SAMPLER, values)), pack)


def _application(node, kind: str, values: dict) -> Callable:
    """A function of what the node takes and gives back."""
    (through,) = [name for name, value in values.items() if value is filled]

    def apply(value):
        return _run(node, kind, {**values, through: value})

    return apply


def _guider(node, values: dict) -> Callable:
    """A function of model, positive and negative, which stand for the inputs of these types."""

    def make(model, positive, others):
        mine = dict(values)
        for index, name in enumerate(_inputs(node, CONDITIONING)):
            mine[name] = positive if index == 0 else others if "negative" in name else other_prompt()
        return _run(node, GUIDER, {**mine, **dict.fromkeys(_inputs(node, MODEL), model)})

    return make


def _inputs(node, kind: str) -> list[str]:
    declared = node.INPUT_TYPES().get("required", {})
    return [name for name, (its_kind, *_) in declared.items() if its_kind == kind]


@torch.inference_mode()
def _run(node, kind: str, arguments: dict):
    """The node's first output of a kind."""
    if hasattr(node, "define_schema"):
        result = node.execute(**arguments)
    else:
        result = getattr(node(), node.FUNCTION)(**arguments)
    return getattr(result, "result", result)[list(node.RETURN_TYPES).index(kind)]


def _pack(node) -> str:
    """The pack that a node's class or a sampler's function is from."""
    module = inspect.getmodule(node)
    place = getattr(node, "RELATIVE_PYTHON_MODULE", None) or (module.__name__ if module else "")
    if place.startswith("custom_nodes."):
        return place.split(".")[1]
    return Path(place.partition(".")[0]).name if os.sep in place else "core"  # of a folder that lies anywhere
