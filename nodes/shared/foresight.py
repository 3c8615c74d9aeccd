"""What a later node of the graph would refuse after the clip was inverted is refused before that; what saving will
change of a clip, and what a video model will leave out of it, is said when it is loaded.

ComfyUI lets a node look at its own widgets before a run, but not at nested ones, nor at another node's. Video Load and
Edit Prompts run before every inversion, so they look ahead.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ...fatezero.edit.edit_check import check_mask_words, check_new_words
from ...fatezero.edit.presets import PRESETS
from ...fatezero.edit.settings import INPUT_MASK, WORDS_IN_MASK, BlendSettings
from ...fatezero.network.key_frames import CHOICES, parse_key_frames
from ...fatezero.network.transformer.families import HUNYUAN, LTX, WAN, Family
from ...fatezero.network.unet.inflation import Inflation
from ...fatezero.prompts.prompt_edit import PromptEdit
from ...fatezero.prompts.word_fields import find_words
from ...fatezero.refusal import Refusal
from ...fatezero.source.source_check import check_inflation
from ...fatezero.video.clip import Clip
from ...fatezero.video.write import formats
from ...fatezero.video.write_limits import changes

EDIT_OUTPUT, SOURCE_OUTPUT = 2, 0  # of Edit Prompts
IMAGES_OUTPUT, FPS_OUTPUT, AUDIO_OUTPUT = 0, 1, 2  # of Video Load
SAVE = {"FateZeroVideoSave": "Video Save"}
_BLENDS = {"FateZeroAttentionBlend": "Attention Blend", "FateZeroBlendSampler": "Attention Blend Sampler"}
_WORDS = {"FateZeroAttentionMask": "Attention Mask", "FateZeroAttentionHeatMap": "Attention Heat-Map"}
VIDEO_EDITOR = "FateZeroCoupledSampler"  # takes clips of video models alone
INVERT, INFLATE = "FateZeroInvert", "FateZeroInflate"
TUNED = {"FateZeroTune", "FateZeroLoadTuned"}
WITH_LATENT = {VIDEO_EDITOR: "Coupled Edit Sampler", INVERT: "DDIM Invert + Store Attention"}
_ENCODERS = {"VAEEncode", "VAEEncodeTiled"}
_DEMO = "FateZeroLoadDemoVideoModel"
_FILES = {WAN: r"(?<![a-z])wan[\d ._-]", HUNYUAN: r"hunyuan[ _-]?video", LTX: r"ltxv?(?![a-z])"}

Graph = dict[str, dict[str, Any]]


def look_ahead(graph: Graph | None, node: str | None, edit: PromptEdit) -> None:
    """Checks what can be known of the nodes that take an edit.

    Args:
        graph: The prompt that runs, in ComfyUI's API format.
        node: The id of the running Edit Prompts in it.
        edit: What it gives out.

    Raises:
        Refusal: A blend node adds or replaces something without a new word or a place, or takes its mask from the mask
            input, which nothing is connected to, or from words, of which none is replaced, or its model is inflated
            otherwise than that of DDIM Invert; or a node that shows words names one that the source prompt lacks.
    """
    if not graph or node is None:
        return
    for other in that_run(graph):
        kind, inputs = graph[other].get("class_type", ""), graph[other].get("inputs", {})
        if not _takes(graph, inputs, str(node)):
            continue
        name = _BLENDS.get(kind) or _WORDS.get(kind)
        try:
            _check_words(kind, inputs, edit)
            _check_inflation(graph, kind, inputs)
        except Refusal as refusal:
            raise Refusal(f"{name}, further on, cannot run: {refusal}") from None
        mask_from = inputs.get("preset.mask_from")
        if kind in _BLENDS and mask_from in (INPUT_MASK, WORDS_IN_MASK) and "mask" not in inputs:
            raise Refusal(
                f"{name}, further on, has 'mask from' on {mask_from}, but nothing is connected to its 'mask'; "
                "connect a MASK or choose words."
            )


def _check_words(kind: str, inputs: dict[str, Any], edit: PromptEdit) -> None:
    """Refuses what a node of a kind would refuse of an edit's words."""
    preset, words = inputs.get("preset"), inputs.get("words")
    if kind in _BLENDS and isinstance(preset, str):
        usual = PRESETS.get(preset, BlendSettings())
        mask_from = inputs.get("preset.mask_from", usual.mask_from)
        until = inputs.get("preset.new_words_until", usual.new_words_until) if usual.new_words_until else 0
        if isinstance(until, (int, float)) and until > 0:  # over a wire, nobody knows it yet
            check_new_words(edit, mask_from, has_mask="mask" in inputs)
        check_mask_words(edit, mask_from, inputs.get("preset.latent_blend", usual.latent_window is not None))
    if kind in _WORDS and isinstance(words, str):
        find_words(edit.source, words)


def _check_inflation(graph: Graph, kind: str, inputs: dict[str, Any]) -> None:
    """Refuses a blend node whose model is inflated otherwise than that of its DDIM Invert."""
    inverted = _before(graph, inputs, "source")
    if kind in _BLENDS and inverted.get("class_type") == INVERT:
        with suppress(_Untold):
            check_inflation(_inflation(graph, inputs), _inflation(graph, inverted["inputs"]))


class _Untold(Exception):
    """What a graph does not tell before it runs."""


