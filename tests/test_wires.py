"""Every input of every node, given what it cannot take: one sentence with the node's name and the input's."""

import asyncio
import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from edit_cases import TOKENIZER, clip_latent, conditioning, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.compat import io
from fatezero_pack.fatezero.prompts.prompt_edit import PromptEdit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.source_run import SourceRun
from fatezero_pack.fatezero.video.clip import ClipFit
from fatezero_pack.fatezero.video.frames import Placement
from fatezero_pack.nodes import FateZeroExtension
from fatezero_pack.nodes.shared.checked import label

NODES = {node.define_schema().display_name: node for node in asyncio.run(FateZeroExtension().get_node_list())}
NAN, INFINITE = float("nan"), float("inf")
EDIT = prompt_edit()


@cache
def source() -> SourceRun:
    with torch.inference_mode():
        return inverted(small_model(), EDIT)


class Video:
    def get_components(self):
        raise AssertionError("read before all inputs were checked")


class ClipVision:
    model, encode_image = None, None


def spoilt(tensor, value=NAN):
    tensor = tensor.clone()
    tensor.view(-1)[0] = value
    return tensor


GOOD = {
    "MODEL": cache(small_model),
    "CLIP": lambda: TOKENIZER,
    "CLIP_VISION": ClipVision,
    "LATENT": lambda: {"samples": clip_latent()},
    "CONDITIONING": lambda: conditioning(EDIT.source),
    "IMAGE": lambda: torch.zeros(2, 16, 16, 3),
    "MASK": lambda: torch.zeros(2, 16, 16),
    "VIDEO": Video,
    "AUDIO": lambda: {"waveform": torch.zeros(1, 2, 8), "sample_rate": 8000},
    "FZ_SOURCE": source,
    "FZ_EDIT": lambda: EDIT,
    "BOUNDING_BOX": lambda: {"x": 1, "y": 2, "width": 8, "height": 8},
    "FZ_FIT": lambda: ClipFit((16, 16), Placement((16, 16), (16, 16)), (0, 1)),
}
EMBEDDING = conditioning(EDIT.source)[0][0]
IMAGE, MASK = torch.zeros(2, 16, 16, 3), torch.zeros(2, 16, 16)
BAD = {
    "MODEL": lambda: ["a text", object(), IMAGE],
    "CLIP": lambda: ["a text", IMAGE],
    "CLIP_VISION": lambda: ["a text", IMAGE],
    "LATENT": lambda: ["a text", {}, {"samples": None}, {"samples": torch.zeros(2, 4, 16, 0)}, clip_latent()],
    "CONDITIONING": lambda: [
        "a text",
        [],
        [None],
        [[None, {}]],
        [[EMBEDDING]],
        [[EMBEDDING, None]],
        EMBEDDING,
        [[EMBEDDING[0], {}]],
        [[EMBEDDING[:, :0], {}]],
        [[spoilt(EMBEDDING), {}]],
        [[EMBEDDING, {}], [spoilt(EMBEDDING, INFINITE), {}]],
    ],
    "IMAGE": lambda: ["a text", IMAGE[:0], IMAGE[0], IMAGE[..., :2], IMAGE[:, :, :0], IMAGE.long(), spoilt(IMAGE)],
    "MASK": lambda: ["a text", MASK[:0], MASK[0, 0], IMAGE, MASK[:, :0], spoilt(MASK), spoilt(MASK, -INFINITE)],
    "VIDEO": lambda: ["clip.mp4", IMAGE],
    "AUDIO": lambda: ["a text", {}, {"waveform": None, "sample_rate": 1}, {"waveform": torch.zeros(1, 2, 8)}],
    "FZ_SOURCE": lambda: [
        "a text",
        EDIT,
        SourceRun.__new__(SourceRun),
        replace(source(), version=99),
        replace(source(), version=None),
        replace(source(), trajectory=None),
        replace(source(), trajectory=source().trajectory[:-1]),
        replace(source(), trajectory=source().trajectory[..., :0]),
        replace(source(), word_maps=source().word_maps[:, :1]),
        replace(source(), sigmas=[1.0, 2.0]),
        replace(source(), conditioning=None),
        replace(source(), conditioning=[]),
        replace(source(), trajectory=spoilt(source().trajectory)),
        replace(source(), tokens="a text"),
    ],
    "FZ_FIT": lambda: ["a text", (16, 16)],
    "BOUNDING_BOX": lambda: ["a text", IMAGE, 3, [5], {"x": 1}, [[{"x": NAN, "y": 0, "width": 1, "height": 1}]]],
    "FZ_EDIT": lambda: [
        "a text",
        source(),
        object.__new__(PromptEdit),
        replace(EDIT, version=99),
        replace(EDIT, source=None),
        replace(EDIT, mapper=None),
        replace(EDIT, mapper=EDIT.mapper[:-1]),
        replace(EDIT, emphasis=EDIT.emphasis[None]),
        replace(EDIT, windows=None),
        replace(EDIT, source_mask_tokens=None),
        replace(EDIT, target=prompt_edit(target="a jeep " * 60).target),
    ],
    "LATENT,MODEL": lambda: ["a text", IMAGE, {"samples": None}],
    "STRING": lambda: [5, b"bytes", ["a", "list"]],
    "BOOLEAN": lambda: ["yes", 0.5],
    "COLOR": lambda: ["nonsense", 5],
}
WIDGETS = (io.Combo.Input, io.DynamicCombo.Input, io.Int.Input, io.Float.Input, io.String.Input, io.Boolean.Input)


