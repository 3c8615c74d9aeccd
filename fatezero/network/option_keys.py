"""Every name under which the pack puts something on ComfyUI's objects, who writes it and who reads it.

All begin with OURS: that is how `model_identity.foreign_parts` tells them from what other nodes have put there.
"""

from comfy.patcher_extension import WrappersMP

OURS = "fatezero_"

# In the options of a CONDITIONING: its PromptTokens. Written by Edit Prompts; read by inversion and by the checks of
# inversion and edit; left out of null text and of saved source runs.
TOKENS = OURS + "tokens"

# In the transformer_options of a MODEL: an Inflation, and the number of frames at once that a person asked for.
# Both written by Inflate UNet; INFLATION is read wherever models are compared, both are read by `ChunkedRun`.
# INFLATION is also the key of the DIFFUSION_MODEL wrapper that normalises across frames.
INFLATION = OURS + "inflation"
FRAMES_AT_ONCE = OURS + "frames_at_once"

# In transformer_options while a chunk of frames is in the model: its ActiveChunk. Written by `with_chunk`; read by
# inflation, edit, inversion and gradients. Also the key of the wrappers that cut a clip into chunks.
CHUNK = OURS + "chunk"
AD_PARAMS = "ad_params"  # AnimateDiff's name for which frames are there, read by other packs (IPAdapter ...)

# In transformer_options of a call: the blocks whose self-attention another node replaces in it. Written by
# `ChunkedRun`; read by inflation, which leaves their keys and values as they are.
REPLACED = OURS + "replaced"

# Keys of an OUTER_SAMPLE wrapper on a MODEL, each of which takes charge of a whole sampling run.
EDIT = OURS + "blend"  # also of the edit's wrappers on the run's own options
INVERSION = OURS + "inversion"
NULL_TEXT = OURS + "null_text"

# Key of the APPLY_MODEL wrapper on a call that carries the source's rows too.
JOINED = OURS + "joined"

# In transformer_options within a block of a video transformer: its BlockRun. Written and read by `row_by_row`.
BLOCK = OURS + "block"

# In transformer_options of a call of a video transformer: how many tokens only fill up a row's prompt, by its uuid.
# Written by `SourceRow`; read by `row_by_row`.
PADDING = OURS + "padding"

# In what a hook is told of a layer of a motion module: that layer's own attention, a function of query, key and value.
# Written by `motion_modules`; read by `plain_attention`.
LAYERS_OWN = OURS + "layers_own"

# The network of temporal parts among a MODEL's additional models, and the DIFFUSION_MODEL wrapper that sets them for a
# call; written by Load Tuned Model and Tune Video Model, read wherever models are compared and by `ChunkedRun`.
TEMPORAL_PARTS = OURS + "temporal"
# In the attachments of a MODEL: its TunedState. Written by the same nodes; read by Save Tuned Model.
TUNED = OURS + "tuned"

# In `guider.conds`, so that ComfyUI loads and cleans up their ControlNets with the edit's. SOURCE also names the hidden
# states that a reconstruction of the source carries along apart from the edit's.
SOURCE = OURS + "source"
SOURCE_NEGATIVE = OURS + "source_negative"

# In a LATENT, or in the model_options of a MODEL: how it was made. Written by the blend nodes; read by Edit Report.
MADE_BY = OURS + "made_by"

# The order of our wrappers on a run's own options, from the outside in.
OUTSIDE_IN = (EDIT, CHUNK, JOINED)


def wrap_run(transformer_options: dict, kind: str, key: str, wrapper) -> None:
    """Adds a wrapper to a run's private options, whichever of ours comes first: outside of other nodes' wrappers, and
    among ours in the order of OUTSIDE_IN. A wrapper under the same key is replaced.

    Args:
        transformer_options: The run's own; what it shares with the model is copied before it changes.
        kind: One of ComfyUI's WrappersMP.
        key: One of OUTSIDE_IN.
        wrapper: Called as ComfyUI does, with an executor of what lies within as its first argument.
    """
    wrappers = transformer_options["wrappers"] = dict(transformer_options.get("wrappers", {}))
    held = {**wrappers.get(kind, {}), key: [wrapper]}
    ours = {name: held.pop(name) for name in OUTSIDE_IN if name in held}
    wrappers[kind] = {**ours, **held}


def is_ours(key) -> bool:
    """Whether a key on one of ComfyUI's objects is one of this pack's."""
    return isinstance(key, str) and key.startswith(OURS)


def takes_charge(transformer_options: dict) -> bool:
    """Whether an edit, an inversion or a null-text optimisation is in charge of a run, and so of its chunks."""
    outer = transformer_options.get("wrappers", {}).get(WrappersMP.OUTER_SAMPLE, {})
    return any(key in outer for key in (EDIT, INVERSION, NULL_TEXT))
