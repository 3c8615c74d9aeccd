"""ComfyUI's real page in headless Chromium, for tests/test_browser.py: `python dev.py browser` runs it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = "FATEZERO_CHROMIUM"  # the variable that names another one than those that are looked for
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MODEL_FOLDERS = {"ckpt_name": "checkpoints", "lora_name": "loras", "control_net_name": "controlnet"}

READY = """() => window.app?.graph && window.app.extensionManager
    && window.LiteGraph?.registered_node_types.FateZeroVideoLoad"""
LOAD = """async workflow => {
    await app.loadGraphData(workflow);
    await new Promise(done => setTimeout(done, 500));
    const prompt = (await app.graphToPrompt()).output;
    const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
    const missing = app.graph.nodes.filter(node => !LiteGraph.registered_node_types[node.type]).map(node => node.type);
    return {prompt, saved, missing};
}"""
OVERLAPS = """() => {
    const boxes = app.graph.nodes.map(
        ({title, pos, size}) => [title, pos[0], pos[1] - 30, size[0], size[1] + 30]);
    return boxes.flatMap(([a, x, y, w, h], i) => boxes.slice(i + 1)
        .filter(([b, X, Y, W, H]) => x < X + W && X < x + w && y < Y + H && Y < y + h).map(([b]) => `${a} and ${b}`));
}"""
# In Nodes 2.0 a node is an element of the page, which may be larger than the graph says.
SHOWN_OVERLAPS = """() => {
    const boxes = [...document.querySelectorAll('[data-node-id]')].map(element => {
        const {x, y, width, height} = element.getBoundingClientRect();
        const node = app.graph.getNodeById(element.dataset.nodeId);
        return [node?.title ?? element.dataset.nodeId, x, y, width, height];
    });
    return boxes.flatMap(([a, x, y, w, h], i) => boxes.slice(i + 1)
        .filter(([b, X, Y, W, H]) => x + 1 < X + W && X + 1 < x + w && y + 1 < Y + H && Y + 1 < y + h)
        .map(([b]) => `${a} and ${b}`));
}"""
FIT = """() => {
    const boxes = [...app.graph.nodes, ...app.graph.groups];
    const x = Math.min(...boxes.map(box => box.pos[0])), y = Math.min(...boxes.map(box => box.pos[1])) - 30;
    const w = Math.max(...boxes.map(box => box.pos[0] + box.size[0])) - x;
    const h = Math.max(...boxes.map(box => box.pos[1] + box.size[1])) - y;
    app.canvas.ds.scale = Math.min((innerWidth - 120) / w, (innerHeight - 100) / h);
    app.canvas.ds.offset = [90 / app.canvas.ds.scale - x, 80 / app.canvas.ds.scale - y];
    app.graph.setDirtyCanvas(true, true);
}"""
PRESET = """([type, name]) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.widgets.find(widget => widget.name === 'preset').value = name;
    const values = Object.fromEntries(node.widgets.map(widget => [widget.name, widget.value]));
    app.graph.remove(node);
    return values;
}"""


def chromium() -> str | None:
    """The Chromium to drive; None without one."""
    named = os.environ.get(CHROMIUM)
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def browser() -> Iterator:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        try:
            yield running
        finally:
            running.close()


def open_page(running, url: str, problems: list[str], width: int = 1920, nodes_2: bool = False):
    """A page with ComfyUI, ready; what is wrong in its console is added to `problems`."""
    page = running.new_page(viewport={"width": width, "height": width * 9 // 16})
    page.on("pageerror", lambda error: problems.append(f"error in the page: {error}"))
    page.on("console", lambda message: problems.append(_complaint(message)) if _complaint(message) else None)
    page.goto(url)
    page.wait_for_function(READY, timeout=180_000)
    setting(page, "Comfy.VueNodes.Enabled", nodes_2)
    page.wait_for_timeout(1500)
    page.keyboard.press("Escape")
    return page


def setting(page, name: str, value) -> None:
    """Changes one of the page's settings."""
    page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])


def _complaint(message) -> str | None:
    """An error in the console; what ComfyUI itself looks for in vain in a new installation is none."""
    where = message.location["url"]
    if (
        message.type != "error"
        or "user.css" in where
        or "/userdata" in where
        or "huggingface.co" in message.text + where
    ):
        return None
    if "accessed before initialization" in message.text:
        return None
    return f"console: {message.text} {where}"


def place_models(prompts, base: Path) -> None:
    """Empty files with the names of the models that the prompts choose: the page reports those that are missing."""
    for node in (node for prompt in prompts for node in prompt.values()):
        for name, folder in MODEL_FOLDERS.items():
            if name in node["inputs"]:
                file = base / "models" / folder / node["inputs"][name]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()


def differences(shown: dict, expected: dict) -> list[str]:
    """One line for each input in which two prompts differ."""
    lines = [f"node {node} is in one of the prompts only" for node in sorted(shown.keys() ^ expected.keys())]
    for node in shown.keys() & expected.keys():
        first, second = shown[node]["inputs"], expected[node]["inputs"]
        lines += [
            f"node {node}: {name} is {first.get(name)!r}, expected {second.get(name)!r}"
            for name in sorted(first.keys() | second.keys())
            if first.get(name) != second.get(name)
        ]
    return lines
