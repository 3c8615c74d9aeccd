"""Other nodes' patches on a MODEL, by the names under which people know them."""

from collections.abc import Iterator
from dataclasses import replace

from ..refusal import Refusal
from .unet.attention import Hook, with_replaced_blocks
from .unet.inflation import KeyFramePatch

# By the class of the node, or of the patch, that a patch was made by.
NAMES = {
    "TomePatchModel": "ToMe (Token Merging)",
    "HyperTile": "HyperTile",
    "PatchModelAddDownscale": "Kohya Deep Shrink",
    "Attn2Replace": "IPAdapter",
    "CrossAttentionPatch": "IPAdapter",
}
# Guidance: it acts on the edit's own rows, or in passes of its own.
GUIDANCE = ("NAGuidance", "SelfAttentionGuidance")
RESIZING = ("Kohya Deep Shrink",)  # names: the source's rows need the size of the edit's
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


def names_on(model) -> tuple[str, ...]:
    """The nodes whose patches change what a ModelPatcher's blocks compute for any row, by name, each once."""
    makers = {_maker(patch) for patch in _patches(model)}.difference(GUIDANCE)
    return tuple(sorted({NAMES.get(maker, maker) for maker in makers}))


def without_patches(model_options: dict, names: frozenset[str]) -> dict:
    """The options of one call of the model, without the patches of some nodes.

    Args:
        model_options: Of the call; not changed.
        names: As of `names_on`.
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