def inputs():
    """(node, input) of all nodes, and of each input that a choice shows (node, input, choice, input of the choice)."""
    for name, node in NODES.items():
        for item in node.define_schema().inputs:
            yield pytest.param(name, (item.id,), id=f"{name}-{item.id}")
            options = item.options if isinstance(item, io.DynamicCombo.Input) else []
            shown = {nested.id: option.key for option in options for nested in option.inputs}
            for nested, option in shown.items():
                yield pytest.param(name, (item.id, option, nested), id=f"{name}-{item.id}-{nested}")


@cache
def good_inputs(node):
    values = {}
    for item in node.define_schema().inputs:
        kind = item.get_io_type()
        if isinstance(item, io.DynamicCombo.Input):
            values[item.id] = {item.id: item.options[0].key}
        elif isinstance(item, io.Combo.Input):
            values[item.id] = item.default or (item.options or ["none"])[0]
        elif isinstance(item, WIDGETS):
            values[item.id] = "a jeep" if item.default is None else item.default
        elif kind in GOOD and not item.optional:
            values[item.id] = GOOD[kind]()
    return values


def bad_values(item):
    kind = item.get_io_type()
    missing = [None] if not item.optional or isinstance(item, WIDGETS) else []
    if isinstance(item, io.DynamicCombo.Input):
        return [None, "nonsense", {}, {item.id: "nonsense"}, {item.id: None}]
    if isinstance(item, io.Combo.Input):
        return [None, "nonsense", 5, IMAGE]
    if isinstance(item, io.Int.Input):
        return [*missing, item.min - 1, item.max + 1, 1.5, "3", NAN, IMAGE]
    if isinstance(item, io.Float.Input):
        return [*missing, item.min - 0.001, item.max * 2 + 1, "0.5", NAN, INFINITE, -INFINITE, IMAGE]
    return missing + BAD[kind]()


@pytest.mark.parametrize("name, path", list(inputs()))
def test_what_an_input_cannot_take_is_refused_by_name(name, path):
    node = NODES[name]
    schema = node.define_schema()
    item = next(item for item in schema.inputs if item.id == path[0])
    shown = label(schema.node_id, "_".join((path[0], *path[2:])))
    if len(path) > 1:
        option = next(option for option in item.options if option.key == path[1])
        item = next(nested for nested in option.inputs if nested.id == path[2])
    for value in bad_values(item):
        given = value if len(path) == 1 else {path[0]: path[1], path[2]: value}
        with pytest.raises(Refusal) as refusal, torch.inference_mode():
            node.execute(**{**good_inputs(node), path[0]: given})
        message = str(refusal.value)
        assert message.startswith(f"{name}: ") and f"'{shown}'" in message, (value, message)
        assert "\n" not in message and message.endswith("."), message
        assert not re.search(r"[a-z)]\. [A-Z]", message) and len(message) < 400, message


def test_a_choice_that_comes_over_a_wire_and_what_it_shows():
    """ComfyUI then hands over the choice's name, and the inputs that it shows one by one."""
    node = NODES["Attention Blend"]
    values = {**good_inputs(node), "preset": "style"}
    with torch.inference_mode():
        assert node.execute(**values, **{"preset.self_until": 0.5}).result
        with pytest.raises(Refusal, match="'self-attention until' is 5; choose 0 to 1"):
            node.execute(**values, **{"preset.self_until": 5})
