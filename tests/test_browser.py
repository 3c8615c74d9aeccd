"""The pack in ComfyUI's real page, in headless Chromium: what a person sees, clicks, drops and reads.

`python dev.py browser` runs it: it takes minutes, and CI has a job of its own for it.
"""

import base64
import json
import os
from pathlib import Path

import pytest

from tools.frontend import (
    FIT,
    LOAD,
    OVERLAPS,
    PRESET,
    SHOWN_OVERLAPS,
    browser,
    chromium,
    differences,
    open_page,
    place_models,
    setting,
)
from tools.workflow_prompt import prompt_from_workflow
from video_clips import write_numbered
from workflow_runs import WORKFLOWS, nodes

NAMES = sorted(file.stem for file in WORKFLOWS.glob("*.json"))
PICTURES = os.environ.get("FATEZERO_PICTURES")  # a folder for screenshots
# Lets the first of our samplers tell something, as the server would while it runs; what then stands on the node.
TELL = """text => {
    const {id} = app.graph.nodes.find(node => node.type === 'FateZeroBlendSampler');
    app.api.dispatchCustomEvent('progress_text', {nodeId: String(id), text});
    return app.graph.getNodeById(id).widgets.find(widget => widget.name === '$$node-text-preview')?.value;
}"""
LOADER = "app.graph.nodes.find(node => node.type === 'FateZeroVideoLoad')"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("FATEZERO_BROWSER" not in os.environ, reason="takes minutes; `python dev.py browser` runs it"),
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed; name one by FATEZERO_CHROMIUM"),
]


@pytest.fixture(scope="module")
def page_server(new_server):
    root = os.environ.get("FATEZERO_FRONTEND")
    with new_server("COMFYUI_PATH", *(["--front-end-root", root] if root else [])) as running:
        place_models((prompt_of(running, name) for name in NAMES), running.base)
        yield running


@pytest.fixture(scope="module")
def chrome():
    pytest.importorskip("playwright", reason="playwright is not installed; any dev.py command installs it")
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def problems():
    return []


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes 2.0"])
def page(request, page_server, chrome, problems):
    opened = open_page(chrome, page_server.url, problems, nodes_2=request.param)
    opened.nodes_2 = request.param
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def no_complaints(problems):
    """Nothing may fail in the page's console during a test."""
    problems.clear()
    yield
    assert problems == []


def prompt_of(server, name):
    return prompt_from_workflow(workflow(name), server.object_info())


def workflow(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def picture(page, name):
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.keyboard.press("Escape")
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(PICTURES) / f"{name.replace(' ', '_')}.png")


def shown_text(page):
    return page.evaluate(f"() => {LOADER}.widgets.find(widget => widget.name === 'report')?.value ?? ''")


def shown_videos(page):
    return page.evaluate("() => [...document.querySelectorAll('video')].map(video => video.src)")


def wait_for_text(page, text):
    page.wait_for_function(
        f"text => {LOADER}.widgets.find(widget => widget.name === 'report')?.value.includes(text)", arg=text
    )