def _inflation(graph: Graph, inputs: dict[str, Any]) -> Inflation | None:
    """How the model that a node takes is inflated, None for not.

    Raises:
        _Untold: The nodes that the model comes from do not tell.
    """
    for _ in graph:  # at most so many nodes stand before it
        entry = _before(graph, inputs, "model")
        inputs = entry.get("inputs", {})
        if entry.get("class_type") == INFLATE:
            return _inflation_by(inputs)
        if not isinstance(inputs.get("model"), list) or entry.get("class_type") in TUNED:
            break
    if not entry or any(links(inputs)):  # a switch, a merge, a tuned model that brings its own
        raise _Untold
    return None


def _inflation_by(inputs: dict[str, Any]) -> Inflation:
    """What Inflate UNet makes of its inputs."""
    names = ("key_frames", "custom_key_frames", "minimum_width", "normalise_across_frames")
    usual = next(iter(CHOICES)), "", 0, False
    values = [inputs.get(name, value) for name, value in zip(names, usual)]
    if any(isinstance(value, list) for value in values):
        raise _Untold
    chosen, custom, width, normalises = values
    try:
        return Inflation(parse_key_frames(CHOICES.get(chosen, custom)), int(width), bool(normalises))
    except ValueError:  # which the node itself refuses
        raise _Untold from None


def what_saving_changes(graph: Graph | None, node: str | None, clip: Clip) -> list[str]:
    """What each Video Save further on will have to change, each a sentence; of the frames, if an edit keeps their size.

    Args:
        graph: The prompt that runs, in ComfyUI's API format.
        node: The id of the running Video Load in it.
        clip: What it gives.
    """
    if not graph or node is None:
        return []
    height, width = clip.images.shape[1:3]
    found: list[str] = []
    for other in sorted(graph):
        name, inputs = SAVE.get(graph[other].get("class_type", "")), graph[other].get("inputs", {})
        format = inputs.get("format")
        if name is None or format not in list(formats()) or str(node) not in _asked_for(graph, [other]):
            continue
        size = (width * (2 if "compare_with" in inputs else 1), height)
        fps = clip.fps if inputs.get("fps") == [str(node), FPS_OUTPUT] else None
        audio = clip.audio if inputs.get("audio") == [str(node), AUDIO_OUTPUT] else None
        found += [f"{name}, further on: {note}" for note in changes(format, size, fps, audio)]
    return list(dict.fromkeys(found))


def what_encoding_drops(graph: Graph | None, node: str | None, frames: int) -> list[str]:
    """What the VAE of a video model will leave out of a clip, for each node further on that is given its latent.

    Which model it is, is told by the name of its file, since nothing is loaded yet.

    Args:
        graph: The prompt that runs, in ComfyUI's API format.
        node: The id of the running Video Load in it.
        frames: How many it gives.
    """
    found: list[str] = []
    for other in sorted(that_run(graph)) if graph and node is not None else []:
        kind, inputs = graph[other].get("class_type", ""), graph[other].get("inputs", {})
        encoder = _before(graph, inputs, "latent")
        if kind not in WITH_LATENT or encoder.get("class_type") not in _ENCODERS:
            continue
        if encoder["inputs"].get("pixels") != [str(node), IMAGES_OUTPUT]:
            continue
        family = _family_of(graph, inputs) or (WAN if kind == VIDEO_EDITOR else None)
        lost = (frames - 1) % family.frames_per_latent if family else 0
        if lost:
            kept, step = frames - lost, family.frames_per_latent
            found.append(
                f"{WITH_LATENT[kind]}, further on: of {frames} frames the model's VAE keeps {kept} (1 + a "
                f"multiple of {step}); set 'count' to {kept}, or to {kept + step}."
            )
    return list(dict.fromkeys(found))


def _family_of(graph: Graph, inputs: dict[str, Any]) -> Family | None:
    """The family of video models that a node's model is of, as far as the nodes say that it comes from."""
    for _ in graph:  # at most so many nodes stand before it
        entry = _before(graph, inputs, "model")
        inputs = entry.get("inputs", {})
        if entry.get("class_type") == _DEMO:
            return WAN
        if not isinstance(inputs.get("model"), list):
            names = " ".join(value for value in inputs.values() if isinstance(value, str)).lower()
            return next((family for family, name in _FILES.items() if re.search(name, names)), None)
    return None


def _before(graph: Graph, inputs: dict[str, Any], name: str) -> dict[str, Any]:
    """The node that an input's value comes from; empty for none."""
    link = inputs.get(name)
    return graph.get(str(link[0]), {}) if isinstance(link, list) else {}


def _takes(graph: Graph, inputs: dict[str, Any], node: str) -> bool:
    """Whether a node takes the edit, or a source run that was inverted with its prompt."""
    if inputs.get("edit") == [node, EDIT_OUTPUT]:
        return True
    run = inputs.get("source")
    inverted = graph.get(str(run[0]), {}).get("inputs", {}) if isinstance(run, list) else {}
    return "edit" not in inputs and inverted.get("source") == [node, SOURCE_OUTPUT]


def that_run(graph: Graph) -> set[str]:
    """The nodes that an output node asks for; others are never run."""
    import nodes  # ComfyUI's

    outputs = [
        name
        for name, entry in graph.items()
        if getattr(nodes.NODE_CLASS_MAPPINGS.get(entry.get("class_type", "")), "OUTPUT_NODE", False)
    ]
    return _asked_for(graph, outputs)


def _asked_for(graph: Graph, waiting: list[str]) -> set[str]:
    """Some nodes, and all that they take something from."""
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found and name in graph:
            found.add(name)
            waiting += [other for other, _ in links(graph[name].get("inputs", {}))]
    return found


def links(inputs: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """What comes into a node: of which nodes, and which of their outputs."""
    return ((str(value[0]), value[1]) for value in inputs.values() if isinstance(value, list) and len(value) == 2)
