"""What other nodes, and our Attention Blend, have put on a MODEL, by the names under which people know them."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import torch
from comfy.patcher_extension import WrappersMP

from ...refusal import Refusal
from ..option_keys import EDIT
from ..unet.attention import Hook, with_replaced_blocks
from ..unet.inflation import KeyFramePatch
from ..unet.motion_modules import motion_models

# By the class of the node, or of the patch, that a patch was made by.
NAMES = {
    "TomePatchModel": "ToMe (Token Merging)",
    "HyperTile": "HyperTile",
    "HyperTileInspire": "HyperTile",
    "SharedAttentionProcessor": "StyleAligned",
    "PatchModelAddDownscale": "Kohya Deep Shrink",
    "Attn2Replace": "IPAdapter",
    "CrossAttentionPatch": "IPAdapter",
}
# Guidance: it acts on the edit's own rows, or in passes of its own.
GUIDANCE = ("NAGuidance", "SelfAttentionGuidance")
MOTION = "AnimateDiff"
BYPASSED = {"bypass_lora": "Load LoRA (Bypass)"}  # by the name under which a node has hung layers into the network
# What the source's rows pass as well, by its name, and why.
PASSED_BY_ALL = {
    "Kohya Deep Shrink": "changes sizes",
    MOTION: "ties the frames together",
    "Load LoRA (Bypass)": "stands in the network's layers",
}
DIGITS, ALL_DIGITS = 4, 17  # of numbers in patches; files of before count all of them
# What changes how many queries and keys there are, or which frames they are of.
MERGING = ("TomePatchModel", "HyperTile", "HyperTileInspire", "SharedAttentionProcessor")


def refuse_merging(model) -> None:
    """Refuses a ModelPatcher whose self-attention another node merges, cuts or shares: no queries would match the
    source's."""
    for patch in _patches(model):
        if _maker(patch) in MERGING:
            name = NAMES[_maker(patch)]
            raise Refusal(
                f"'model' carries {name}, which merges, cuts or shares what self-attention looks at, so that the "
                f"source's and the edit's do not match; remove {name}."
            )


def is_blended(model) -> bool:
    """Whether a ModelPatcher edits whenever it is sampled."""
    return EDIT in model.wrappers.get(WrappersMP.OUTER_SAMPLE, {})


def refuse_blended(model, name: str = "model") -> None:
    """Refuses a ModelPatcher that edits whenever it is sampled, where nothing is to be edited; name: its input."""
    if is_blended(model):
        raise Refusal(
            f"'{name}' carries Attention Blend, which edits whenever the model is sampled; connect the model that goes "
            "into Attention Blend."
        )


def nodes_on(model, digits: int = DIGITS) -> dict[str, str]:
    """The nodes that change what a ModelPatcher's blocks compute for any row: by name a short text that is another one
    where their values are others.

    Args:
        model: ModelPatcher.
        digits: To how many digits values count. A GPU's last ones differ from a CPU's.
    """
    found: dict[str, set[str]] = {}
    for patch in _patches(model):
        maker = _maker(patch)
        if maker not in GUIDANCE:
            found.setdefault(NAMES.get(maker, maker), set()).add(";".join(_values(patch, digits)))
    for motion in motion_models(model):
        found.setdefault(MOTION, set()).add(";".join(_motion_values(motion, digits)))
    for key, name in BYPASSED.items():
        if model.injections.get(key):
            found.setdefault(name, set()).add(";".join(_bypassed_values(model.injections[key], digits)))
    return {name: hashlib.sha256("\n".join(sorted(found[name])).encode()).hexdigest()[:16] for name in sorted(found)}


def without_patches(model_options: dict, names: frozenset[str]) -> dict:
    """The options of one call of the model, without the patches of some nodes.

    Args:
        model_options: Of the call; not changed.
        names: As of `nodes_on`.
    """

    def stays(patch) -> bool:
        return NAMES.get(_maker(patch), _maker(patch)) not in names

    options = model_options["transformer_options"]
    patches = {name: [patch for patch in held if stays(patch)] for name, held in options.get("patches", {}).items()}
    tables: dict[str, dict] = {}
    for kind, table in options.get("patches_replace", {}).items():
        tables[kind] = {}
        for key, patch in table.items():
            if isinstance(patch, Hook):
                tables[kind][key] = patch if stays(patch.previous) else replace(patch, previous=None)
            elif stays(patch):
                tables[kind][key] = patch
    options = {**options, "patches": patches, "patches_replace": tables}
    return with_replaced_blocks({**model_options, "transformer_options": options})


def _patches(model) -> Iterator:
    """Every patch that a MODEL's transformers and blocks call, but ours."""
    options = model.model_options.get("transformer_options", {})
    for held in options.get("patches", {}).values():
        yield from (patch for patch in held if not isinstance(patch, KeyFramePatch))
    for table in options.get("patches_replace", {}).values():
        yield from table.values()


def _maker(patch) -> str:
    """The class that a patch belongs to, or that defines it: for a function within a node's, the node's."""
    return getattr(patch, "__qualname__", type(patch).__name__).split(".")[0]


def _values(held, digits: int, depth: int = 5) -> Iterator[str]:
    """The plain values in a patch, as text: what a function has closed over, an object's attributes, a little of
    tensors. What it cannot name is left out.
    """
    if isinstance(held, (bool, int, float, str)):
        yield repr(_rounded(held, digits))
    elif isinstance(held, torch.Tensor):
        yield f"{tuple(held.shape)} {[_rounded(value, digits) for value in held.detach().reshape(-1)[:16].tolist()]}"
    elif depth and isinstance(held, dict):
        for name in sorted(name for name in held if isinstance(name, (str, int, float))):
            yield from (f"{name} {value}" for value in _values(held[name], digits, depth - 1))
    elif depth and isinstance(held, (list, tuple)):
        for item in held:
            yield from _values(item, digits, depth - 1)
    elif depth:
        cells = getattr(held, "__closure__", None) or ()
        yield from _values([cell.cell_contents for cell in cells if _is_set(cell)], digits, depth - 1)
        yield from _values([getattr(held, "__self__", None), getattr(held, "__dict__", None)], digits, depth - 1)


def _rounded(value, digits: int):
    """A number to so many digits; anything else as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _motion_values(motion, digits: int) -> Iterator[str]:
    """The same of a ModelPatcher with motion modules: a little of its own weights, and the LoRAs on them."""
    for name, weight in motion.model.state_dict().items():
        if name.endswith("to_q.weight"):
            backup = motion.backup.get(name)
            yield from _values(weight if backup is None else getattr(backup, "weight", backup), digits)
    yield from _values(motion.patches, digits)


def _bypassed_values(injections, digits: int) -> Iterator[str]:
    """The same of LoRAs that ComfyUI has hung into the network: each layer's strength, and a little of its weights."""
    for injection in injections:
        for cell in getattr(injection.inject, "__closure__", None) or ():
            adapters = getattr(cell.cell_contents, "adapters", {}) if _is_set(cell) else {}
            for layer in sorted(adapters):
                adapter, strength = adapters[layer]
                yield f"{layer} {_rounded(strength, digits)}"
                yield from _values(getattr(adapter, "weights", None), digits)


def _is_set(cell) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
