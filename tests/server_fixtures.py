"""Fixtures with real ComfyUI servers that have the pack, as the Comfy Registry gives it out, and the tests' own nodes.

conftest.py imports them. Not called server.py: ComfyUI has a module of that name, and its nodes import it.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

from tools.comfyui_server import ComfyUIServer

TESTS = Path(__file__).resolve().parent
PACK = TESTS.parent


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The folder of the pack as an archive of the Comfy Registry holds it: what git knows, without .comfyignore."""
    folder = tmp_path_factory.mktemp("archive") / "fatezero"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(command, cwd=PACK, capture_output=True, text=True, check=True).stdout.splitlines()
    left_out = GitIgnoreSpec.from_lines((PACK / ".comfyignore").read_text(encoding="utf-8").splitlines())
    for name in left_out.match_files(known, negate=True):
        if (PACK / name).exists():  # git still knows a file whose removal is not committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACK / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def new_server(archive, tmp_path_factory):
    """new_server("COMFYUI_PATH", ...) is a ComfyUI, not started yet; COMFYUI_PATH_OLD names the oldest.

    It runs on the CPU, or with the options in COMFYUI_OPTIONS.
    """
    options = os.environ.get("COMFYUI_OPTIONS", "--cpu").split()
    packs = {"fatezero": archive, "testing_nodes": TESTS / "testing_nodes"}

    def make(version, *arguments):
        base = tmp_path_factory.mktemp("comfyui")
        return ComfyUIServer(os.environ[version], sys.executable, base, packs, [*options, *arguments])

    return make


@pytest.fixture(scope="session")
def server(new_server):
    """The newest supported ComfyUI, running with its defaults and shared by all tests."""
    with new_server("COMFYUI_PATH") as running:
        yield running


@pytest.fixture(scope="session")
def old_server(new_server):
    """The oldest supported ComfyUI, running with its defaults and shared by all tests."""
    with new_server("COMFYUI_PATH_OLD") as running:
        yield running


@pytest.fixture(params=["server", "old_server"])
def either_server(request):
    """The newest ComfyUI and then the oldest."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def start_server(new_server):
    """start_server("--cache-none", ...) is a newest ComfyUI with further arguments, stopped when the test ends."""
    with ExitStack() as servers:
        yield lambda *arguments: servers.enter_context(new_server("COMFYUI_PATH", *arguments))
