"""What `web/translate.js` makes of our sentences, run by Node.js as a browser runs it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = sorted(folder.name for folder in (ROOT / "locales").iterdir() if folder.name != "en")
# The page's `api` and `app`, as much of them as the script asks for when it is loaded.
PAGE = """
import { readFileSync } from "node:fs";
const [locales, textsOfOurs, wantedLanguage, reports] = JSON.parse(readFileSync(0, "utf8"));
globalThis.asked = [];
const answer = async (url, content) => { asked.push(url); return { json: () => content }; };
globalThis.told = [];
globalThis.api = {
  addEventListener() {},
  async queuePrompt() {},
  fetchApi: (url) => answer(url, locales),
  dispatchCustomEvent: (type, { text }) => told.push(text),
};
globalThis.fetch = (url) => answer(url.pathname.split("/").slice(-2).join("/"), textsOfOurs);
const classes = { 1: "FateZeroBlendSampler", 2: "KSampler" };
globalThis.app = {
  graph: { getNodeById: (id) => ({ comfyClass: classes[id] }) },
  extensionManager: { setting: { get: () => wantedLanguage } },
  registerExtension(extension) { globalThis.extension = extension; },
};
"""
ASK = """
const setUp = [extension.setup(), extension.beforeRegisterNodeDef({ prototype: {} }, { name: "FateZeroInvert" })];
await Promise.all(setUp);
for (const nodeId of ["1", "2", "3:4"]) api.dispatchCustomEvent("progress_text", { nodeId, text: reports[0] ?? "" });
console.log(JSON.stringify([reports.map(translateReport), asked, told]));
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """page(language, reports): the reports as the page shows them, what it asked for, and the first report as
    a node of ours, another's and one in a subgraph tell it while they run."""
    script = (ROOT / "web" / "translate.js").read_text(encoding="utf-8")
    body = "\n".join(line for line in script.splitlines() if not line.startswith("import "))
    file = tmp_path_factory.mktemp("page") / "page.mjs"
    file.write_text(PAGE + body.replace("export function", "function") + ASK, encoding="utf-8")

    def shown(language, reports):
        locales = {
            name: {
                "nodeDefs": json.loads((ROOT / "locales" / name / "nodeDefs.json").read_text(encoding="utf-8")),
                **json.loads((ROOT / "locales" / name / "main.json").read_text(encoding="utf-8")),
            }
            for name in ("en", language)
        }
        texts = json.loads((ROOT / "web" / "texts" / f"{language}.json").read_text(encoding="utf-8"))
        given = json.dumps([locales, texts, language, reports])
        ended = subprocess.run(["node", file], input=given, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(ended.stdout)

    return shown


@pytest.fixture
def on_page(page):
    """on_page(language, reports): the reports as the page shows them."""
    return lambda language, reports: page(language, reports)[0]


def test_each_file_is_asked_for_once(page):
    """Though many nodes ask at the same time: ComfyUI's holds every language of every pack."""
    assert page("ja", [])[1] == ["/i18n", "texts/ja.json"]


def test_what_a_node_tells_while_it_runs_is_translated(page):
    said = "! 'mask' is black everywhere; paint white where the edit belongs\nall frames at once"
    ours = "! «máscara» es negra en todas partes; pinta de blanco donde debe editarse\ntodos los fotogramas a la vez"
    assert page("es", [said])[2] == [ours, said, ours]


@pytest.mark.parametrize(
    "language, shown",
    [
        ("es", ["1 fotograma de 64x64, 1 paso", "5 fotogramas de 64x64, 2 pasos"]),
        ("fr", ["1 image de 64x64, 1 étape", "5 images de 64x64, 2 étapes"]),
        ("pt-BR", ["1 quadro de 64x64, 1 passo", "5 quadros de 64x64, 2 passos"]),
        ("zh", ["1 帧，64x64，1 步", "5 帧，64x64，2 步"]),
    ],
)
def test_one_is_not_told_as_many(on_page, language, shown):
    assert on_page(language, ["1 frame of 64x64, 1 step", "5 frames of 64x64, 2 steps"]) == shown


def test_russian_has_three_forms(on_page):
    told = [f"{count} frame{'s' * (count != 1)} per second, no sound" for count in (1, 3, 25)]
    assert [text.split(" в ")[0] for text in on_page("ru", told)] == ["1 кадр", "3 кадра", "25 кадров"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_choice_in_a_sentence_is_called_as_on_the_node(on_page, language):
    nodes = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    own = nodes["FateZeroCoupledSampler"]["inputs"]["mask_from"]["options"]["mask input"]
    (shown,) = on_page(language, ["! 'mask threshold' has no effect, since 'mask from' is mask input; it is for words"])
    assert own in shown and "mask input" not in shown and shown.startswith("! ")


ALIGNMENT = "mode: swap\n= a\nred -> blue (swapped, x2, steps 0-0.5)\n+ new hat (new)\nmask: red"
REPORT = (
    "! The mask is empty in frames 1, 2, where nothing new can appear; lower 'mask threshold' (0.3), or name in 'mask "
    "words' of Edit Prompts what the clip shows more plainly.\n"
    "! The edit shows: where it changed most, the colours moved by 66 of 255 levels. What changed outside the mask is "
    "not visible (40 dB).\n\n5 frames of 64x64, the mask is 3.1% of the picture\n"
    "how the edit ran: Time: up to 50% more than plain sampling, for the clip's attention, this time.\n"
    "3 chunks of up to 2 frames since memory is short, not quite as all at once: a fixed key frame beside previous or "
    "following ones is computed without its own neighbours"
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_english_is_left_of_a_report(on_page, language):
    """But names, numbers and the person's own words, and what English shares with Romance languages."""
    shared = {"Edit", "Prompts", "clip", "visible", "attention", "image", "images"}
    english = set(re.findall(r"[A-Za-z]{3,}", REPORT)) - shared
    (shown,) = on_page(language, [REPORT])
    assert english & set(re.findall(r"[A-Za-z]{3,}", shown)) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_prompts_stay_in_the_alignment(on_page, language):
    (shown,) = on_page(language, [ALIGNMENT])
    lines = shown.splitlines()
    assert lines[1] == "= a" and lines[2].startswith("red -> blue (") and lines[3].startswith("+ new hat (")
    assert "swapped" not in shown and "steps" not in shown and not lines[3].endswith("(new)")


def test_columns_of_a_table_stay_below_each_other(on_page):
    table = [
        f"{'':29}{'after':>9}{'before':>9}",
        f"{'CLIP score, target prompt':29}{'0.250':>9}{'0.249':>9}  as near to it as before",
    ]
    head, row = on_page("fr", table)
    assert head.index("après") + len("après") == row.index("0.250") + len("0.250") == 38
    (row,) = on_page("ja", table[1:])
    wide = sum(ord(letter) > 0x1100 for letter in row[: row.index("0.250")])
    assert row.index("0.250") + wide == 33