def look_at(page, kind):
    """Brings a node to the middle of the page, at its own size; returns where its middle is."""
    return page.evaluate(
        """kind => {
            const node = app.graph.nodes.find(node => node.type === kind), {ds} = app.canvas;
            ds.scale = 0.7;
            ds.offset = [innerWidth / 2 / ds.scale - node.pos[0] - node.size[0] / 2, 150 - node.pos[1]];
            app.graph.setDirtyCanvas(true, true);
            return [innerWidth / 2, (150 + 120) * ds.scale];
        }""",
        kind,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_as_it_was_saved(page, page_server, name):
    expected, opened = prompt_of(page_server, name), workflow(name)
    for _ in range(2):
        answer = page.evaluate(LOAD, opened)
        for node in nodes(expected, "Painter"):  # which keeps what is painted, even nothing, in a file of its own
            expected[node]["inputs"]["mask"] = answer["prompt"][node]["inputs"]["mask"]
        assert answer["missing"] == [] and differences(answer["prompt"], expected) == []
        opened = answer["saved"]
    page.evaluate(FIT)
    page.wait_for_timeout(2500)  # for the clip's preview, with which Video Load is at its largest
    picture(page, f"{name} {page.nodes_2}")
    assert page.evaluate(SHOWN_OVERLAPS if page.nodes_2 else OVERLAPS) == []


@pytest.mark.parametrize("words", ["fatezero", "video edit"])
def test_the_template_browser_finds_every_template_by(page, words):
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_test_id("template-workflows-content").wait_for()
    page.get_by_text("All Templates").first.click()  # a new user sees "Getting Started", and the search stays in it
    page.get_by_placeholder("Search").last.fill(words)
    cards = page.locator('[data-testid^="template-workflow-fatezero_"]')
    page.mouse.move(960, 700)
    for _ in range(60):  # the list grows as one scrolls, and others' templates are found by "video edit", too
        if cards.count() == len(NAMES):
            break
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(500)
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"templates_{words.replace(' ', '_')}_{page.nodes_2}.png")
    found = cards.count()
    page.keyboard.press("Escape")
    assert found == len(NAMES)


def test_the_preview_follows_the_chosen_clip_and_frames(page):
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    look_at(page, "FateZeroVideoLoad")
    wait_for_text(page, "red_circle_on_grass_large.mp4")
    page.wait_for_function("() => document.querySelector('video')?.videoWidth === 256")
    first = shown_videos(page)
    choose(page, "file", "demo/blue_square_on_snow.mp4")
    wait_for_text(page, "8 frames (0 to 7) of blue_square_on_snow.mp4\n128x128 -> 128x128, 0 % cut")
    page.wait_for_function("before => document.querySelector('video').src !== before[0]", arg=first)
    assert page.evaluate("() => {const {loop, controls} = document.querySelector('video'); return loop && controls}")
    choose(page, "start", 2)
    choose(page, "every_nth", 3)
    wait_for_text(page, "frames (2 to 5)" if "6 frames" in shown_text(page) else "(2 to ")
    choose(page, "width", 96)
    wait_for_text(page, "128x128 -> 96x96, 0 % cut")
    page.wait_for_function("() => document.querySelector('video').videoWidth === 96")


def choose(page, name, value):
    page.evaluate(
        f"""([name, value]) => {{
            const widget = {LOADER}.widgets.find(widget => widget.name === name);
            widget.value = value;
            widget.callback?.(value);
        }}""",
        [name, value],
    )


@pytest.mark.parametrize("name", ["shot.avi", "shot.mov", "loop.gif"])
def test_the_button_takes_every_format(page, tmp_path, name):
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    codec, pixels = {"avi": ("mpeg4", "yuv420p"), "mov": ("libx264", "yuv420p"), "gif": ("gif", "rgb8")}[name[-3:]]
    file = write_numbered(tmp_path / name, codec, count=12, pixel_format=pixels, size=(160, 96))
    with page.expect_file_chooser() as chooser:
        page.evaluate(f"() => {LOADER}.widgets.find(widget => widget.name === 'upload').callback()")
    chooser.value.set_files(file)
    wait_for_text(page, f"of {name}\n160x96 -> 160x96, 0 % cut")
    look_at(page, "FateZeroVideoLoad")
    page.wait_for_function("() => document.querySelector('video')?.videoWidth === 160")


def test_a_picture_can_be_dropped_on_the_node(page):
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    place = look_at(page, "FateZeroVideoLoad")
    page.wait_for_timeout(1500)
    file = Path(__file__).resolve().parent.parent / "demo" / "clips" / "purple_heart_on_sand.png"
    page.evaluate(
        """async ([x, y, name, data]) => {
            const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name, {type: 'image/png'}));
            for (const type of ['dragenter', 'dragover', 'drop']) {
                const target = document.elementFromPoint(x, y);
                const place = {clientX: x, clientY: y, bubbles: true, cancelable: true};
                target.dispatchEvent(new DragEvent(type, {dataTransfer, ...place}));
                await new Promise(done => setTimeout(done, 200));
            }
        }""",
        [*place, "dropped.png", base64.b64encode(file.read_bytes()).decode()],
    )
    wait_for_text(page, "1 frame (0 to 0) of dropped.png")
    assert len(page.evaluate("() => app.graph.nodes.map(node => node.type)")) == len(
        workflow("fatezero_video_edit_demo_color_edit")["nodes"]
    )


