"""The pack inside real ComfyUI servers, the newest and the oldest that we support: it loads, fast and without noise."""

import json
import re
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
NODES = {
    "FateZeroCoupledSampler",
    "FateZeroVideoLoad",
    "FateZeroVideoSave",
    "FateZeroFitMask",
    "FateZeroEditPrompts",
    "FateZeroInflate",
    "FateZeroInvert",
    "FateZeroAttentionMask",
    "FateZeroAttentionBlend",
    "FateZeroBlendSampler",
    "FateZeroComposite",
    "FateZeroLoadDemoModel",
    "FateZeroLoadDemoVideoModel",
    "FateZeroEditReport",
    "FateZeroSaveSource",
    "FateZeroLoadSource",
    "FateZeroNullText",
    "FateZeroAttentionHeatMap",
    "FateZeroCompareVideos",
    "FateZeroTune",
    "FateZeroSaveTuned",
    "FateZeroLoadTuned",
}


def test_the_server_offers_exactly_our_nodes(either_server):
    offered = {
        name for name, node in either_server.object_info().items() if node["python_module"] == "custom_nodes.fatezero"
    }
    assert offered == NODES


def test_loading_is_fast_and_leaves_nothing_else_in_the_log(either_server, archive):
    start = either_server.log_text().partition("To see the GUI")[0]
    ours = re.compile(re.escape(str(either_server.base / "custom_nodes" / "fatezero")) + r"\b")
    lines = [line for line in start.splitlines() if ours.search(line) or str(archive) in line]
    assert len(lines) == 1, lines  # a traceback or a failed import would name the pack's files as well
    seconds = re.search(r"([\d.]+) seconds: ", lines[0])
    assert seconds, lines
    assert float(seconds[1]) < either_server.seconds_to_start / 5  # about 1.5 s, on a busy machine more


def test_every_node_has_a_help_page(either_server):
    for node in sorted(NODES):
        pages = (f"/extensions/fatezero/docs/{node}/en.md", f"/extensions/fatezero/docs/{node}.md")
        answers = [either_server.request("GET", page) for page in pages]
        assert any(status == 200 and content.startswith(b"#") for status, content in answers), node


def test_the_template_browser_shows_every_workflow_with_a_thumbnail(either_server):
    shipped = {file.stem for file in (PACK / "workflows").glob("*.json")}
    assert shipped and set(either_server.get("/workflow_templates")["fatezero"]) == shipped
    for name in shipped:
        status, content = either_server.request("GET", f"/api/workflow_templates/fatezero/{name}.json")
        assert status == 200 and json.loads(content)["nodes"]
        status, content = either_server.request("GET", f"/api/workflow_templates/fatezero/{name}.jpg")
        assert status == 200 and content.startswith(b"\xff\xd8"), f"{name} has no thumbnail"
