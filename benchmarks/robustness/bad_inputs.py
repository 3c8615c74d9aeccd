"""Prompts that no one should send: one node's inputs, changed to what people, other nodes and chance make of them."""

import json
from typing import Any

from hypothesis import strategies as st

from .graph import GOOD, Prompt, inputs_of, part_for

NAN, INFINITE = float("nan"), float("inf")

# Valid values of these take minutes or gigabytes; small ones are drawn.
COSTLY = {"steps", "inner_steps", "width", "height", "count", "rank", "batch_size", "length", "seconds", "duration"}
SMALL = 96

# Who else gives what comes over a wire: nodes of ComfyUI, and the tests' node that gives anything.
OTHERS = {
    "MODEL": """
        ModelSamplingDiscrete ModelSamplingContinuousEDM ModelSamplingSD3 FreeU_V2 HyperTile TomePatchModel RescaleCFG
        PerturbedAttentionGuidance PatchModelAddDownscale ContextWindowsManual FateZeroInflate FateZeroTune
    """,
    "CLIP": "CLIPSetLastLayer",
    "CONDITIONING": """
        ConditioningZeroOut ConditioningSetArea ConditioningSetMask ConditioningSetTimestepRange ConditioningCombine
        ConditioningConcat CLIPTextEncode
    """,
    "LATENT": """
        EmptyLatentImage EmptySD3LatentImage EmptyHunyuanLatentVideo EmptyLatentAudio LatentBatch LatentUpscale
        RepeatLatentBatch SetLatentNoiseMask
    """,
    "IMAGE": "EmptyImage ImageScale",
    "MASK": "SolidMask InvertMask ImageToMask",
    "AUDIO": "EmptyAudio",
    "VIDEO": "CreateVideo",
    "FZ_SOURCE": "FateZeroInvert TestMalformedSource",
    "FZ_EDIT": "FateZeroEditPrompts",
}
ANYTHING, LOOK = "TestAnything", "TestLook"
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR")
PRIMITIVES = ("PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString")

_NUMBERS = st.sampled_from([-1, 0, 1, 0.5, 1e-9, -1e9, 2**31, 2**63, 10**30, 1e300, NAN, INFINITE, -INFINITE])
_STRANGERS = st.sampled_from(["", "x", "3", None, True, [], {}, ["demo", 0], ["nowhere", 0], ["demo", 9], [1, 2, 3]])

# What the fields for words, windows, key frames and names are made of, and what slips in.
_WORDS = "a red blue circle green on grass zebra watercolor very of painting current middle".split()
_MARKS = [*",:;-+*/()[]{}\"'|<>&%=~.\\", " ", "\n", "\t", "\0", "\ud800", *"，：～；", "\u3000", "é", "日本", "🎈"]
_FIGURES = ["0", "1", "0.5", "1,5", "-3", "20", "1e9", "inf", "nan", "9" * 50, "0.2-0.8", "0.8-0.2", "50%"]
_PATHS = ["..", "/", "\\", "C:", "%date:yyyy-MM-dd%", "%width%", "%nothing%", "~", "con", "a" * 300, "x/" * 50, "."]
_LONG = ["red circle," * 200, "(" * 500 + "red" + ")" * 500, "blue:" + "1" * 5000, "<b>red</b>", "embedding:x"]
_PIECES = st.lists(st.sampled_from([*_WORDS, *_MARKS, *_FIGURES]), max_size=12)
TEXTS = st.one_of(
    _PIECES.map(" ".join),
    _PIECES.map("".join),
    st.lists(st.sampled_from([*_PATHS, *_WORDS[:3], *_MARKS[:4]]), max_size=5).map("".join),
    st.text(max_size=20),
    st.sampled_from(_LONG),
)


def values(kind: str, options: dict[str, Any], name: str) -> st.SearchStrategy:
    """What may stand in a widget: values that it takes, at its edges and far beyond, and of other types."""
    if kind in ("INT", "FLOAT"):
        within = _within(kind, options, name)
        numbers = st.one_of(within, within, within, _edges(options), _NUMBERS, _STRANGERS)
        return numbers.filter(lambda value: value != 0) if name == "steps" else numbers  # 0: as many as the preset has
    if kind == "BOOLEAN":
        return st.one_of(st.booleans(), st.booleans(), _NUMBERS, _STRANGERS)
    if kind in ("COMBO", "COMFY_DYNAMICCOMBO_V3"):
        choice = st.sampled_from(_choices(options))
        return st.one_of(choice, choice, choice, TEXTS, _STRANGERS)
    return st.one_of(*[TEXTS] * 7, _STRANGERS)


