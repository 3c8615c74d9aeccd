"""What stands against a clip in parts: nodes and settings that a part cannot have as the whole clip has them."""

from .graph import INFLATE, INVERT, LOADER, SAVER, Graph, nodes, title
from .table import BatchError

SPANS_THE_CLIP = {  # node class: why it cannot be cut
    "FateZeroNullText": "one null text is found for the whole clip",
    "FateZeroTune": "the model is tuned to the whole clip",
    "FateZeroLoadTuned": "a tuned model looks at all frames",
    "FateZeroCoupledSampler": "a video model looks at all frames",
}
SAMPLES = (INVERT, "FateZeroBlendSampler", "KSampler", "KSamplerAdvanced", "CFGGuider", "BasicGuider")
JOINED = ("mp4", "webm", "png")
WHOLE_ONLY = ("force_rate", "batch", "path", "key_frame_first", "skip_first", "ping_pong", "loops")  # to load and save
AUDIO, PER_FRAME = 2, {3: "mask", 4: "fit"}  # outputs of Video Load
BLENDS = ("FateZeroBlendSampler", "FateZeroAttentionBlend")
AUTOMATIC = "automatic"
# Their frames agree on what is new over the whole clip, or begin from noise that is drawn for all of it.
NEAR_ONLY = ("add", "new background", "remove", "replace", "shape")
FRESH_NOISE = "fresh"
SEAMS_SHOWN = 8


def refuse_unfit_nodes(graph: Graph, asked_by: str) -> None:
    """Refuses what cannot be done in parts, apart from the key frames.

    Args:
        graph: The row's.
        asked_by: The options that ask for parts.
    """
    for entry in graph.prompt.values():
        if entry["class_type"] in SPANS_THE_CLIP:
            why = SPANS_THE_CLIP[entry["class_type"]]
            raise BatchError(f"The clip cannot be cut, since {why} ({title(entry)}); leave {asked_by} out.")
        if entry["class_type"] in SAMPLES and not _is_inflated(graph, entry):
            raise BatchError(
                f"The clip cannot be cut, since the model of {title(entry)} does not come from Inflate UNet to "
                f"ST-Attention, so that a frame may look at all others; put that node between, or leave {asked_by} out."
            )
        for name in WHOLE_ONLY:
            if value := entry["inputs"].get(name):
                found = "connected" if isinstance(value, list) else value
                raise BatchError(
                    f"{title(entry)}: '{name.replace('_', ' ')}' is {found}, which a clip in parts cannot "
                    "follow; switch it off."
                )
    _refuse_per_frame(graph, asked_by)
    _refuse_unfit_savers(graph, asked_by)


def note_on_seams(graph: Graph, starts: list[int]) -> str:
    """What to tell of parts that come near to one long run and do not equal it; "" where they equal it.

    Args:
        graph: The row's.
        starts: The first frames of all parts but the first.
    """
    blends = [entry["inputs"] for entry in graph.prompt.values() if entry["class_type"] in BLENDS]
    presets = {inputs.get("preset") for inputs in blends if isinstance(inputs.get("preset"), str)}
    causes = [f"preset {name} looks at the whole clip" for name in NEAR_ONLY if name in presets]
    if AUTOMATIC in presets:
        causes.append(f"preset {AUTOMATIC} may take one that looks at the whole clip ({', '.join(NEAR_ONLY)})")
    if any(str(inputs.get("mask_noise")).startswith(FRESH_NOISE) for inputs in blends):
        causes.append("fresh noise is drawn for the whole clip")
    if not causes:
        return ""
    seams = ", ".join(map(str, starts[:SEAMS_SHOWN])) + ", ..." * (len(starts) > SEAMS_SHOWN)
    return f"{'; '.join(causes)}: the parts come near to one long run, but seams may show at frames {seams}."


def _is_inflated(graph: Graph, entry: dict) -> bool:
    """Whether a node's model comes through Inflate UNet."""
    seen: set[str] = set()
    while isinstance(link := entry["inputs"].get("model"), list) and link[0] in graph.prompt and link[0] not in seen:
        seen.add(link[0])
        entry = graph.prompt[link[0]]
        if entry["class_type"] == INFLATE:
            return True
    return False


def _refuse_per_frame(graph: Graph, asked_by: str) -> None:
    """Refuses what comes out of Video Load beside the frames, and would not get the key frame before it."""
    for node, loader in nodes(graph, LOADER).items():
        for output, name in PER_FRAME.items():
            if any([node, output] in entry["inputs"].values() for entry in graph.prompt.values()):
                raise BatchError(
                    f"The clip cannot be cut, since the {name} of {title(loader)} is used; leave {asked_by} out."
                )


def _refuse_unfit_savers(graph: Graph, asked_by: str) -> None:
    """Refuses what saves something else than frames and the sound that goes with them."""
    sounds = [[loader, AUDIO] for loader in nodes(graph, LOADER)]
    for entry in graph.prompt.values():
        inputs, is_saver = entry["inputs"], entry["class_type"] == SAVER
        if "filename_prefix" in inputs and not is_saver:
            raise BatchError(
                f"The clip cannot be cut, since the parts of {title(entry)} ({entry['class_type']}) cannot be joined; "
                f"use Video Save in its place, or leave {asked_by} out."
            )
        if is_saver and inputs.get("format") not in JOINED:
            raise BatchError(f"{title(entry)}: parts are joined as {', '.join(JOINED)}; choose one as 'format'.")
        takes_sound = any(sound in inputs.values() for sound in sounds)
        if takes_sound != (is_saver and isinstance(inputs.get("audio"), list)):
            raise BatchError(
                f"The clip cannot be cut, since the sound of {title(entry)} goes another way than from Video Load to "
                f"Video Save; connect it so, or leave {asked_by} out."
            )
