"""The size that a clip gets: the nearest on the grid that keeps its aspect, and what a person is told of the cut."""

import pytest

from fatezero_pack.fatezero.video.frames import placement, what_is_lost
from fatezero_pack.fatezero.video.sizes import FAMILIES, LITTLE, cut, size_of_family, size_of_side

FILM, PHONE, OLD, WIDE = (1280, 720), (720, 1280), (640, 480), (1920, 800)


@pytest.mark.parametrize(
    "source, size, grid, target",
    [
        (FILM, (512, 0), 8, (512, 288)),
        (FILM, (512, 0), 32, (512, 288)),
        (FILM, (512, 0), 64, (576, 320)),  # 512x256 would lose 11 %
        (FILM, (192, 0), 64, (192, 128)),  # no size within a step keeps the aspect; 192x64 would lose 41 %
        (FILM, (0, 288), 8, (512, 288)),
        (PHONE, (0, 512), 64, (320, 576)),
        (OLD, (512, 0), 64, (512, 384)),
    ],
)
def test_a_side_that_follows_takes_the_size_that_keeps_the_aspect(source, size, grid, target):
    assert size_of_side(source, size, grid) == target
    assert placement(source, size, "crop", grid).target == target


VIDEO_MODELS = ("Wan", "LTX-Video")  # need multiples of 16 and 32


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", [FILM, PHONE, OLD, WIDE, (512, 512), (853, 477)])
def test_a_family_s_size_keeps_the_aspect_and_the_number_of_pixels(source, family):
    for grid in (8, 32 if family in VIDEO_MODELS else 64):
        width, height = size_of_family(source, family, grid)
        assert width % grid == height % grid == 0
        if not family.endswith("demo model") or grid == 8:  # so few pixels have few multiples of 64
            assert cut(source, (width, height)) <= LITTLE
            if family == "demo model":  # smaller things do not become noise: clips of 96x168 came back as mush
                assert min(width, height) == 128
            else:
                assert 0.5 <= width * height / FAMILIES[family] <= 1.1
    side = size_of_family((640, 640), family, 64)[0]
    assert size_of_family((640, 640), family, 64) == (side, side) and abs(side - FAMILIES[family] ** 0.5) <= 32


@pytest.mark.parametrize(
    "size, fit, expected",
    [
        ((512, 288), "crop", "0 % cut"),
        ((512, 512), "crop", "44 % cut"),
        ((512, 512), "pad", "44 % bars"),
        ((512, 512), "stretch", "44 % stretched"),
    ],
)
def test_what_a_fit_loses(size, fit, expected):
    assert what_is_lost(FILM, placement(FILM, size, fit, 8)) == expected
