"""Every family of checkpoints in the shapes by which ComfyUI knows it, but narrow: inverted and edited, or refused."""

import pytest

from benchmarks.compatibility.families import FAMILIES, examined_family
from benchmarks.compatibility.table import REFUSED, WORKS, detail, verdict

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FAMILIES)
def test_works_or_is_refused(name):
    cell = examined_family(FAMILIES[name], channels=64)
    assert verdict(cell) == (REFUSED if name == "SDXL refiner" else WORKS), detail(cell)
    if name == "SDXL refiner":
        assert "'model' is the SDXL refiner" in detail(cell)
