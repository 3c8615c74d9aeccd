"""What the Comfy Registry shows of the pack: pictures of the sizes that it takes, and a version with its changes."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tools.draw_icon import banner, icon

ROOT = Path(__file__).resolve().parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def value(name):
    return re.search(rf'^{name} = "(.+)"$', PROJECT, re.MULTILINE)[1]


def picture(name):
    """The file in this repository that a picture's address names."""
    repository = value("Repository").replace("github.com", "raw.githubusercontent.com")
    return ROOT / value(name).removeprefix(f"{repository}/HEAD/")


@pytest.mark.parametrize("name, drawn", [("Icon", icon(400)), ("Banner", banner(1260, 540))])
def test_pictures_are_those_that_the_script_draws(name, drawn):
    with Image.open(picture(name)) as image:
        assert image.format == "PNG" and image.size == drawn.shape[1::-1]
        worst = max(abs(int(a) - int(b)) for a, b in zip(image.convert("RGB").tobytes(), drawn.tobytes()))
    assert worst <= 2


def test_the_icon_is_square_and_small_and_the_banner_wide():
    with Image.open(picture("Icon")) as image:
        assert image.width == image.height <= 400
    with Image.open(picture("Banner")) as image:
        assert image.width * 9 == image.height * 21


def test_the_version_has_its_changes():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(value('version'))}\b", changes, re.MULTILINE)
