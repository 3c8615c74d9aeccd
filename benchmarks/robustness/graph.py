"""One small graph with every node of the pack, to be run, spoilt and interrupted."""

import json
from collections.abc import Iterator
from typing import Any

Prompt = dict[str, dict[str, Any]]  # as ComfyUI's API has it

CLIP, PROMPTS = "demo/red_circle_on_grass.mp4", ("a red circle on green grass", "a blue circle on green grass")
SIDE, FRAMES, STEPS = 64, 2, 2
READER = "load source"  # reads what the graph's first run saves

# Node ids, class names and the inputs that differ from the nodes' own defaults; a list is a link.
NODES = {
    "load": ("FateZeroVideoLoad", {"file": CLIP, "count": FRAMES, "width": SIDE, "height": SIDE}),
    "demo": ("FateZeroLoadDemoModel", {}),
    "prompts": ("FateZeroEditPrompts", {"clip": ["demo", 1], "source_prompt": PROMPTS[0], "target_prompt": PROMPTS[1]}),
    "empty": ("CLIPTextEncode", {"clip": ["demo", 1], "text": ""}),
    "encode": ("VAEEncode", {"pixels": ["load", 0], "vae": ["demo", 2]}),
    "tune": ("FateZeroTune", {"model": ["demo", 0], "source": ["prompts", 0], "latent": ["encode", 0], "steps": STEPS}),
    "save tuned": ("FateZeroSaveTuned", {"model": ["tune", 0]}),
    "inflate": ("FateZeroInflate", {"model": ["demo", 0]}),
    "invert": (
        "FateZeroInvert",
        {"model": ["inflate", 0], "source": ["prompts", 0], "latent": ["encode", 0], "steps": STEPS},
    ),
    "null text": (
        "FateZeroNullText",
        {"model": ["inflate", 0], "source": ["invert", 1], "negative": ["empty", 0], "inner_steps": 1},
    ),
    "save source": ("FateZeroSaveSource", {"source": ["null text", 0]}),
    "mask": ("FateZeroAttentionMask", {"source": ["invert", 1], "edit": ["prompts", 2], "images": ["load", 0]}),
    "heat map": ("FateZeroAttentionHeatMap", {"source": ["invert", 1], "images": ["load", 0]}),
    "blend": (
        "FateZeroAttentionBlend",
        {"model": ["inflate", 0], "source": ["invert", 1], "edit": ["prompts", 2], "preset": "style"},
    ),
    "ksampler": (
        "KSampler",
        {
            "model": ["blend", 0],
            "positive": ["prompts", 1],
            "negative": ["empty", 0],
            "latent_image": ["invert", 0],
            "steps": STEPS,
            "scheduler": "ddim_uniform",
        },
    ),
    "edit": (
        "FateZeroBlendSampler",
        {
            "model": ["inflate", 0],
            "source": ["invert", 1],
            "edit": ["prompts", 2],
            "positive": ["prompts", 1],
            "negative": ["empty", 0],
            "preset": "attribute",
        },
    ),
    "decode": ("VAEDecode", {"samples": ["edit", 0], "vae": ["demo", 2]}),
    "composite": ("FateZeroComposite", {"original": ["load", 0], "edited": ["decode", 0], "mask": ["mask", 0]}),
    "report": (
        "FateZeroEditReport",
        {"before": ["load", 0], "after": ["composite", 0], "edit": ["prompts", 2], "made_by": ["edit", 0]},
    ),
    "compare": ("FateZeroCompareVideos", {"first": ["load", 0], "second": ["composite", 0]}),
    "picture": ("EmptyImage", {"width": SIDE, "height": SIDE, "batch_size": FRAMES}),
    "picture encode": ("VAEEncode", {"pixels": ["picture", 0], "vae": ["demo", 2]}),
    "shape": ("SolidMask", {"width": SIDE, "height": SIDE}),
    "fit mask": ("FateZeroFitMask", {"mask": ["shape", 0], "fit": ["load", 4]}),
    "silence": ("EmptyAudio", {"duration": 0.25}),
    "save": ("FateZeroVideoSave", {"images": ["composite", 0], "fps": ["load", 1], "audio": ["silence", 0]}),
    "load tuned": ("FateZeroLoadTuned", {"model": ["demo", 0]}),  # the one that the pack brings along
    READER: ("FateZeroLoadSource", {"model": ["inflate", 0], "file": "fatezero/source_00001_.safetensors [output]"}),
    "demo video": ("FateZeroLoadDemoVideoModel", {}),
    "wan": ("TestTinyVideoModel", {"kind": "wan"}),
    "wan prompts": (
        "FateZeroEditPrompts",
        {"clip": ["wan", 1], "source_prompt": PROMPTS[0], "target_prompt": PROMPTS[1]},
    ),
    "coupled": (
        "FateZeroCoupledSampler",
        {
            "model": ["wan", 0],
            "edit": ["wan prompts", 2],
            "source": ["wan prompts", 0],
            "positive": ["wan prompts", 1],
            "negative": ["wan prompts", 0],
            "latent": ["wan", 2],
            "steps": STEPS,
        },
    ),
}
# What no output node of the pack asks for.
SHOWN = ("ksampler", "fit mask", "load tuned", READER, "demo video", "coupled")

