"""Edits from a table on real servers: one that runs already, and workers on Ray."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from processes import ended, until
from tools.batch.__main__ import main
from tools.lifeline import Lifeline
from tools.workflow_prompt import prompt_from_workflow

PACK = Path(__file__).resolve().parent.parent
CLIPS = PACK / "demo" / "clips"
pytestmark = pytest.mark.slow
CIRCLE = "a red circle on green grass"


def table(folder, *rows):
    folder.mkdir(exist_ok=True)
    shutil.copy(CLIPS / "red_circle_on_grass.mp4", folder / "clip.mp4")
    path = folder / "edits.jsonl"
    lines = (
        {"clip": "clip.mp4", "source prompt": CIRCLE, "size": "small", "count": 4, "steps": 2, **row} for row in rows
    )
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def states(out):
    with open(out / "summary.csv", encoding="utf-8-sig") as file:
        return {row["name"]: (row["state"], row["problem"]) for row in csv.DictReader(file)}


def told(out, name):
    return json.loads((out / name / "row.json").read_text())["texts"]["DDIM Invert + Store Attention"]


def test_rows_share_an_inversion_fail_alone_and_are_not_run_again(server, tmp_path, capsys):
    path = table(
        tmp_path / "table",
        {"name": "blue", "target prompt": "a blue circle on green grass"},
        {"name": "lost", "target prompt": "a blue circle", "clip": "nowhere.mp4"},
        {"name": "none", "target prompt": CIRCLE},  # refused by the edit: no word changed
        {"name": "pink", "target prompt": "a pink circle on green grass"},
    )
    arguments = [
        str(path),
        "--workflow",
        "fatezero_video_edit_demo_color_edit",
        "--comfyui",
        server.url,
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 1
    found = states(tmp_path / "out")
    assert found["blue"] == found["pink"] == ("done", "")
    assert found["lost"][0] == found["none"][0] == "failed"
    assert "there is no file" in found["lost"][1] and "nowhere.mp4" in found["lost"][1]
    assert found["none"][1].startswith("Edit Prompts: Attention Blend Sampler, further on, cannot run: ")
    assert "found again" not in told(tmp_path / "out", "blue") and "found again" in told(tmp_path / "out", "pink")
    assert (tmp_path / "out/blue/Edited video.mp4").stat().st_size > 1000
    written = (tmp_path / "out/pink/row.json").stat().st_mtime_ns
    assert main(arguments) == 1
    assert (tmp_path / "out/pink/row.json").stat().st_mtime_ns == written, "done rows are not run again"
    assert "2 of 4 edits are done" in capsys.readouterr().out


def test_a_batch_that_is_killed_leaves_no_server_and_goes_on(tmp_path):
    colors = ("blue", "pink", "white")
    rows = [{"name": color, "target prompt": f"a {color} circle on green grass", "count": 2} for color in colors]
    path, out = table(tmp_path / "table", *rows), tmp_path / "out"
    arguments = [str(path), "--workflow", "fatezero_video_edit_demo_color_edit", "--out", str(out)]
    arguments += ["--comfyui", os.environ["COMFYUI_PATH"]]
    as_dev = "import sys; from tools import commands; commands._run_module(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", as_dev, "tools.batch", *arguments]
    with subprocess.Popen(command, cwd=PACK) as batch:
        started = []
        try:
            assert until(lambda: list(out.glob("*/row.json")), patience=600)
            started = psutil.Process(batch.pid).children(recursive=True)
        finally:
            batch.kill()
    assert len(started) >= 2 and until(lambda: all(map(ended, started))), "the command's own process and ComfyUI's"
    done = {file: file.stat().st_mtime_ns for file in out.glob("*/row.json")}
    assert 0 < len(done) < len(colors), "it was in the middle"
    assert main(arguments) == 0
    assert [states(out)[color][0] for color in colors] == ["done"] * 3
    assert all(file.stat().st_mtime_ns == written for file, written in done.items()), "what was done stays"


def pictures(folder):
    return np.stack([np.asarray(Image.open(file), np.int16) for file in sorted(folder.iterdir())])


def test_parts_give_the_same_frames_as_the_whole(server, tmp_path):
    row = {"name": "blue", "target prompt": "a blue circle on green grass", "Edited video.format": "png"}
    path = table(tmp_path / "table", row)
    arguments = [str(path), "--workflow", "fatezero_video_edit_demo_color_edit", "--comfyui", server.url]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "parts"), "--frames", "2"]) == 0
    frames = [pictures(tmp_path / out / "blue" / "Edited video") for out in ("whole", "parts")]
    assert frames[0].shape == frames[1].shape == (4, 128, 128, 3)
    difference = np.abs(frames[0] - frames[1])
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3, "equal but for the last digit of 8 bits"
    changes = [np.abs(np.diff(clip, axis=0)).mean(axis=(1, 2, 3)) for clip in frames]
    assert np.allclose(*changes, rtol=1e-3), "from frame to frame as in the whole: no seam between the parts"
    assert not (tmp_path / "parts/.parts").exists()


def killed_once(out, left, name="row.json"):
    """Kills a worker's process as soon as the first row is done; puts what it has started into `left`."""
    deadline = time.monotonic() + 600
    while not list(out.glob(f"*/{name}")) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::Worker"):
                left += psutil.Process(int(process.name)).children(recursive=True)
                return os.kill(int(process.name), signal.SIGKILL)
        except (OSError, psutil.Error):
            continue
    raise AssertionError("no worker was found")


@pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's workers by /proc")
def test_two_workers_on_ray_of_which_one_is_killed_lose_nothing(server, tmp_path):
    pytest.importorskip("ray")
    colors = ("blue", "pink", "white", "black")
    rows = [{"name": color, "target prompt": f"a {color} circle on green grass", "count": 2} for color in colors]
    path = table(tmp_path / "table", *rows, {"name": "lost", "clip": "nowhere.mp4"})
    arguments = [str(path), "--workflow", "fatezero_video_edit_demo_color_edit"]
    left: list[psutil.Process] = []
    killer = threading.Thread(target=killed_once, args=(tmp_path / "ray", left))
    killer.start()
    comfyui = ["--comfyui", os.environ["COMFYUI_PATH"]]
    # In a process of its own: Ray changes how its process waits for children.
    batch = ["-m", "tools.batch", *arguments, *comfyui, "--ray", "--workers", "2", "--out", tmp_path / "ray"]
    with Lifeline() as lifeline:
        command = lifeline.command(sys.executable, *batch)
        told = subprocess.run(command, cwd=PACK, capture_output=True, text=True)
    killer.join()
    assert left and all(map(ended, left)), "the worker's ComfyUI went with it"
    assert told.returncode == 1, told.stderr
    found = states(tmp_path / "ray")
    assert [found[color][0] for color in colors] == ["done"] * 4 and found["lost"][0] == "failed"
    assert main([*arguments, "--comfyui", server.url, "--out", str(tmp_path / "one")]) == 1
    for color in colors:
        of_ray, of_one = (tmp_path / out / color / "Edited video.mp4" for out in ("ray", "one"))
        assert of_ray.stat().st_size > 1000 and equal_pictures(of_ray, of_one)


def equal_pictures(first, second):
    """But for rounding, where a film's coder may turn one level into a few in some places."""
    from workflow_runs import read_clip

    (a, _), (b, _) = read_clip(first), read_clip(second)
    return a.shape == b.shape and np.abs(a.astype(int) - b).mean() < 0.1


def test_a_workflow_exported_for_the_api_runs_too(server, tmp_path):
    path = table(tmp_path / "table", {"name": "blue", "target prompt": "a blue circle on green grass", "count": 1})
    workflow = json.loads((PACK / "workflows" / "fatezero_video_edit_demo_color_edit.json").read_text(encoding="utf-8"))
    prompt = prompt_from_workflow(workflow, server.object_info())
    for entry in prompt.values():
        if entry["_meta"]["title"] != "Side by side":
            del entry["_meta"]
    (tmp_path / "api.json").write_text(json.dumps(prompt))
    arguments = [str(path), "--workflow", str(tmp_path / "api.json"), "--comfyui", server.url]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/blue/Video Save.mp4").exists() and (tmp_path / "out/blue/Side by side.mp4").exists()
