"""What version 0.1.0 wrote still works: a source run's file, and the workflows that people have saved."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edit_cases import edited, prompt_edit, small_model
from fatezero_pack.fatezero.edit.settings import WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.source_check import check_edit, check_model
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.fatezero.tensor_file import read_tensors
from golden_unet import relative
from tools.workflow_prompt import prompt_from_workflow

SAVED = Path(__file__).resolve().parent / "saved_0_1_0"
RUN = str(SAVED / "source_run.safetensors")
NAMES = sorted(file.stem for file in (SAVED / "workflows").glob("*.json"))
MODEL_FOLDERS = {"ckpt_name": "checkpoints", "lora_name": "loras", "control_net_name": "controlnet"}
EDIT = prompt_edit("a silver jeep, (shiny:1.3) on a road", "a red jeep, (shiny:1.3) on a road")
SETTINGS = BlendSettings(Window(0, 1), Window(0, 1), mask_from=WORDS, threshold=0.5, latent_window=Window(0.2, 1))
INFLATION = Inflation(("-1", "first"), minimum_width=8, normalise_across_frames=True)


@pytest.fixture(scope="module")
def model():
    with torch.inference_mode():
        return inflate(small_model(), INFLATION)


def test_a_source_run_is_edited_as_it_was(model):
    source = read_source(RUN)
    check_model(model, source)
    check_edit(EDIT, source)
    expected = load_file(SAVED / "edited.safetensors")["samples"]
    with torch.inference_mode():
        assert relative(edited(model, source, EDIT, SETTINGS), expected) <= 1e-5


def test_a_source_run_saved_again_is_the_same(tmp_path):
    path = str(tmp_path / "again.safetensors")
    write_source(path, read_source(RUN))
    (document, tensors), (expected, expected_tensors) = (read_tensors(file, lambda *_: None) for file in (path, RUN))
    assert document == expected and tensors.keys() == expected_tensors.keys()
    assert {"sigmas", "trajectory", "word_maps", "conditioning"} <= tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected_tensors.items())


@pytest.fixture(scope="module")
def model_names(server):
    """Empty files of the names that the workflows for SD 1.5 ask for, so that ComfyUI offers them."""
    for file in (SAVED / "prompts").glob("*.json"):
        for entry in json.loads(file.read_text(encoding="utf-8")).values():
            for name, folder in MODEL_FOLDERS.items():
                if name in entry["inputs"]:
                    path = server.base / "models" / folder / entry["inputs"][name]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_means_what_it_meant(server, name):
    """Each of its inputs holds the value or link that 0.1.0 read from the file; newer inputs hold their defaults."""
    workflow = json.loads((SAVED / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    prompt = prompt_from_workflow(workflow, server.object_info())
    expected = json.loads((SAVED / "prompts" / f"{name}.json").read_text(encoding="utf-8"))
    assert prompt.keys() == expected.keys()
    for node, saved in expected.items():
        assert prompt[node]["class_type"] == saved["class_type"]
        found = {key: prompt[node]["inputs"].get(key, "missing") for key in saved["inputs"]}
        assert found == saved["inputs"], f"{node} {saved['class_type']}"


@pytest.mark.parametrize("kind", ["prompts", "workflows"])
@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_before_is_accepted(server, model_names, name, kind):
    """Prompts as API clients have saved them, without later inputs, and workflows; what they compute is not awaited."""
    prompt = json.loads((SAVED / kind / f"{name}.json").read_text(encoding="utf-8"))
    if kind == "workflows":
        prompt = prompt_from_workflow(prompt, server.object_info())

    def stop(kind, data):
        if kind == "execution_start":
            server.interrupt()

    run = server.run(prompt, on_event=stop)
    assert run.status != "rejected", run.error