def _choices(options: dict[str, Any]) -> list[str]:
    return [choice["key"] if isinstance(choice, dict) else choice for choice in options.get("options", ())] or [""]


def _within(kind: str, options: dict[str, Any], name: str) -> st.SearchStrategy:
    least, most = options.get("min", 0), options.get("max", 100)
    if name.rpartition(".")[2] in COSTLY:
        least = max(least, 1) if name == "steps" else least
        most = min(most, least + (SMALL if name in ("width", "height") else 2))
    return st.integers(least, most) if kind == "INT" else st.floats(least, most)


def _edges(options: dict[str, Any]) -> st.SearchStrategy:
    least, most = options.get("min", 0), options.get("max", 100)
    return st.sampled_from([least, least - 1, most + 1, least - 0.001, most * 2 + 1])


@st.composite
def spoilt(draw, graph: Prompt, information: dict[str, Any], node: str) -> tuple[Prompt, dict[str, Any]]:
    """A prompt with one node of the graph, of whose inputs one to three were changed; and what they were changed to."""
    prompt = json.loads(json.dumps(graph))
    kind, inputs = prompt[node]["class_type"], prompt[node]["inputs"]
    known = list(inputs_of(information[kind], inputs))
    chosen = (
        draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique_by=lambda item: item[0])) if known else []
    )
    changes = {}
    for name, wire, options in chosen:
        if draw(st.integers(0, 19)):
            changes[name] = inputs[name] = _changed(draw, prompt, information, wire, options, name)
        else:
            changes[name] = inputs.pop(name, None) and "left out"
    return only(prompt, node), {name: _told(value, prompt) for name, value in changes.items()}


def only(graph: Prompt, node: str) -> Prompt:
    """A node of the graph and what it needs, looked at by a node that makes it run."""
    return part_for({**graph, "look": {"class_type": LOOK, "inputs": {"value": [node, 0]}}}, "look")


def _changed(draw, prompt: Prompt, information, kind: str, options: dict[str, Any], name: str) -> Any:
    """Another value for a widget, typed or linked, or another node for a wire."""
    if kind in WIDGETS and draw(st.integers(0, 3)):
        return draw(values(kind, options, name))
    kinds = kind.split(",")
    others = [other for wire in kinds for other in OTHERS.get(wire, "").split() if other in information]
    other = draw(st.sampled_from([*others, *others, *PRIMITIVES, ANYTHING]))
    if other in PRIMITIVES:
        inputs = {"value": draw(values(kind, options, name).filter(lambda value: not isinstance(value, list)))}
    else:
        wanted = {
            name: item for section in ("required",) for name, item in information[other]["input"][section].items()
        }
        inputs = {
            inner: _filled(draw, wire, inner_options, inner)
            for inner, wire, inner_options in inputs_of(information[other], {})
            if inner.partition(".")[0] in wanted
        }
    prompt[f"other {name}"] = {"class_type": other, "inputs": inputs}
    outputs = information[other]["output"]
    return [f"other {name}", next((index for index, output in enumerate(outputs) if output in kinds), 0)]


def _filled(draw, kind: str, options: dict[str, Any], name: str) -> Any:
    """A value for an input of another node: a link to a good node, or what its widget takes."""
    if kind in GOOD:
        return GOOD[kind]
    if kind in ("INT", "FLOAT"):
        return draw(_within(kind, options, name))
    if kind in ("COMBO", "COMFY_DYNAMICCOMBO_V3"):
        return draw(st.sampled_from(_choices(options)))
    return draw(st.booleans() if kind == "BOOLEAN" else TEXTS)


def _told(value: Any, prompt: Prompt) -> Any:
    """A change for a person to read: of a link, the node that was put there."""
    if isinstance(value, list) and value and str(value[0]).startswith("other "):
        return [prompt[value[0]]["class_type"], prompt[value[0]]["inputs"], value[1]]
    return value
