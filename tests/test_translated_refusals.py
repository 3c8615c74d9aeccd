"""Every refusal of the code is known to the languages: of an English sentence nothing is left but names and numbers.

`web/translate.js` puts the translations on the page; what it does with a sentence is done here in the same way. That
all languages have the same list is held by `test_locales.py`.
"""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sentences_in_code import template

ROOT = Path(__file__).resolve().parent.parent
# Who says no: the places of the sentences, or of their parts, among the arguments.
CALLS = {
    "Refusal": (0,),
    "DiskRefusal": (0,),
    "MemoryRefusal": (0,),
    "Unrecognised": (0,),
    "DefectiveFile": (0,),
    "PermissionError": (0,),
    "_misfit": (0,),
    "_wrong_type": (2,),
    "_add_options": (3,),
    "require_memory": (1, 2),
    "allocate": (2,),
}
# Functions that return a sentence or a part of one, and names under which parts are kept.
FUNCTIONS = {"_name_problem", "_folder_problem", "_missing", "takes", "temporal_fusion", "other_patches", "_complaint"}
NAMES = {"_REMEDIES", "NOT_IN_FILES", "LIMITS", "OTHER_UNETS", "PART", "SMALLER_CLIP", "_ADVICE", "_EXPECTED"}
NAMES |= {
    "advice",
    "also",
    "called",
    "clip",
    "connect",
    "expected",
    "found",
    "hindrance",
    "kind",
    "note",
    "other",
    "remedy",
}
NOT_LITERAL = {"problem", "_missing(file)"}  # what such a function has returned
EXCEPTIONS = {
    "{} holds a {}": "too short to be told from a prompt",
    "Load CLIP Vision": "the name of a node of ComfyUI",
    "Stable Video Diffusion": "the name of a model",
    "Stable Video 3D": "the name of a model",
    "the same": "no refusal, but a word in the report of Compare Videos",
}


