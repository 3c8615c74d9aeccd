"""Some of each kind of node of ComfyUI beside the pack, on both versions: it works or is refused in a sentence. All
nodes on the model at a glance: as docs/compatibility.md says.

`python -m benchmarks.compatibility` examines all of them; docs/compatibility.md has what it found.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compatibility.candidates import MODEL, candidates, load_nodes
from benchmarks.compatibility.cells import Bench, examined, glanced
from benchmarks.compatibility.table import BREAKS, FOREIGN, PAGE, REFUSED, WORKS, detail, verdict, write_section
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
    "ConditioningSetTimestepRange on the positive": REFUSED,
    "ConditioningConcat on the positive": REFUSED,
    "DualCFGGuider": WORKS,
    "PerpNegGuider": WORKS,
    "sampler dpmpp_2m": WORKS,
    "sampler uni_pc": WORKS,
    "sampler euler_ancestral": REFUSED,
}
STEPS = 2
load_nodes()
CANDIDATES = {candidate.name: candidate for candidate in candidates()}
OTHERS = [name for name, candidate in CANDIDATES.items() if candidate.kind == MODEL and name not in EXPECTED]

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
    found = on_the_oldest("--steps", str(STEPS), "--only", *EXPECTED)
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED


def on_the_oldest(*arguments: str) -> dict[str, str]:
    """What the oldest ComfyUI's table says, by node."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.compatibility", *arguments],
        cwd=ROOT,
        env={**os.environ, "COMFYUI_PATH": os.environ["COMFYUI_PATH_OLD"]},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return rows(run.stdout)


def rows(table: str) -> dict[str, str]:
    """Verdicts by node."""
    return dict(re.findall(r"^\| (.+?) \| (.+?) \|", table, re.MULTILINE))


def as_on_the_page(found: dict[str, str]) -> dict[str, str]:
    """What differs from the page. A node's own fault is one at a glance as well, and not known as its own."""
    of_images, _ = PAGE.read_text(encoding="utf-8").split("\n## Video models\n")  # whose table has other verdicts
    page = rows(of_images)
    return {
        name: word for name, word in found.items() if word != (BREAKS if page.get(name) == FOREIGN else page.get(name))
    }


def test_every_other_node_on_the_model_is_as_the_page_says():
    small = Bench(small_model(), steps=1)
    assert as_on_the_page({name: verdict(glanced(small, CANDIDATES[name].graph)) for name in OTHERS}) == {}


def test_every_other_node_on_the_oldest_comfyui():
    found = on_the_oldest("--glance", "--steps", "1", "--only", *OTHERS)
    assert len(found) > 20 and as_on_the_page({name: found[name] for name in OTHERS if name in found}) == {}


def test_a_section_is_written_in_its_place(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    monkeypatch.setattr("benchmarks.compatibility.table.PAGE", page)
    for lines in (["old"], ["new"]):
        write_section("Nodes", lines)
        write_section("Families", ["kept"])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Beside other nodes\n\n## Nodes\nnew\n\n## Families\nkept\n") and "old" not in text
