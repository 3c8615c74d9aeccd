"""Fixtures with real ComfyUI servers that have the pack, and the tests' own nodes, linked in.

conftest.py imports them. Not called server.py: ComfyUI has a module of that name, and its nodes import it.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools.comfyui_server import ComfyUIServer

TESTS = Path(__file__).resolve().parent
PACKS = {"fatezero": TESTS.parent, "testing_nodes": TESTS / "testing_nodes"}


def comfyui_server(version, base, *arguments):
    """A ComfyUI on the CPU, not started yet; `version` is the variable with its folder, COMFYUI_PATH or .._OLD."""
    packs = {name: folder for name, folder in PACKS.items() if folder.is_dir()}
    return ComfyUIServer(os.environ[version], sys.executable, base, packs, ["--cpu", *arguments])


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The newest supported ComfyUI, running with its defaults and shared by all tests."""
    with comfyui_server("COMFYUI_PATH", tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="session")
def old_server(tmp_path_factory):
    """The oldest supported ComfyUI, running with its defaults and shared by all tests."""
    with comfyui_server("COMFYUI_PATH_OLD", tmp_path_factory.mktemp("comfyui_old")) as running:
        yield running


@pytest.fixture(params=["server", "old_server"])
def either_server(request):
    """The newest ComfyUI and then the oldest."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def start_server(tmp_path_factory):
    """start_server("--cache-none", ...) is a newest ComfyUI with further arguments, stopped when the test ends."""
    with ExitStack() as servers:
        yield lambda *arguments: servers.enter_context(
            comfyui_server("COMFYUI_PATH", tmp_path_factory.mktemp("comfyui"), *arguments)
        )
