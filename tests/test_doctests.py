"""The examples in docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parent.parent
FILES = sorted(file for folder in ("fatezero", "nodes") for file in (PACK / folder).rglob("*.py"))
EXAMPLES = [file.relative_to(PACK) for file in FILES if ">>> " in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("file", EXAMPLES, ids=str)
def test_examples(file):
    module = importlib.import_module(".".join(["fatezero_pack", *file.with_suffix("").parts]))
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed
