"""Polite attention hooks: installed when sampling starts, on the run's private options, around whatever is there.

ComfyUI looks up one replacement per attention layer. Ours is put in at the start of the run, after every other node has
had its say, wraps what it finds, and vanishes with the run's options; the model itself is never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass

from comfy.ldm.modules.attention import optimized_attention

from ...refusal import Refusal
from ..attention_layers import CROSS, SELF, TEMPORAL, Layer
from ..option_keys import LAYERS_OWN, REPLACED
from .walk import transformer_depths


def install_hooks(transformer_options: dict, diffusion_model, attend) -> None:
    """Wraps every attention layer of a run's private transformer_options, temporal attention (where there is any) too.

    attend(layer, query, key, value, extra, previous) -> output, all [rows·frames, tokens, heads·head width]; `previous`
    is another node's replacement (query, key, value, extra) that was hooked to the layer before, or None.
    """
    replacements = {kind: dict(table) for kind, table in transformer_options.get("patches_replace", {}).items()}
    transformer_options["patches_replace"] = replacements
    for block, depth in transformer_depths(diffusion_model):
        for kind in (SELF, CROSS, TEMPORAL):
            table = replacements.setdefault(kind, {})
            for_all = table.pop(block, None)
            for index in range(depth):
                # ComfyUI prefers the 3-tuple; a 2-tuple key where it is unambiguous lets PAG and SAG override us in
                # their own extra passes.
                key = (*block, index) if depth > 1 or (*block, index) in table else block
                previous = table.get((*block, index), for_all)
                table[key] = Hook(Layer(kind, block, index), previous, attend)


@dataclass(frozen=True)
class Hook:
    """Our replacement of an attention layer, around another node's, or around nothing."""

    layer: Layer
    previous: Callable | None
    attend: Callable

    def __call__(self, query, key, value, extra):
        return self.attend(self.layer, query, key, value, extra, self.previous)


def with_replaced_blocks(model_options: dict) -> dict:
    """The options of one call of the model, told whose self-attention other nodes replace in it.

    A replacement that another node has put on a whole block for this call alone (PAG, in its own pass) takes the place
    of our hooks there: ComfyUI would prefer ours, which are on single transformers.
    """
    options = model_options.get("transformer_options", {})
    tables = {kind: dict(table) for kind, table in options.get("patches_replace", {}).items()}
    for table in tables.values():
        foreign = {key for key, replacement in table.items() if not isinstance(replacement, Hook)}
        for key in [key for key in table if key[:2] in foreign and isinstance(table[key], Hook)]:
            del table[key]
    replaced = frozenset(
        key
        for key, replacement in tables.get(SELF, {}).items()
        if not isinstance(replacement, Hook) or replacement.previous is not None
    )
    return {**model_options, "transformer_options": {**options, "patches_replace": tables, REPLACED: replaced}}


def is_replaced(transformer_options: dict) -> bool:
    """Whether another node replaces the self-attention of the layer that these options belong to."""
    replaced, block = transformer_options.get(REPLACED, ()), transformer_options["block"]
    return block in replaced or (*block, transformer_options["block_index"]) in replaced


def plain_attention(query, key, value, extra):
    """ComfyUI's own attention, with the backend and precision that it chose, or what a layer brings along; no mask."""
    if LAYERS_OWN in extra:
        return extra[LAYERS_OWN](query, key, value)
    return optimized_attention(
        query, key, value, extra["n_heads"], attn_precision=extra.get("attn_precision"), transformer_options=extra
    )


def layer_size(extra: dict, tokens: int) -> tuple[int, int]:
    """Height and width of a layer's queries; refuses a batch where another node has changed their number."""
    height, width = extra["activations_shape"][-2:]
    if height * width != tokens:
        raise Refusal(
            f"an attention layer of {height}x{width} got {tokens} queries; another node on this model "
            "(HyperTile, ToMe ...) merges or cuts them; remove it."
        )
    return height, width


def downsampling(extra: dict) -> int:
    """How many times coarser than the latent a layer is (1, 2, 4, 8)."""
    return max(1, round(extra["original_shape"][-2] / extra["activations_shape"][-2]))