def test_a_clip_that_cannot_be_read_says_so_in_the_node(page, page_server):
    (page_server.base / "input" / "broken.mp4").write_bytes(b"no film")
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    wait_for_text(page, "red_circle_on_grass_large.mp4")
    choose(page, "file", "broken.mp4")
    wait_for_text(page, "Video Load: broken.mp4 is not a video or picture that can be read")
    look_at(page, "FateZeroVideoLoad")
    page.wait_for_timeout(500)
    assert shown_videos(page) == []


def test_a_text_that_grows_has_room_and_one_that_is_gone_leaves_nothing(page):
    """And a node that has nothing to tell gets no room for it."""
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    wait_for_text(page, "red_circle_on_grass_large.mp4")
    page.evaluate(
        """() => {
            const node = LiteGraph.createNode('FateZeroComposite');
            node.pos = [-3000, 0];
            app.graph.add(node);
        }"""
    )
    told = """([type, text]) => {
        const node = app.graph.nodes.find(node => node.type === type);
        node.onExecuted({text});
        const widget = node.widgets.find(widget => widget.name === 'report');
        return [node.size[0], parseInt(widget?.element.style.minHeight), widget?.value];
    }"""
    (width, low, _), (after, high, shown) = (
        page.evaluate(told, ["FateZeroVideoLoad", ["a line"] * lines]) for lines in (1, 9)
    )
    assert after == width and high >= low + 15 and high >= 9 * 15 and shown.count("a line") == 9
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(told, ["FateZeroComposite", []])[2] is None
    assert page.evaluate(told, ["FateZeroComposite", ["! 'mask' is stretched"]])[2] == "! 'mask' is stretched"
    assert page.evaluate(told, ["FateZeroComposite", []])[2] == ""


def test_a_line_that_was_told_on_the_way_is_not_repeated_below_the_report(page):
    """And is told again when the node runs again."""
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    texts = """([type, told, reported]) => {
        const node = app.graph.nodes.find(node => node.type === type);
        const shown = name => node.widgets.filter(widget => widget.name === name).map(({value}) => value);
        app.api.dispatchCustomEvent('progress_text', {nodeId: String(node.id), text: told});
        const before = shown('$$node-text-preview');
        node.onExecuted({text: reported});
        return [before, shown('$$node-text-preview'), shown('report')];
    }"""
    said = "all frames at once"
    for report in (f"8 frames of 256x256, 10 steps\n{said}", f"8 frames of 256x256, 9 steps\n{said}"):
        assert page.evaluate(texts, ["FateZeroInvert", said, [report]]) == [[said], [], [report]]
    look_at(page, "FateZeroInvert")
    page.wait_for_timeout(1000)
    assert page.evaluate("said => document.body.innerText.split(said).length - 1", said) == 1
    picture(page, f"report {page.nodes_2}")


CHANGE = """mode => {
    app.graph.nodes.find(node => node.type === 'FateZeroEditPrompts').widgets[2].value = mode;
    const {changeTracker} = app.extensionManager.workflow.activeWorkflow;
    (changeTracker.captureCanvasState ?? changeTracker.checkState).call(changeTracker);
}"""
SEEN = """() => {
    const of = type => app.graph.nodes.find(node => node.type === type);
    const reported = of('FateZeroInvert').widgets.find(widget => widget.name === 'report')?.value;
    return [of('FateZeroEditPrompts').widgets[2].value, reported, [...of('FateZeroVideoLoad').size].map(Math.round)];
}"""


