"""Every node of ComfyUI that patches a UNet, beside the pack: it works or is refused in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compatibility.candidates import candidates, load_nodes
from benchmarks.compatibility.cells import Bench, examined
from benchmarks.compatibility.table import REFUSED, WORKS, detail, verdict
from edit_cases import small_model

ROOT = Path(__file__).resolve().parent.parent
load_nodes(packs=False)
CANDIDATES = list(candidates())

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench():
    return Bench(small_model())


def test_nodes_are_found():
    names = {candidate.name for candidate in CANDIDATES}
    assert {
        "FreeU_V2",
        "PerturbedAttentionGuidance",
        "NAGuidance",
        "EasyCache",
        "TomePatchModel",
        "RescaleCFG",
    } <= names


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_works_or_is_refused(candidate, bench):
    cell = examined(bench, candidate.apply)
    if "without the pack" in cell.broken:
        pytest.skip(f"{candidate.name} breaks without the pack: {cell.broken['without the pack']}")
    assert verdict(cell) in (WORKS, REFUSED), detail(cell)


def test_on_the_oldest_comfyui():
    """The same nodes and verdicts, in a process that has ComfyUI's oldest version."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compatibility", "--only", "Guidance"],
        cwd=ROOT,
        env={**os.environ, "COMFYUI_PATH": os.environ["COMFYUI_PATH_OLD"]},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "PerturbedAttentionGuidance | works" in run.stdout and "SelfAttentionGuidance | " in run.stdout
    assert "wrong" not in run.stdout and "breaks |" not in run.stdout, run.stdout
