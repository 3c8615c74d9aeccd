"""Saving, loading and resuming source runs on a real ComfyUI, as a person meets them."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint
from fatezero_pack.fatezero.source.source_file import read_source
from golden_unet import relative
from workflow_runs import INVERT, SAMPLER, completed, nodes, short_demo


def edit(server, run):
    (saved,) = run.outputs["edit"]["latents"]
    return load_file(server.path(saved))["latent_tensor"]


def saved_run(server):
    """A run saved by one prompt: (name as Load Inverted Clip offers it, its path, the edit made from it in memory)."""
    prompt, invert = short_demo(server)
    prompt["save"] = {
        "class_type": "FateZeroSaveSource",
        "inputs": {"source": [invert, 1], "filename_prefix": "fatezero/test"},
    }
    run = completed(server, prompt)
    name, size = run.outputs["save"]["text"][0].split("\n")
    assert size.endswith((" kB", " MB")) and float(size.split()[0]) > 0
    return f"{name} [output]", server.base / "output" / name, edit(server, run)


def loading(server, file):
    """The short demo with a file in place of the inversion."""
    prompt, invert = short_demo(server)
    model = prompt[invert]["inputs"]["model"]
    prompt[invert] = {"class_type": "FateZeroLoadSource", "inputs": {"model": model, "file": file}}
    return prompt, invert


@pytest.fixture(scope="module")
def saved(server):
    return saved_run(server)


def test_an_edit_from_a_file_is_the_edit_from_memory(server, saved):
    file, path, expected = saved
    offered = server.object_info("FateZeroLoadSource")["FateZeroLoadSource"]["input"]["required"]["file"]
    assert file in json.dumps(offered)
    prompt, load = loading(server, file)
    run = completed(server, prompt)
    assert INVERT not in [prompt[node]["class_type"] for node in run.executed]
    assert relative(edit(server, run), expected) < 1e-6
    (report,) = run.outputs[load]["text"]
    assert "a red circle on green grass" in report and report.endswith(f"loaded from {file}")


def test_edits_from_the_cache_and_after_free(server):
    """The cache goes with everything else that ComfyUI frees; the next edit computes again what it needs."""
    prompt, invert = short_demo(server)
    (sampler,) = nodes(prompt, SAMPLER)

    def edited_with(source_attention, cfg):
        prompt[sampler]["inputs"].update(source_attention=source_attention, cfg=cfg)
        run = completed(server, prompt)
        return edit(server, run), invert in run.executed

    edited_with("cache", 3.0)  # fills it
    from_cache, _ = edited_with("cache", 4.0)
    server.free()
    replayed, inverted_again = edited_with("replay", 4.0)
    assert inverted_again
    assert float((from_cache - replayed).norm() / replayed.norm()) < 1e-3
    assert not list((server.base / "temp").glob("fatezero_cache_*"))


def test_a_file_serves_another_process_and_another_comfyui(old_server, saved):
    _, path, expected = saved
    source = read_source(str(path))
    assert source.fingerprint == fingerprint(load_demo_model()[0])
    shutil.copy(path, old_server.base / "input" / "from_another.safetensors")
    run = completed(old_server, loading(old_server, "from_another.safetensors")[0])
    assert float((edit(old_server, run) - expected).norm() / expected.norm()) < 1e-3


def test_errors_name_the_file_and_what_to_do(server, saved, tmp_path):
    file, path, _ = saved
    prompt, load = loading(server, file.replace("test_0", "gone_0"))
    run = server.run(prompt)
    assert run.status == "rejected" and run.error["node_id"] == load
    assert "Load Inverted Clip: 'file' is fatezero/gone_0" in run.error["exception_message"]

    damaged = server.base / "input" / "damaged.safetensors"
    damaged.write_bytes(Path(path).read_bytes()[:-1000])
    run = server.run(loading(server, "damaged.safetensors")[0])
    assert (run.status, run.error["node_id"]) == ("error", load)
    assert run.error["exception_message"].strip() == (
        "Load Inverted Clip: 'damaged.safetensors' cannot be used: it is not a safetensors file, or not all of it is "
        "there; choose another file, or save the inverted clip again."
    )

    prompt, load = loading(server, file)
    prompt[load]["inputs"]["model"] = [nodes(prompt, "FateZeroLoadDemoModel")[0], 0]  # not inflated
    run = server.run(prompt)
    assert run.error["exception_message"].startswith("Load Inverted Clip: the model is inflated with [nothing] but ")


@pytest.mark.slow
def test_a_cancelled_inversion_goes_on(server):
    prompt, invert = short_demo(server, steps=60)
    prompt = {node: entry for node, entry in prompt.items() if node not in ("edit", *nodes(prompt, SAMPLER))}
    prompt[invert]["inputs"]["resume"] = True
    prompt["report"] = {"class_type": "PreviewAny", "inputs": {"source": [invert, 3]}}
    last = []

    def cancel(kind, data):
        if kind == "progress" and data["node"] == invert and data["value"] >= 5 and not last:
            last.append(data["value"])
            server.interrupt()

    assert server.run(prompt, on_event=cancel).status == "interrupted"
    (folder,) = (server.base / "output" / "fatezero" / "unfinished").iterdir()
    done = len(list(folder.glob("step_*")))
    assert 5 <= done < 60
    seen = []
    run = server.run(prompt, on_event=lambda kind, data: seen.append(data) if kind == "progress" else None)
    assert run.status == "success", run.error
    assert f"continued after step {done} of 60" in json.dumps(run.outputs["report"])
    values = [data["value"] for data in seen if data["node"] == invert]
    assert values[0] == done + 1 and values[-1] == seen[-1]["max"] == 60
    assert not folder.exists()
