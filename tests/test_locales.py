"""The translations name inputs and outputs that exist, and are complete where they claim to be."""

import asyncio
import json
from pathlib import Path

import pytest

from fatezero_pack.nodes import FateZeroExtension

LOCALES = Path(__file__).resolve().parent.parent / "locales"
NODES = {node.define_schema().node_id: node for node in asyncio.run(FateZeroExtension().get_node_list())}


def translation(language):
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def inputs(node):
    """{key as the frontend looks it up: whether its tooltip is looked up, too}; a preset's inputs bring their own."""
    found = {}
    for item in NODES[node].define_schema().inputs:
        found[item.id] = True
        for option in getattr(item, "options", None) or []:
            for nested in getattr(option, "inputs", []):
                found[f"{item.id}_{nested.id}"] = False
    return found


@pytest.mark.parametrize("language", sorted(folder.name for folder in LOCALES.iterdir()))
def test_only_what_exists_is_translated(language):
    for node, texts in translation(language).items():
        assert set(texts.get("inputs", {})) <= set(inputs(node)), node
        assert len(texts.get("outputs", {})) in (0, len(NODES[node].define_schema().outputs)), node


def test_english_labels_have_no_underscores():
    english = translation("en")
    for node in NODES:
        for name in inputs(node):
            label = english.get(node, {}).get("inputs", {}).get(name, {}).get("name", name)
            assert "_" not in label, f"{node}: {name}"


def test_chinese_is_complete():
    chinese = translation("zh")
    assert set(chinese) == set(NODES)
    for node, texts in chinese.items():
        assert texts["display_name"] and texts["description"]
        for name, has_tooltip in inputs(node).items():
            assert texts["inputs"][name]["name"]
            assert bool(texts["inputs"][name].get("tooltip")) == has_tooltip, f"{node}: {name}"
        assert [text["name"] and text["tooltip"] for text in texts["outputs"].values()]