# A good output of each type, none of which depends on Video Load or on the model's patches.
GOOD = {
    "MODEL": ["demo", 0],
    "CLIP": ["demo", 1],
    "VAE": ["demo", 2],
    "CONDITIONING": ["prompts", 0],
    "LATENT": ["picture encode", 0],
    "IMAGE": ["picture", 0],
    "MASK": ["shape", 0],
    "AUDIO": ["silence", 0],
    "FZ_SOURCE": ["invert", 1],
    "FZ_EDIT": ["prompts", 2],
}


def whole_graph(information: dict[str, Any]) -> Prompt:
    """The graph as a prompt of ComfyUI's API.

    Args:
        information: What `/object_info` says of the nodes; gives every widget that the graph leaves out.
    """
    prompt: Prompt = {}
    for name, (kind, given) in NODES.items():
        inputs = {**_defaults(information[kind], given), **json.loads(json.dumps(given))}
        prompt[name] = {"class_type": kind, "inputs": inputs}
    for node in SHOWN:
        prompt[f"show {node}"] = {"class_type": "PreviewAny", "inputs": {"source": [node, 0]}}
    return prompt


def first_run(prompt: Prompt) -> Prompt:
    """The graph without what reads the files that it saves."""
    return {name: node for name, node in prompt.items() if name not in (READER, f"show {READER}")}


def part_for(prompt: Prompt, node: str) -> Prompt:
    """A node of a prompt with all that it needs, and nothing else."""
    part = {node: prompt[node]}
    for value in prompt[node]["inputs"].values():
        if isinstance(value, list) and value and isinstance(value[0], str) and value[0] in prompt:
            part |= part_for(prompt, value[0])
    return part


def inputs_of(node: dict[str, Any], choices: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every input of a node, those that a choice shows among them: its name, its type and its options.

    Args:
        node: What `/object_info` says of it.
        choices: The choices made, by the input's name; the first one where nothing is chosen.
    """
    for section in ("required", "optional"):
        for name, (kind, *options) in node["input"].get(section, {}).items():
            options = options[0] if options else {}
            if isinstance(kind, list):  # as older nodes write a choice
                kind, options = "COMBO", {**options, "options": kind}
            yield name, kind, options
            if kind == "COMFY_DYNAMICCOMBO_V3":
                shown = {option["key"]: {"input": option["inputs"]} for option in options["options"]}
                chosen = choices.get(name, next(iter(shown)))
                yield from (
                    (f"{name}.{inner}", *rest) for inner, *rest in inputs_of(shown.get(chosen, {"input": {}}), {})
                )


def _defaults(node: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets as the frontend fills them in."""
    values = {}
    for name, kind, options in inputs_of(node, given):
        choices = options.get("options") if kind == "COMBO" else None
        if "default" in options or choices:
            values[name] = options["default"] if "default" in options else choices[0]
    return values
