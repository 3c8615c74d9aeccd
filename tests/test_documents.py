"""README, CONTRIBUTING and the help pages say what the code says."""

import asyncio
import re
from pathlib import Path

import pytest

from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.nodes import FateZeroExtension

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^│   (\w+)/", CONTRIBUTING.partition("┌ fatezero/")[2], re.MULTILINE)  # from the top down
COMMON = {file.stem for file in (ROOT / "fatezero").glob("*.py")}  # beside the rooms, for all of them
PAPER = " (as in the paper)"


def imports_from_elsewhere(room):
    """[(file, where it imports from)]: other rooms and files of fatezero/, and whatever lies outside of it."""
    found = []
    folder = ROOT / "fatezero" / room
    for file in folder.glob("**/*.py"):
        up = len(file.relative_to(folder).parts) + 1  # so many dots lead to fatezero/
        lines = re.findall(r"^\s*from (\.+)(\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        found += [(file.name, name) for dots, name in lines if len(dots) >= up]
    return found


def test_the_drawing_has_every_room():
    folders = {folder.parent.name for folder in (ROOT / "fatezero").glob("*/__init__.py")}
    assert set(ROOMS) == folders and len(ROOMS) == len(folders)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_below_it(room):
    allowed = {*ROOMS[ROOMS.index(room) + 1 :], *COMMON}
    assert [(file, name) for file, name in imports_from_elsewhere(room) if name not in allowed] == []


@pytest.mark.parametrize("folder", ["unet", "transformer", "inspection"])
def test_network_imports_none_of_its_folders(folder):
    imported = re.compile(rf"^\s*from \.{folder}\b", re.MULTILINE)
    files = (ROOT / "fatezero/network").glob("*.py")
    assert [file.name for file in files if imported.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("one, other", [("unet", "transformer"), ("transformer", "unet"), ("unet", "inspection")])
@pytest.mark.parametrize("room", ["network", "edit"])
def test_one_kind_of_network_imports_nothing_of_another(room, one, other):
    imported = re.compile(rf"^\s*from \.+(?:{room}\.)?{other}\b", re.MULTILINE)
    files = (ROOT / "fatezero" / room / one).glob("*.py")
    assert [file.name for file in files if imported.search(file.read_text(encoding="utf-8"))] == []


def test_contributing_names_files_that_exist():
    named = re.findall(r"`([\w./]+/[\w./]*)`", CONTRIBUTING)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "fatezero" / name).exists()] == []


def test_the_readme_links_to_files_that_exist():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_has_a_row_for_every_node():
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in row.split(", ")}
    nodes = asyncio.run(FateZeroExtension().get_node_list())
    assert [node.define_schema().display_name for node in nodes if node.define_schema().display_name not in named] == []


def test_every_input_and_output_has_a_tooltip():
    schemas = [node.define_schema() for node in asyncio.run(FateZeroExtension().get_node_list())]
    sockets = [(schema.node_id, socket) for schema in schemas for socket in [*schema.inputs, *schema.outputs]]
    sockets += [(node, nested) for node, socket in sockets for nested in nested_inputs(socket)]
    assert [(node, socket.id) for node, socket in sockets if not socket.tooltip] == []


def nested_inputs(socket):
    """The inputs that the options of a preset bring along."""
    return [nested for option in getattr(socket, "options", None) or [] for nested in getattr(option, "inputs", [])]


def test_the_help_page_has_a_row_for_every_preset():
    page = (ROOT / "web" / "docs" / "FateZeroBlendSampler.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \|", page, re.MULTILINE)
    assert f"...{PAPER}" in rows
    assert [name for name in PRESETS if not name.endswith(PAPER) and name not in rows] == []
