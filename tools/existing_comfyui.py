"""A ComfyUI that is on this machine already: what --comfyui and --python name. Standard library only."""

import re
import shutil
import sys
from pathlib import Path

from .comfyui_client import ServerError
from .environment import OLDEST, interpreter


def existing_comfyui(folder, python=None):
    """(folder, interpreter) of a ComfyUI as they were named.

    folder    the one with ComfyUI's main.py
    python    its interpreter, a path or a command; None looks for the one that came with the folder
    ServerError where one of them is not there, or is too old.
    """
    folder = Path(folder).resolve()
    version = folder / "comfyui_version.py"
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version.read_text()) if version.exists() else None
    if not found or tuple(map(int, found.groups())) < tuple(map(int, OLDEST.split("."))):
        raise ServerError(f"--comfyui: {folder} holds no ComfyUI {OLDEST} or newer; name the folder of its main.py.")
    started = shutil.which(python) if python else _interpreter_of(folder)
    if started is None:
        raise ServerError(f"--python: there is no interpreter {python}.")
    return folder, started


def _interpreter_of(folder):
    """The Python of an existing ComfyUI: its virtual environment, Windows' portable one, or else the running one."""
    places = (interpreter(folder / ".venv"), interpreter(folder / "venv"), folder.parent / "python_embeded/python.exe")
    return next((place for place in places if place.exists()), Path(sys.executable))
