"""Loads the ComfyUI of COMFYUI_PATH, on the GPU where there is one, and the pack as `fatezero_pack`.

COMFYUI_OPTIONS are ComfyUI's options, such as "--force-fp32 --fp32-vae".
"""

import os
import sys
from pathlib import Path

import torch

# Before the tests' own door, which would choose the CPU; ComfyUI reads its options from sys.argv on import.
sys.path[:0] = [os.environ["COMFYUI_PATH"], str(Path(__file__).resolve().parents[1] / "tests")]
import comfy.options  # noqa: E402

options = os.environ.get("COMFYUI_OPTIONS", "" if torch.cuda.is_available() else "--cpu").split()
arguments, sys.argv = sys.argv, ["bench", *options, "--use-pytorch-cross-attention"]
comfy.options.enable_args_parsing()
import comfy.cli_args  # noqa: E402,F401

sys.argv = arguments
import comfyui_pack  # noqa: E402,F401
