"""Some of each kind of node of ComfyUI beside the pack, on both versions: it works or is refused in a sentence.

`python -m benchmarks.compatibility` examines all of them; docs/compatibility.md has what it found.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compatibility.candidates import candidates, load_nodes
from benchmarks.compatibility.cells import Bench, examined
from benchmarks.compatibility.table import REFUSED, WORKS, detail, verdict, write_section
from edit_cases import small_model

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = {
    "FreeU_V2": WORKS,
    "PerturbedAttentionGuidance": WORKS,
    "SelfAttentionGuidance": WORKS,
    "NAGuidance": WORKS,
    "EasyCache": WORKS,
    "PatchModelAddDownscale": WORKS,
    "TomePatchModel": REFUSED,
    "ContextWindowsManual": REFUSED,
    "ControlNetApplyAdvanced on the source": WORKS,
    "ConditioningSetArea on the negative": REFUSED,
    "ConditioningSetTimestepRange on the positive": WORKS,
    "ConditioningConcat on the positive": REFUSED,
    "DualCFGGuider": WORKS,
    "PerpNegGuider": WORKS,
    "sampler dpmpp_2m": WORKS,
    "sampler uni_pc": WORKS,
    "sampler euler_ancestral": REFUSED,
}
STEPS = 2
load_nodes()
CANDIDATES = {candidate.name: candidate for candidate in candidates() if candidate.name in EXPECTED}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench():
    return Bench(small_model(), steps=STEPS)


@pytest.mark.parametrize("name", EXPECTED)
def test_works_or_is_refused(name, bench):
    cell = examined(bench, CANDIDATES[name].graph)
    assert verdict(cell) == EXPECTED[name], detail(cell)


def test_on_the_oldest_comfyui():
    """The same nodes and verdicts, in a process that has ComfyUI's oldest version."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compatibility", "--steps", str(STEPS), "--only", *EXPECTED],
        cwd=ROOT,
        env={**os.environ, "COMFYUI_PATH": os.environ["COMFYUI_PATH_OLD"]},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [line.split("|")[1:3] for line in run.stdout.splitlines() if line.startswith("| ")]
    found = {name.strip(): word.strip() for name, word in rows}
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED, run.stdout


def test_a_section_is_written_in_its_place(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    monkeypatch.setattr("benchmarks.compatibility.table.PAGE", page)
    for lines in (["old"], ["new"]):
        write_section("Nodes", lines)
        write_section("Families", ["kept"])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Beside other nodes\n\n## Nodes\nnew\n\n## Families\nkept\n") and "old" not in text
