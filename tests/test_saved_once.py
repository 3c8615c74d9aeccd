"""A saving node writes no second file of the same content, and loses none of another."""

import os

import pytest

from fatezero_pack.nodes.shared.output_name import OutputPlace
from fatezero_pack.nodes.shared.saved_once import NOT_AGAIN, save_once


@pytest.fixture
def save(tmp_path):
    """Saves a content under the first free number, at one time, as where a disk counts in two seconds."""

    def run(content):
        number = 1 + len([*tmp_path.iterdir()])
        place = OutputPlace(str(tmp_path), f"kept_{number:05}_", "")

        def write(path):
            with open(path, "w") as file:
                file.write(content)
            os.utime(path, (1_000_000, 1_000_000))

        return save_once(place, ".txt", write).splitlines()

    return run


def test_the_same_is_named_and_another_is_kept(save, tmp_path):
    assert save("first")[0] == "kept_00001_.txt"
    assert save("first") == ["kept_00001_.txt", "0.0 kB", NOT_AGAIN]
    assert save("other")[0] == "kept_00002_.txt"  # of the same size, name and time as the one before it
    assert [file.read_text() for file in sorted(tmp_path.iterdir())] == ["first", "other"]


def test_a_link_to_nowhere_is_no_file(save, tmp_path):
    (tmp_path / "kept_00001_.txt").symlink_to(tmp_path / "unplugged" / "kept_00001_.txt")
    assert save("first")[0] == "kept_00002_.txt"
    assert save("first")[2] == NOT_AGAIN
