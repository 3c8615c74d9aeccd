"""The pictures of ComfyUI's page in docs/screens: `python dev.py screens` makes them anew, in some minutes."""

import json
import sys
import tempfile
from itertools import count
from pathlib import Path

from PIL import Image

from demo.clips import write_mp4
from demo.world import Scene, Thing, render, video

from .comfyui_server import ComfyUIServer, device_arguments
from .environment import NEWEST, ROOT, comfyui
from .frontend import FIT, LOAD, READY, browser, open_page, setting

FOLDER = ROOT / "docs" / "screens"
STEPS = 12
OWN = "own.mp4"  # drawn as a person's own clip might come in: 1280x720, 24 frames
OWN_SCENE = Scene("water", (Thing("orange", "star", 0.4, 0.5, 0.2),), ground_seed=4)

# Two further nodes for the demo's graph, beside what it has: what they show is what a person would look at next.
ADD = """() => {
    const graph = app.graph, find = type => graph.nodes.find(node => node.type === type);
    const [clip, prompts, invert, sampler, decode] = ['FateZeroVideoLoad', 'FateZeroEditPrompts', 'FateZeroInvert',
        'FateZeroBlendSampler', 'VAEDecode'].map(find);
    const add = (type, links, width, x, height = 0) => {
        const node = LiteGraph.createNode(type);
        graph.add(node);
        node.pos = [x, 1250];
        for (const [input, from, output] of links)
            from.connect(from.outputs.findIndex(({name}) => name === output), node,
                node.inputs.findIndex(({name}) => name === input));
        node.setSize([width, Math.max(height, node.size[1])]);
        return node;
    };
    const heat = [['source', invert, 'source'], ['images', clip, 'images']];
    const { widgets } = add('FateZeroAttentionHeatMap', heat, 420, 0, 500);
    widgets.find(({name}) => name === 'words').value = 'circle, grass';
    const mask = add('FateZeroAttentionMask',
        [['source', invert, 'source'], ['edit', prompts, 'edit']], 300, 450);
    mask.widgets.find(({name}) => name === 'words').value = 'circle';
    add('FateZeroEditReport', [['before', clip, 'images'], ['after', decode, 'IMAGE'], ['mask', mask, 'mask'],
        ['edit', prompts, 'edit'], ['source', invert, 'source'], ['made_by', sampler, 'latent']], 560, 800);
}"""
SET = """([type, values]) => {
    for (const widget of app.graph.nodes.find(node => node.type === type).widgets)
        if (widget.name in values) {
            widget.value = values[widget.name];
            widget.callback?.(widget.value);
        }
}"""
RUN = """() => {
    window.ended = null;
    for (const event of ['execution_success', 'execution_error'])
        app.api.addEventListener(event, () => (window.ended = event), {once: true});
    app.queuePrompt(0, 1).then(() => app.lastNodeErrors && (window.ended = JSON.stringify(app.lastNodeErrors)));
}"""
NEAR = """([type, scale]) => {
    const {pos} = app.graph.nodes.find(node => node.type === type), {ds} = app.canvas;
    ds.scale = scale;
    ds.offset = [100 / scale - pos[0], 160 / scale - pos[1]];  // below the page's own buttons
    app.graph.setDirtyCanvas(true, true);
}"""
BOX = """type => {
    const {pos, size} = app.graph.nodes.find(node => node.type === type), {scale, offset} = app.canvas.ds;
    return {x: (pos[0] + offset[0] - 8) * scale, y: (pos[1] + offset[1] - 36) * scale,
        width: (size[0] + 16) * scale, height: (size[1] + 44) * scale};
}"""


def main() -> None:
    demo = json.loads((ROOT / "workflows" / "fatezero_video_edit_demo_color_edit.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as base, browser() as chrome:
        (Path(base) / "input").mkdir()
        write_mp4(Path(base) / "input" / OWN, [render(scene, 720, 1280) for scene in video(OWN_SCENE, 24, 3)])
        with _server(base) as server:
            page = open_page(chrome, server.url, [])
            steps = count(STEPS)  # another number for each page: what is kept from a run before shows no preview
            page.evaluate(LOAD, demo)
            _run(page, first := next(steps))
            _whole(page, "after_the_demo", 1400)
            _node(page, "FateZeroEditPrompts", "table", 1.2)
            page.evaluate(ADD)
            _run(page, first)
            _node(page, "FateZeroEditReport", "report", 1.0)
            _node(page, "FateZeroAttentionHeatMap", "heat_map", 1.0)
            page.evaluate(LOAD, demo)
            page.evaluate(SET, ["FateZeroVideoLoad", {"file": OWN, "start": 8, "grid": "64", "size_for": "SD 1.x"}])
            _node(page, "FateZeroVideoLoad", "own_clip", 0.9)
            for language, name in (("zh", "chinese"), ("ja", "japanese")):
                _in_language(page, language)
                page.evaluate(LOAD, demo)
                _run(page, next(steps))
                _whole(page, name, 1400)
            _in_language(page, "en")
            page.close()
            page = open_page(chrome, server.url, [], nodes_2=True)
            page.evaluate(LOAD, demo)
            _run(page, next(steps))
            _whole(page, "nodes_2", 1400)


def _server(base: str) -> ComfyUIServer:
    arguments = [*device_arguments(sys.executable), "--preview-method", "auto"]
    return ComfyUIServer(comfyui(NEWEST), sys.executable, base, {"fatezero": ROOT}, arguments)


def _run(page, steps: int) -> None:
    page.evaluate(SET, ["FateZeroInvert", {"steps": steps}])
    page.evaluate(RUN)
    page.wait_for_function("() => window.ended", timeout=600_000)
    if (ended := page.evaluate("() => window.ended")) != "execution_success":
        raise RuntimeError(f"the demo did not run: {ended}")


def _in_language(page, language: str) -> None:
    setting(page, "Comfy.Locale", language)
    page.wait_for_timeout(1500)
    page.reload()
    page.wait_for_function(READY, timeout=180_000)
    page.wait_for_timeout(2000)


def _whole(page, name: str, width: int) -> None:
    page.evaluate(FIT)
    _save(page, name, width=width)


def _node(page, kind: str, name: str, scale: float) -> None:
    page.evaluate(NEAR, [kind, scale])
    box, before = None, {}
    while box != before:  # what it shows may make it taller
        page.wait_for_timeout(5000)
        box, before = page.evaluate(BOX, kind), box
    _save(page, name, box)


def _save(page, name: str, clip: dict | None = None, width: int | None = None) -> None:
    page.keyboard.press("Escape")
    minimap = page.get_by_test_id("close-minimap-button")
    if minimap.count():
        minimap.click()
    page.wait_for_timeout(3000)
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file, clip=clip)
    picture = Image.open(file).convert("RGB")
    if width:
        picture = picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
    picture.save(file.with_suffix(".jpg"), quality=82, optimize=True)
    file.unlink()
    print(name, flush=True)


if __name__ == "__main__":
    main()