def test_undo_goes_back_step_by_step_and_leaves_reports(page):
    """Nothing that we show may count as a change of the workflow, nor be lost with one."""
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    wait_for_text(page, "red_circle_on_grass_large.mp4")
    page.wait_for_timeout(2500)  # for the clip's preview
    page.evaluate(
        """text => {
            const {id} = app.graph.nodes.find(node => node.type === 'FateZeroInvert'), node = String(id);
            app.api.dispatchCustomEvent('executed', {node, display_node: node, output: {text: [text]}});
        }""",
        "8 frames, 9 steps",
    )
    size = page.evaluate(SEEN)[2]
    for mode in ("swap", "refine", "auto"):
        page.evaluate(CHANGE, mode)
        page.wait_for_timeout(200)
    for key, mode in (("Control+z", "refine"), ("Control+z", "swap"), ("Control+y", "refine"), ("Control+y", "auto")):
        page.evaluate("() => document.activeElement?.blur()")
        page.keyboard.press(key)
        page.wait_for_timeout(3000)
        assert page.evaluate(SEEN) == [mode, "8 frames, 9 steps", size]
    picture(page, f"undone {page.nodes_2}")


def test_an_error_is_read_where_it_appears(page, problems):
    opened = workflow("fatezero_video_edit_demo_color_edit")
    page.evaluate(LOAD, opened)
    page.evaluate(
        """() => {
            const node = app.graph.nodes.find(node => node.type === 'FateZeroBlendSampler');
            node.widgets.find(widget => widget.name === 'preset.mask_from').value = 'mask input';
            app.queuePrompt(0, 1);
        }"""
    )
    page.get_by_text("View details").first.click(timeout=90_000)
    page.wait_for_function("() => document.body.innerText.includes('Attention Blend Sampler, further on, has')")
    picture(page, f"error {page.nodes_2}")
    problems.clear()  # the page also writes it into its console
    page.keyboard.press("Escape")
    page.get_by_label("Toggle properties panel").first.click()


@pytest.mark.parametrize(
    "language, expected",
    [
        ("zh", "视频加载: “路径”为 nowhere/x.mov，不在 ComfyUI 的输入文件夹中；"),
        ("ko", "비디오 불러오기: ‘경로’ nowhere/x.mov이(가) ComfyUI 입력 폴더에 없습니다."),
        ("ru", "Загрузить видео: «путь» — nowhere/x.mov, его нет во входной папке ComfyUI;"),
        ("es", "Cargar video: «ruta» es nowhere/x.mov, que no está en la carpeta de entrada de ComfyUI;"),
        ("pt-BR", "Carregar Vídeo: “caminho” é nowhere/x.mov, que não está na pasta de entrada do ComfyUI;"),
    ],
)
def test_nodes_and_refusals_speak_the_language_of_the_page(page, problems, language, expected):
    setting(page, "Comfy.Locale", language)
    page.wait_for_timeout(3000)
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    wider = "sizes => app.graph.nodes.filter(({id, size}) => size[0] > sizes[id] + 1).map(({title}) => title)"
    assert (
        page.evaluate(
            wider, {str(n["id"]): n["size"][0] for n in workflow("fatezero_video_edit_demo_color_edit")["nodes"]}
        )
        == []
    )
    choose(page, "path", "nowhere/x.mov")
    wait_for_text(page, expected)
    page.evaluate("() => app.queuePrompt(0, 1)")
    page.wait_for_function(
        "text => JSON.stringify(app.lastNodeErrors ?? {}).includes(text)", arg=expected, timeout=30_000
    )
    marked = "() => Object.values(app.lastNodeErrors).map(({errors}) => errors.map(each => each.extra_info.input_name))"
    assert page.evaluate(marked) == [["path"]]
    picture(page, f"refusal {language} {page.nodes_2}")
    setting(page, "Comfy.Locale", "en")
    problems.clear()  # the page also writes it into its console


