"""A tuned model outlives the server: saved, restarted and loaded, it draws the same edit to the last bit."""

from pathlib import PurePosixPath

import pytest
import torch
from safetensors.torch import load_file

from workflow_runs import SAMPLER, completed, nodes, shipped, shortened

pytestmark = pytest.mark.slow
TUNE, LOAD, SAVE = "FateZeroTune", "FateZeroLoadTuned", "FateZeroSaveTuned"


def tuned_and_edited(server):
    """The template in small, which keeps its tuned model as a file and its edit as a latent; the id of its tuning."""
    prompt = shortened(shipped(server, "fatezero_video_edit_demo_tune_and_edit_shape"), frames=3, steps=4)
    for node in nodes(prompt, "FateZeroVideoSave") + nodes(prompt, "VAEDecode"):
        del prompt[node]
    (tune,), (sampler,) = nodes(prompt, TUNE), nodes(prompt, SAMPLER)
    prompt["save"] = {"class_type": SAVE, "inputs": {"model": [tune, 0], "filename_prefix": "fatezero_tuned/kept"}}
    prompt["edit"] = {"class_type": "SaveLatent", "inputs": {"samples": [sampler, 0], "filename_prefix": "edited"}}
    return prompt, tune


def edited(server, prompt):
    run = completed(server, prompt)
    return load_file(server.path(run.outputs["edit"]["latents"][0]))["latent_tensor"], run


def test_saved_restarted_loaded(new_server):
    server = new_server("COMFYUI_PATH")
    with server:
        prompt, tune = tuned_and_edited(server)
        before, run = edited(server, prompt)
        file = run.outputs["save"]["text"][0].splitlines()[0]
    with server:
        del prompt["save"]
        base = prompt[tune]["inputs"]["model"]
        prompt[tune] = {"class_type": LOAD, "inputs": {"model": base, "file": PurePosixPath(file).name}}
        after, _ = edited(server, prompt)
        assert torch.equal(after, before)
        prompt[tune]["inputs"]["key_frames"] = "first (Video-P2P)"
        assert not torch.equal(edited(server, prompt)[0], before)
