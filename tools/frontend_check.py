"""Opens every shipped workflow in ComfyUI's real frontend, in headless Chromium, and says what is wrong with it.

    python -m tools.frontend_check [--chromium PATH] [--pictures FOLDER] [--run] [--comfyui PATH] [--python PATH]

Each workflow must load without a missing node, lie without overlaps, give the same prompt as tools/workflow_prompt.py
makes of its file, and again after it was saved and loaded; choosing a preset must set its values; and nothing of ours
may fail in the browser's console. --run also runs the demos there and looks at the layout with the results shown.
Run it in the repository's root, with the Python of the .venv that any dev.py command makes. It also needs playwright
(`python -m pip install playwright`) and a Chromium (`playwright install chromium`, or your own by --chromium).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tools.comfyui_server import ComfyUIServer
from tools.environment import NEWEST, ROOT
from tools.workflow_prompt import prompt_from_workflow

COMFYUI = ROOT / ".comfyui" / NEWEST
FOLDERS = {"ckpt_name": "checkpoints", "lora_name": "loras", "control_net_name": "controlnet"}
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
PRESET = """([type, name]) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.widgets.find(widget => widget.name === 'preset').value = name;
    const values = Object.fromEntries(node.widgets.map(widget => [widget.name, widget.value]));
    app.graph.remove(node);
    return values;
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


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--comfyui", type=Path, default=COMFYUI, help="an existing ComfyUI to use instead of dev.py's")
    options.add_argument("--python", default=sys.executable, help="the interpreter that ComfyUI runs with")
    options.add_argument("--chromium", help="Chromium to use instead of playwright's own")
    options.add_argument("--pictures", type=Path, help="folder for a screenshot of each workflow")
    options.add_argument("--run", action="store_true", help="also run the demos in the browser")
    options = options.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit(
            f"frontend_check needs playwright; install it with `{sys.executable} -m pip install playwright`, and a "
            f"Chromium with `{sys.executable} -m playwright install chromium`, or name yours with --chromium."
        )
    arguments = ["--cpu", "--use-pytorch-cross-attention"]
    with (
        tempfile.TemporaryDirectory() as base,
        sync_playwright() as playwright,
        ComfyUIServer(options.comfyui, options.python, base, {"fatezero": ROOT}, arguments) as server,
    ):
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"])
        problems = check(browser.new_page(viewport={"width": 2000, "height": 1000}), server, options)
        browser.close()
    print("\n".join(problems) or "All workflows are in order.")
    sys.exit(bool(problems))


def check(page, server, options):
    """One line for everything that is wrong."""
    object_info = server.object_info()
    workflows = {
        file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "workflows").glob("*.json"))
    }
    prompts = {name: prompt_from_workflow(workflow, object_info) for name, workflow in workflows.items()}
    place_models(prompts.values(), server.base)
    problems = []
    page.on("pageerror", lambda error: problems.append(f"error in the browser: {error}"))
    page.on(
        "console",
        lambda message: (
            problems.append(f"console: {message.text}")
            if message.type == "error" and "fatezero" in (message.text + message.location["url"]).lower()
            else None
        ),
    )
    page.goto(server.url)
    page.wait_for_function(READY, timeout=120_000)
    time.sleep(2)
    problems += preset_problems(page, object_info)
    for name, workflow in workflows.items():
        for opened in ("opened", "saved and opened again"):
            answer = page.evaluate(LOAD, workflow)
            problems += [f"{name}, {opened}: {node} is not known" for node in answer["missing"]]
            problems += [f"{name}, {opened}: {line}" for line in differences(answer["prompt"], prompts[name])]
            workflow = answer["saved"]
        if options.run and name.startswith("demo_"):
            run(page)
        problems += [f"{name}: {pair} overlap" for pair in page.evaluate(OVERLAPS)]
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            page.evaluate(FIT)
            page.keyboard.press("Escape")
            time.sleep(1.5)
            page.screenshot(path=options.pictures / f"{name}.png")
    return problems


def place_models(prompts, base):
    """Empty files with the names of the models that the prompts choose: the frontend reports those that are missing."""
    for node in (node for prompt in prompts for node in prompt.values()):
        for name, folder in FOLDERS.items():
            if name in node["inputs"]:
                file = base / "models" / folder / node["inputs"][name]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()


def preset_problems(page, object_info):
    """Whether the widgets of a preset show its values when it is chosen."""
    problems = []
    for node in ("FateZeroAttentionBlend", "FateZeroBlendSampler"):
        for option in object_info[node]["input"]["required"]["preset"][1]["options"]:
            values = page.evaluate(PRESET, [node, option["key"]])
            problems += [
                f"{node}, preset {option['key']}: {name} is {values.get('preset.' + name)}"
                for name, (_, settings) in option["inputs"]["required"].items()
                if values.get("preset." + name) != settings["default"]
            ]
    return problems


def differences(shown, expected):
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


def run(page):
    """Runs the workflow that is open in two steps, and waits until its results are shown."""
    page.evaluate("""() => new Promise((done, failed) => {
        for (const widget of app.graph.nodes.flatMap(node => node.widgets ?? []))
            if (widget.name === 'steps') widget.value = 2;
        app.api.addEventListener('execution_success', () => done(), {once: true});
        app.api.addEventListener('execution_error', event => failed(event.detail.exception_message), {once: true});
        app.queuePrompt(0, 1);
    })""")
    time.sleep(2)


if __name__ == "__main__":
    main()
