"""Nothing that dev.py starts outlives it, not even after `kill -9`, and all of it runs as without a lifeline."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from processes import ended, until
from tools.lifeline import Lifeline

PACK = Path(__file__).resolve().parent.parent
# Programs that start others: dev.py a command, which starts a server; a benchmark a pool.
COMMAND = """
import sys
from pathlib import Path
from tools import commands

commands.ROOT = Path.cwd()
commands._run_module(sys.executable, ["serves"])
"""
SERVES = f"""
import sys
sys.path.insert(0, {str(PACK)!r})
from tools.comfyui_server import ComfyUIServer

ComfyUIServer(".", sys.executable, "base", {{}}).start()
"""
POOL = f"""
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
sys.path.insert(0, {str(PACK)!r})
from tools.lifeline import end_with_parent

if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context(sys.argv[1]), end_with_parent) as pool:
        list(pool.map(time.sleep, [1, 1]))
        time.sleep(600)
"""


def killed(command, folder, count):
    """What a program has started, directly and further on, once it is killed; it starts so many processes."""
    with subprocess.Popen(
        command, cwd=folder, env={"PYTHONPATH": str(PACK), "PYTHONDONTWRITEBYTECODE": "1"}
    ) as program:
        try:
            children = psutil.Process(program.pid).children
            assert until(lambda: len(children(recursive=True)) >= count), children(recursive=True)
            started = children(recursive=True)
            assert not until(lambda: any(map(ended, started)), patience=1), "they run as long as it does"
        finally:
            program.kill()  # SIGKILL, and TerminateProcess on Windows
    return started


def test_a_command_that_is_killed_takes_its_comfyui_along(tmp_path):
    (tmp_path / "serves.py").write_text(SERVES)
    (tmp_path / "main.py").write_text("import time; time.sleep(600)")
    (tmp_path / "base").mkdir()
    started = killed([sys.executable, "-c", COMMAND], tmp_path, 2)
    assert until(lambda: all(map(ended, started)), patience=20)


@pytest.mark.parametrize("way", multiprocessing.get_all_start_methods())
def test_a_pool_ends_with_the_program_that_made_it(tmp_path, way):
    (tmp_path / "pool.py").write_text(POOL)
    started = killed([sys.executable, "pool.py", way], tmp_path, 2)
    assert until(lambda: all(map(ended, started)), patience=20)


def test_who_lets_go_of_the_lifeline_ends_what_hangs_on_it(tmp_path):
    (tmp_path / "waits.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    lifeline = Lifeline()
    command = lifeline.command(sys.executable, tmp_path / "waits.py")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"here" and process.poll() is None
        lifeline.close()
        assert process.wait(timeout=20) == 1
    assert subprocess.run(command, timeout=20).returncode == 1, "nor does it start when the other is gone already"


@pytest.mark.parametrize("arguments", [["{folder}/tells.py", "--steps", "8"], ["-m", "tells", "-m", "8"]])
def test_programs_find_what_they_find_without_a_lifeline(tmp_path, arguments):
    (tmp_path / "beside.py").write_text("THERE = True")
    (tmp_path / "tells.py").write_text(
        "import json, sys, beside\n"
        "main = sys.modules['__main__']\n"
        "print(json.dumps([__name__, __file__, sys.argv, sys.path, beside.THERE, main.__name__, main.__file__]))\n"
        "print(sys.stdin.read())\n"
        "sys.exit(7)"
    )
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    with Lifeline() as lifeline:
        plain, held = (
            subprocess.run(command, cwd=tmp_path, input=b"typed", capture_output=True, timeout=60)
            for command in ([sys.executable, *arguments], lifeline.command(sys.executable, *arguments))
        )
    assert plain.returncode == held.returncode == 7, held.stderr
    assert json.loads(held.stdout.splitlines()[0]) == json.loads(plain.stdout.splitlines()[0])
    assert held.stdout == plain.stdout and b"typed" in held.stdout