@pytest.mark.parametrize(
    "language, note, error",
    [
        (
            "fr",
            "En dire plus sur un objet, comme Video-P2P",
            "Prompts d'édition: « accent » a « red=3 » avec « = » (equals sign) là où un mot et son facteur",
        ),
        (
            "ko",
            "사물을 더 자세히 말하기(Video-P2P 방식)",
            "편집 프롬프트: ‘강조’의 'red=3'에 '='(equals sign)이(가) 있습니다. 단어와 배율이 와야 합니다.",
        ),
    ],
)
def test_notes_and_errors_speak_the_language_of_the_page(page, problems, language, note, error):
    setting(page, "Comfy.Locale", language)
    notes = "app.graph.nodes.filter(node => node.type === 'MarkdownNote').map(node => node.widgets[0].value).join()"
    for _ in range(20):  # until the page has the language
        page.wait_for_timeout(3000)
        page.evaluate(LOAD, workflow("fatezero_video_edit_demo_p2p_refine"))
        if note in page.evaluate(notes):
            break
    assert note in page.evaluate(notes)
    look_at(page, "MarkdownNote")
    picture(page, f"note {language} {page.nodes_2}")
    assert page.evaluate(TELL, "all frames at once") == reports_in(language)["all frames at once"]
    page.evaluate(
        """() => {
            const node = app.graph.nodes.find(node => node.type === 'FateZeroEditPrompts');
            node.widgets.find(widget => widget.name === 'emphasis').value = 'red=3';
            app.queuePrompt(0, 1);
        }"""
    )
    page.wait_for_function(
        "text => JSON.stringify(app.lastExecutionError ?? {}).includes(text)", arg=error, timeout=90_000
    )
    page.wait_for_timeout(1000)
    picture(page, f"error {language} {page.nodes_2}")
    setting(page, "Comfy.Locale", "en")
    problems.clear()  # the page also writes it into its console


def reports_in(language):
    texts = WORKFLOWS.parent / "web" / "texts" / f"{language}.json"
    return json.loads(texts.read_text(encoding="utf-8"))["reports"]


@pytest.mark.parametrize("node", ["FateZeroAttentionBlend", "FateZeroBlendSampler"])
def test_a_preset_sets_its_values(page, page_server, node):
    for option in page_server.object_info()[node]["input"]["required"]["preset"][1]["options"]:
        values = page.evaluate(PRESET, [node, option["key"]])
        for name, (_, settings) in option["inputs"]["required"].items():
            assert values.get("preset." + name) == settings["default"], f"{option['key']}: {name}"


@pytest.mark.parametrize("language", ["en", "zh", "ja", "ko", "ru", "pt-BR"])
def test_help_pages_open(page, page_server, language, problems):
    """The page shows what is written in its language: a name that ComfyUI does not ask for would show English."""
    setting(page, "Comfy.Locale", language)
    page.evaluate(LOAD, workflow("fatezero_video_edit_demo_color_edit"))
    for node in sorted(name for name in page_server.object_info() if name.startswith("FateZero")):
        page.evaluate(
            """kind => {
                const node = LiteGraph.createNode(kind);
                app.graph.add(node);
                app.canvas.selectNode(node);
            }""",
            node,
        )
        if page.get_by_test_id("panel-tab-info").count() == 0:
            page.get_by_test_id("info-button").click()
        page.get_by_test_id("panel-tab-info").click()
        page.wait_for_function(
            "name => [...document.querySelectorAll('.node-help-content')].some(help => help.innerText.includes(name))",
            arg=help_title(node, language),
        )
        if node == "FateZeroVideoLoad":
            picture(page, f"help {language} {page.nodes_2}")
        page.evaluate("kind => app.graph.remove(app.graph.nodes.findLast(node => node.type === kind))", node)
    setting(page, "Comfy.Locale", "en")
    # English pages lie one folder up, which ComfyUI asks for after a question to the server that fails.
    problems[:] = [problem for problem in problems if "/en.md" not in problem]


def help_title(node, language):
    pages = WORKFLOWS.parent / "web" / "docs"
    file = pages / f"{node}.md" if language == "en" else pages / node / f"{language}.md"
    return file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
