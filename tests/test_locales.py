"""Every language is complete, names what exists, keeps every number and placeholder, and its help speaks its labels."""

import ast
import asyncio
import json
import re
from pathlib import Path

import pytest

from fatezero_pack.nodes import FateZeroExtension
from sentences_in_code import template

ROOT = Path(__file__).resolve().parent.parent
LOCALES, HELP, TEXTS = ROOT / "locales", ROOT / "web" / "docs", ROOT / "web" / "texts"
SCHEMAS = [node.define_schema() for node in asyncio.run(FateZeroExtension().get_node_list())]
NODES = {schema.node_id: schema for schema in SCHEMAS}
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir() if folder.name != "en")
HELP_LANGUAGES = sorted({page.stem for page in HELP.glob("*/*.md")})  # in the others, ComfyUI shows the English page
# Choices that are names, which every language writes alike: of codecs, schedulers, files, methods and models.
NAMES = re.compile(r"^(?:demo/.*|.*\.\w+|\d+|[a-z_]+\d*(?:10|12|14|16)?(?:le)?|\w+ nvenc|SD \d\.x|SDXL|[A-Z].*)$")


def translation(language, kind="nodeDefs"):
    return json.loads((LOCALES / language / f"{kind}.json").read_text(encoding="utf-8"))


def texts_of(language):
    return json.loads((TEXTS / f"{language}.json").read_text(encoding="utf-8"))


def inputs(node):
    """{key as the frontend looks it up: the input}, those that a preset brings along included."""
    found = {}
    for item in NODES[node].inputs:
        found[item.id] = item
        for option in getattr(item, "options", None) or []:
            for nested in getattr(option, "inputs", []):
                found[f"{item.id}_{nested.id}"] = nested
    return found


def choices(item):
    return [getattr(option, "key", option) for option in getattr(item, "options", None) or []]


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_only_what_exists_is_translated(language):
    for node, texts in translation(language).items():
        assert set(texts.get("inputs", {})) <= set(inputs(node)), node
        assert len(texts.get("outputs", {})) in (0, len(NODES[node].outputs)), node
        for name, text in texts.get("inputs", {}).items():
            assert set(text.get("options", {})) <= set(choices(inputs(node)[name])), f"{node}: {name}"


