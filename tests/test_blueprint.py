"""The blueprint *Edit Video by Prompt*: ComfyUI offers it, and as one node with a clip and two prompts it edits."""

import json
from pathlib import Path

import pytest

from tools.workflow_prompt import prompt_from_workflow
from workflow_runs import completed

(FILE,) = (Path(__file__).resolve().parent.parent / "subgraphs").glob("*.json")
BLUEPRINT = json.loads(FILE.read_text(encoding="utf-8"))
(SUBGRAPH,) = BLUEPRINT["definitions"]["subgraphs"]
(NODE,) = BLUEPRINT["nodes"]
INSIDE, OUTSIDE = -10, -20  # the ids of a subgraph's own inputs and outputs in its links
LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")


def unpacked(clip, model):
    """The workflow inside, with (node id, slot) in the place of its inputs; those of widgets keep their values."""
    given = {"images": (clip, 0), "model": (model, 0), "clip": (model, 1), "vae": (model, 2)}
    nodes, links = json.loads(json.dumps(SUBGRAPH["nodes"])), []
    for link in SUBGRAPH["links"]:
        name = SUBGRAPH["inputs"][link["origin_slot"]]["name"] if link["origin_id"] == INSIDE else None
        if link["target_id"] == OUTSIDE:
            continue
        if name is None or name in given:
            origin = given[name] if name else (link["origin_id"], link["origin_slot"])
            links.append([link["id"], *origin, link["target_id"], link["target_slot"], link["type"]])
        else:
            target = next(node for node in nodes if node["id"] == link["target_id"])
            target["inputs"][link["target_slot"]]["link"] = None
    return {"nodes": nodes, "links": links}


def test_what_it_shows_is_what_a_person_needs():
    assert [slot["name"] for slot in NODE["inputs"] if "widget" not in slot] == ["images", "model", "clip", "vae"]
    assert [name for _, name in NODE["properties"]["proxyWidgets"]] == [
        "source_prompt",
        "target_prompt",
        "preset",
        "steps",
        "cfg",
    ]
    assert NODE["type"] == SUBGRAPH["id"] and [slot["type"] for slot in NODE["outputs"]] == ["IMAGE"]


def test_its_links_meet_sockets_of_their_type():
    nodes = {node["id"]: node for node in SUBGRAPH["nodes"]}
    for link in SUBGRAPH["links"]:
        _, origin, origin_slot, target, target_slot, kind = (link[key] for key in LINK)
        source = SUBGRAPH["inputs"][origin_slot] if origin == INSIDE else nodes[origin]["outputs"][origin_slot]
        sink = SUBGRAPH["outputs"][target_slot] if target == OUTSIDE else nodes[target]["inputs"][target_slot]
        assert source["type"] == sink["type"] == kind


@pytest.mark.slow
def test_it_edits_a_clip(server):
    assert FILE.stem in [entry["name"] for entry in server.get("/global_subgraphs").values()]
    prompt = prompt_from_workflow(unpacked(100, 101), server.object_info())
    prompt["100"] = {
        "class_type": "FateZeroVideoLoad",
        "inputs": {"file": "demo/red_circle_on_grass.mp4", "count": 2, "start": 0, "every_nth": 1, "width": 0}
        | {"height": 0, "fit": "crop", "grid": "8"},
    }
    prompt["101"] = {"class_type": "FateZeroLoadDemoModel", "inputs": {}}
    prompt["102"] = {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}
    prompt["3"]["inputs"].update(source_prompt="a red circle on green grass", target_prompt="a blue circle on grass")
    prompt["7"]["inputs"]["steps"] = 2
    assert len(completed(server, prompt).outputs["102"]["images"]) == 2
