"""Other nodes' patches on a MODEL, by the names under which people know them."""

from collections.abc import Iterator

from ..refusal import Refusal
from .unet_inflation import KeyFramePatch

# By the class of the node, or of the patch, that a patch was made by.
NAMES = {
    "TomePatchModel": "ToMe (Token Merging)",
    "HyperTile": "HyperTile",
    "PatchModelAddDownscale": "Kohya Deep Shrink",
    "Attn2Replace": "IPAdapter",
    "CrossAttentionPatch": "IPAdapter",
}
MERGING = ("TomePatchModel", "HyperTile")  # what changes how many queries and keys there are


def refuse_merging(model) -> None:
    """Refuses a ModelPatcher whose self-attention another node merges or cuts: no queries would match the source's."""
    for patch in _patches(model):
        if _maker(patch) in MERGING:
            name = NAMES[_maker(patch)]
            raise Refusal(
                f"'model' carries {name}, which merges or cuts what self-attention looks at, so that the source's and "
                f"the edit's do not match; remove {name}."
            )


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