def test_english_labels_have_no_underscores():
    english = translation("en")
    for node in NODES:
        for name in inputs(node):
            label = english.get(node, {}).get("inputs", {}).get(name, {}).get("name", name)
            assert "_" not in label, f"{node}: {name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_complete(language):
    translated = translation(language)
    assert set(translated) == set(NODES)
    for node, texts in translated.items():
        assert texts["display_name"].endswith(f"({NODES[node].display_name})")  # errors call it so
        assert texts["description"]
        missing = [name for name in inputs(node) if not texts["inputs"].get(name, {}).get("name")]
        missing += [name for name in inputs(node) if not texts["inputs"].get(name, {}).get("tooltip")]
        assert missing == [], node
        assert [text["name"] and text["tooltip"] for text in texts["outputs"].values()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_choices_that_are_words_are_translated(language):
    translated = translation(language)
    untranslated = {
        choice
        for node in NODES
        for name, item in inputs(node).items()
        for choice in choices(item)
        if isinstance(choice, str)
        if choice not in translated[node]["inputs"][name].get("options", {})
        if " " in choice and not NAMES.match(choice)
    }
    assert untranslated == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_and_examples_stay(language):
    """Each number of an English text is in its translation; so are examples such as crystal:5."""
    translated = translation(language)
    for node, schema in NODES.items():
        pairs = [(schema.description, translated[node]["description"])]
        pairs += [(item.tooltip, translated[node]["inputs"][name]["tooltip"]) for name, item in inputs(node).items()]
        for english, other in pairs:
            wanted = set(re.findall(r"\d[\d.]*\d|\d|\w+:\d[\d.-]*\d|%\w+%", english))
            assert {word for word in wanted if word not in other} - {"3", "2", "1", "4", "6"} == set(), (node, other)


def said():
    """Every text in the code, places as {}."""
    found = set()
    for file in [*ROOT.glob("fatezero/**/*.py"), *ROOT.glob("nodes/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add(template(node))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


@pytest.mark.parametrize("kind", ["reports", "errors", "pictures"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_translated_as_the_code_says_them(language, kind):
    """The place in "frame{1}" is the ending of the English plural, for which other languages have forms of their own,
    {0|fotograma|fotogramas}, or none. Whether the code still says an error, `test_translated_refusals.py` asks."""
    sentences = texts_of(language)[kind]
    assert list(sentences) == list(texts_of("zh")[kind])
    texts = said()
    for english, other in sentences.items():
        places = re.findall(r"\{\d\}", re.sub(r"\b(frame|step|image|picture)\{\d\}", "", english))
        assert sorted(places) == sorted(set(re.findall(r"\{\d\}", other))), english
        plain = re.sub(r"\{\d\}", "{}", english)
        assert kind == "errors" or any(plain.removesuffix("{}").removeprefix("{}") in text for text in texts), english


@pytest.mark.parametrize("kind", ["reports", "errors"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_name_inputs_as_the_nodes_do(language, kind):
    """What stands in quotes in an English sentence and is an input's name there, is called as on the node."""
    english, own = translation("en"), translation(language)
    names = {}
    for node in NODES:
        for name in inputs(node):
            label = english.get(node, {}).get("inputs", {}).get(name, {}).get("name", name)
            names.setdefault(label, set()).add(own[node]["inputs"][name]["name"])
    for sentence, other in texts_of(language)[kind].items():
        quoted = {name for name in re.findall(r"(?<!\w)'([\w -]+)'", sentence) if name in names}
        assert [name for name in quoted if not any(label in other for label in names[name])] == [], other


@pytest.mark.parametrize("language", LANGUAGES)
def test_notes_of_templates_are_translated_as_they_are_now(language):
    notes = texts_of(language)["notes"]
    assert list(notes) == list(texts_of("zh")["notes"])
    graphs = [json.loads(file.read_text(encoding="utf-8")) for file in (ROOT / "workflows").glob("*.json")]
    present = [node["widgets_values"][0] for graph in graphs for node in graph["nodes"] if "Note" in node["type"]]
    labels = labels_of(language)
    assert set(notes) == set(present)
    headings = texts_of(language)["titles"]
    for english, other in notes.items():
        assert outline_of(other) == outline_of(english), english
        known = labels | set(headings.values()) | set(italics(english)) - set(headings)
        assert [term for term in italics(other) if term not in known] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_headings_in_templates_are_translated(language):
    """Titles that templates give nodes, and groups without their number."""
    graphs = [json.loads(file.read_text(encoding="utf-8")) for file in (ROOT / "workflows").glob("*.json")]
    given = {node["title"] for graph in graphs for node in graph["nodes"] if node.get("title")}
    given |= {re.sub(r"^\d+ +", "", group["title"]) for graph in graphs for group in graph["groups"]}
    translated = texts_of(language)["titles"]
    assert set(translated) == given and list(translated) == list(texts_of("zh")["titles"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_page_says_is_translated(language):
    main = translation(language, "main")
    assert set(main) == {"nodeCategories", "templateWorkflows"}  # ComfyUI sends all of this to everyone
    scripts = "".join(file.read_text(encoding="utf-8") for file in HELP.parent.glob("*.js"))
    assert set(texts_of(language)["texts"]) == set(re.findall(r'ownText\("([^"]*)"\)', scripts))
    rooms = {part for schema in SCHEMAS for part in schema.category.split("/")}
    assert set(main["nodeCategories"]) == rooms and main["templateWorkflows"]["category"]["fatezero"]


@pytest.mark.parametrize("language", HELP_LANGUAGES)
def test_every_node_has_a_help_page(language):
    assert [node for node in NODES if not (HELP / node / f"{language}.md").is_file()] == []


@pytest.mark.parametrize("language", HELP_LANGUAGES)
def test_help_pages_name_inputs_as_the_nodes_do(language):
    """What stands in italics on a page is a label or a choice of that language, or stands so in the English page."""
    labels = labels_of(language)
    for node in NODES:
        page = (HELP / node / f"{language}.md").read_text(encoding="utf-8")
        english = set(italics((HELP / f"{node}.md").read_text(encoding="utf-8")))
        assert [term for term in italics(page) if term not in labels | english] == [], node


def labels_of(language):
    """What stands on nodes in a language: the names of inputs, outputs and nodes, and choices."""
    texts = translation(language)
    labels = {
        socket["name"]
        for node in texts.values()
        for kind in ("inputs", "outputs")
        for socket in node.get(kind, {}).values()
    }
    labels |= {
        c
        for node in texts.values()
        for text in node.get("inputs", {}).values()
        for c in text.get("options", {}).values()
    }
    return labels | {node["display_name"].split(" (")[0] for node in texts.values()}


@pytest.mark.parametrize("language", HELP_LANGUAGES)
def test_help_pages_quote_what_nodes_say(language):
    """A row that begins with a quotation tells what to do about a sentence: it is quoted as the node shows it."""
    said = texts_of(language)
    sentences = " ".join([*said["reports"].values(), *said["errors"].values()])
    for page in HELP.glob(f"*/{language}.md"):
        for cell in re.findall(r'^\| *([«“"「][^|]*)', page.read_text(encoding="utf-8"), re.MULTILINE):
            quotations = re.findall(r'[«“"「](.+?)[»”"」]', cell)
            parts = [part.strip(" :,") for quotation in quotations for part in quotation.split("...")]
            assert [part for part in parts if part not in sentences] == [], page


@pytest.mark.parametrize("language", HELP_LANGUAGES)
def test_help_pages_say_as_much_as_the_english_one(language):
    """As many headings, entries of lists, rows of tables, code and lines in all: what one gains, all gain."""
    for node in NODES:
        english, other = (HELP / f"{node}.md", HELP / node / f"{language}.md")
        assert outline(other) == outline(english), node


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_marked_is_shown_marked(language):
    """Markdown closes no mark between punctuation and a letter: *first (paper)*은 keeps its stars on the page."""
    texts = [page.read_text(encoding="utf-8") for page in HELP.glob(f"*/{language}.md")]
    texts += texts_of(language)["notes"].values()
    marked = re.compile(r"(\w?)(?<!\*)(\*\*?)(?![\s*])([^*\n]+)(?<!\s)\2(?!\*)(\w?)")
    found = [match for text in texts for match in marked.finditer(text)]
    assert found
    assert [m[0] for m in found if (m[4] and not m[3][-1].isalnum()) or (m[1] and not m[3][0].isalnum())] == []


def outline(page):
    return outline_of(page.read_text(encoding="utf-8"))


def outline_of(text):
    lines = text.splitlines()
    return [sum(line.startswith(mark) for line in lines) for mark in ("#", ("- ", "* "), "|", "`", "")]


def italics(page):
    return re.findall(r"(?<![*\w])\*(?! )([^*\n]+)(?<! )\*", page.replace("**", ""))
