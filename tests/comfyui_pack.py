"""Puts a real ComfyUI on the path (COMFYUI_PATH) and loads the pack as package `fatezero_pack`.

It runs on the CPU, or with the options in COMFYUI_OPTIONS: "--force-fp32" tests on a GPU.
"""

import importlib.util
import os
import sys
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ""))
if not (COMFYUI / "comfy").is_dir():
    raise SystemExit("COMFYUI_PATH must name a ComfyUI folder; `python dev.py test` sets it.")

sys.dont_write_bytecode = True
sys.path[:0] = [str(COMFYUI), str(Path(__file__).parent)]

import comfy.options  # noqa: E402

# ComfyUI reads its options from sys.argv on import; pytest's own must not reach it.
options = os.environ.get("COMFYUI_OPTIONS", "--cpu").split()
arguments, sys.argv = sys.argv, ["pytest", *options, "--use-pytorch-cross-attention"]
comfy.options.enable_args_parsing()
import comfy.cli_args  # noqa: E402,F401

sys.argv = arguments

specification = importlib.util.spec_from_file_location(
    "fatezero_pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
)
pack = importlib.util.module_from_spec(specification)
sys.modules["fatezero_pack"] = pack
specification.loader.exec_module(pack)
