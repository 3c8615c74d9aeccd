"""Real ComfyUI servers with the pack, on the CPU; COMFYUI_PATH and COMFYUI_PATH_OLD name the two versions."""

import os
import sys
from pathlib import Path

from tools.comfyui_server import ComfyUIServer

NEW, OLD = "COMFYUI_PATH", "COMFYUI_PATH_OLD"
PACK = Path(__file__).resolve().parents[2]


def server_of(version: str, base: Path, *arguments: str) -> ComfyUIServer:
    """A server that is not started yet.

    Args:
        version: NEW or OLD.
        base: Its folder for input, output and temp.
        arguments: Further ones of ComfyUI.
    """
    packs = {"fatezero": PACK, "testing_nodes": PACK / "tests" / "testing_nodes"}
    return ComfyUIServer(os.environ[version], sys.executable, base, packs, ["--cpu", *arguments])