def nodes_in(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


SENTENCES = json.loads((ROOT / "web" / "texts" / "zh.json").read_text(encoding="utf-8"))
ENTRIES = [*SENTENCES["reports"], *SENTENCES["errors"]]
NODES = nodes_in("zh")
TITLES = {re.fullmatch(r".* \((.*)\)", node["display_name"])[1] for node in NODES.values()}
TITLES |= {"DDIM Invert", "Inflate UNet"}  # short for the same
LABELS = {
    nodes_in("en").get(node, {}).get("inputs", {}).get(name, {}).get("name", name)
    for node, texts in NODES.items()
    for name in texts.get("inputs", {})
}


@cache
def said() -> list[tuple[str, str]]:
    """(where, sentence or part of one) of all that refuses, places as {}."""
    return [(f"{file}:{node.lineno}", text) for file, node in code() for part in parts(node) for text in texts(part)]


@cache
def code() -> list[tuple[str, ast.AST]]:
    """(file, node of its syntax tree) of everything."""
    files = [*ROOT.glob("fatezero/**/*.py"), *ROOT.glob("nodes/**/*.py")]
    return [
        (file.relative_to(ROOT).as_posix(), node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]


def parts(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions in which a node of the syntax tree says no."""
    if isinstance(node, ast.Call):
        yield from (node.args[place] for place in CALLS.get(name_of(node.func), ()) if place < len(node.args))
    elif isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS:
        yield from (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value)
    elif isinstance(node, ast.Assign) and name_of(node.targets[0]) in NAMES:
        yield node.value


def name_of(node: ast.expr) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def texts(node: ast.expr) -> list[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.JoinedStr):
        return [template(node)]
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and node.value else []
    inner = {
        ast.IfExp: ("body", "orelse"),
        ast.BoolOp: ("values",),
        ast.Dict: ("values",),
        ast.BinOp: ("left", "right"),
    }
    fields = [getattr(node, field) for field in inner.get(type(node), ())]
    return [
        text for field in fields for part in (field if isinstance(field, list) else [field]) for text in texts(part)
    ]


def filled(text: str) -> str:
    """A sentence with something in its places that is in no language."""
    return re.sub(r"\{\d?\}", "§", text)


def own_letters(entry: str) -> int:
    return len(re.sub(r"\{\d\}", "", entry))


PATTERNS = {
    entry: re.compile(re.sub(r"\\\{\d\\\}", "(.*)", re.escape(entry)))
    for entry in sorted(ENTRIES, key=own_letters, reverse=True)  # the others might be found in them
}


@cache
def recognised(text: str) -> tuple[str, tuple[str, ...]] | None:
    """The entry that the page finds for a text, and what stands in its places."""
    for entry, pattern in PATTERNS.items():
        if found := pattern.fullmatch(text):
            return entry, found.groups()
    return None


def met(text: str) -> set[str]:
    """The entries that translate a text and what stands in their places."""
    entry, places = recognised(text) or ("", ())
    return {entry}.union(*map(met, places)) - {""}


def left_in_english(text: str) -> list[str]:
    if " " not in text.strip() or text in TITLES | EXCEPTIONS.keys() or text.strip("'") in LABELS:
        return []
    entry, places = recognised(text) or (None, ())
    return [text] if entry is None else [left for place in places for left in left_in_english(place)]


def test_refusals_are_written_where_they_are_raised():
    """Else nobody would find them here."""
    calls = [node for _, node in code() if isinstance(node, ast.Call) and name_of(node.func).endswith("Refusal")]
    assert {ast.unparse(call.args[0]) for call in calls if not texts(call.args[0])} == NOT_LITERAL


def test_every_refusal_is_translated():
    left = {where: left_in_english(filled(text)) for where, text in said() if text not in EXCEPTIONS}
    assert {where: texts for where, texts in left.items() if texts} == {}


def test_no_entry_is_taken_for_another():
    """Each is found for its own sentence, though others would match it, too."""
    taken = {entry: recognised(filled(entry)) for entry in ENTRIES}
    assert {entry: found and found[0] for entry, found in taken.items() if not found or found[0] != entry} == {}


def test_no_entry_of_an_error_is_idle():
    used = set().union(*(met(filled(text)) for _, text in said()))
    as_written = {filled(text) for _, node in code() if isinstance(node, ast.expr) for text in texts(node)}
    assert [entry for entry in SENTENCES["errors"] if entry not in used and filled(entry) not in as_written] == []


def test_exceptions_are_still_said():
    every = "\n".join(text for _, text in said())
    assert [text for text in EXCEPTIONS if text not in every] == []


# What nodes report: every prose of the code that is neither a refusal nor what the nodes' schemas say.

SCHEMA = {"tooltip", "description", "display_name", "search_aliases", "category", "options", "default"}
TOOLTIPS = {"_share", "fraction"}  # make inputs of the tooltips that they are given
CHOICES = {
    choice for node in NODES.values() for text in node.get("inputs", {}).values() for choice in text.get("options", {})
}
NO_REPORTS = {
    "fatezero/readable.py": "how objects are printed",
    "fatezero/prompts/known_words.py": "words that people write",
    "fatezero/prompts/looks.py": "words that people write",
    "fatezero/network/unet/gradients.py": "the words of PyTorch's errors",
    "fatezero/network/unet/chunk_size.py": "the words of PyTorch's errors",
    "fatezero/network/unet/motion_modules.py": "names of layers",
    "fatezero/report/metrics.py": "errors of programs",
    "fatezero/source/attention_parts.py": "errors of our own files in the temp folder",
    "fatezero/source/digest.py": "the parts of a digest",
    "fatezero/source/source_document.py": "the kind of a file, inside it",
    "fatezero/tuning/tuned_file.py": "the kind of a file, inside it",
    "fatezero/video/formats.py": "names of formats",
    "nodes/shared/reuse.py": "a tooltip",
}
LISTS = {
    "_AND",
    "FUNCTION_WORDS",
    "_FOREIGN",
    "_GROUNDS",
    "_NO_THINGS",
    "_NOUNS_IN_ING",
    "_OFTEN_FOREIGN",
    "_OF_PLACE",
    "_PARTS",
    "_NEGATIVE_TAGS",
    "QUALITY_TAGS",
    "NEGATIVE_TAGS",
    "_NOT",
    "_INSTRUCTION",
    "SEARCHED_FOR",
}
OTHERWISE = {
    "and or with": "words that people write",
    "a an the": "words that people write",
    "asked without": "an error of programs",
    "not quite as all at once": "a part of a sentence that is translated whole",
    "equally many": "an error of programs",
    "a single number": "a shape",
    "temporal parts": "the name of a layout's parts",
    "a control character": "the name of a character, as Unicode's are English",
    "inner step": "a noun of `counted`",
    "the ConditioningSetTimestepRange node": "the name of a node of ComfyUI",
    "this sampler": "where a sampler has no name",
    "{} needed, {} free above a reserve of {}": "an error that is logged",
}


def prose(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of what a file says, without docstrings and schemas; each line for itself."""
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(id(node.value))
        skipped = isinstance(node, ast.keyword) and node.arg in SCHEMA
        skipped |= isinstance(node, ast.Call) and name_of(node.func) in TOOLTIPS
        skipped |= isinstance(node, ast.Assign) and name_of(node.targets[0]) in LISTS
        if skipped:
            passed |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
    for node in ast.walk(tree):
        if id(node) in passed or not isinstance(node, (ast.Constant, ast.JoinedStr)):
            continue
        yield from ((node.lineno, line.removeprefix("! ")) for line in "\n".join(texts(node)).split("\n"))


def stays_in_english(line: str) -> bool:
    """Whether the page leaves a line of a report as it is, or a sentence of it."""
    sentences = re.split(r"(?<=\.) (?=[A-Z'])", line.removeprefix("{} "))
    return bool(left_in_english(filled(line))) and any(left_in_english(filled(sentence)) for sentence in sentences)


def test_every_report_is_translated():
    """Line by line, as `web/translate.js` puts them on the page."""
    left = {}
    for path in [*ROOT.glob("fatezero/**/*.py"), *ROOT.glob("nodes/**/*.py")]:
        file = path.relative_to(ROOT).as_posix()
        if file in NO_REPORTS:
            continue
        for line, text in prose(ast.parse(path.read_text(encoding="utf-8"))):
            says = re.search(r"[a-z]{2,} [a-z]{2,}|[A-Za-z]{3,} \{|\} [a-z]{3,}", text)
            known = text in CHOICES | TITLES | LABELS | EXCEPTIONS.keys() | SENTENCES[
                "pictures"
            ].keys() or text.startswith(("FateZero", *OTHERWISE))
            if says and not known and stays_in_english(text):
                left[f"{file}:{line}"] = text
    assert left == {}
