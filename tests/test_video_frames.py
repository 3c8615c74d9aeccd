import pytest
import torch

from fatezero_pack.fatezero.video.frames import Placement, place, placement


@pytest.mark.parametrize(
    "source, size, fit, grid, scaled, target",
    [
        # both sides 0: the clip's own scale; cut or padded to the grid, or distorted to it
        ((853, 477), (0, 0), "crop", 8, (853, 477), (848, 472)),
        ((853, 477), (0, 0), "pad", 8, (853, 477), (856, 480)),
        ((853, 477), (0, 0), "stretch", 8, (856, 480), (856, 480)),
        ((853, 477), (0, 0), "crop", 64, (853, 477), (832, 448)),
        # one side: the other follows
        ((1920, 1080), (512, 0), "crop", 8, (512, 288), (512, 288)),
        ((1920, 1080), (0, 512), "crop", 64, (910, 512), (896, 512)),
        ((1080, 1920), (512, 0), "pad", 64, (512, 910), (512, 960)),
        ((1080, 1920), (512, 0), "stretch", 32, (512, 896), (512, 896)),
        # both sides
        ((1920, 1080), (512, 512), "crop", 8, (910, 512), (512, 512)),
        ((1920, 1080), (512, 512), "pad", 8, (512, 288), (512, 512)),
        ((1920, 1080), (512, 512), "stretch", 8, (512, 512), (512, 512)),
        ((64, 64), (100, 60), "pad", 8, (64, 64), (104, 64)),
        ((64, 64), (100, 60), "crop", 8, (96, 96), (96, 56)),
        # smaller than the grid
        ((5, 3), (0, 0), "crop", 8, (13, 8), (8, 8)),
        ((5, 3), (0, 0), "pad", 8, (5, 3), (8, 8)),
        ((1000, 1), (64, 0), "pad", 8, (64, 1), (64, 8)),
    ],
)
def test_placement(source, size, fit, grid, scaled, target):
    assert placement(source, size, fit, grid) == Placement(scaled, target)


def test_placement_always_covers_or_fits():
    for width in range(1, 200, 13):
        for height in range(1, 200, 17):
            for size in ((0, 0), (72, 0), (0, 40), (64, 88), (30, 30)):
                for grid in (8, 64):
                    scaled, target = placement((width, height), size, "crop", grid)
                    assert all(a >= b and b % grid == 0 for a, b in zip(scaled, target))
                    scaled, target = placement((width, height), size, "pad", grid)
                    assert all(a <= b and b % grid == 0 for a, b in zip(scaled, target))


def test_pixels_at_their_own_scale_stay_exact():
    picture = torch.rand(21, 30, 3)
    torch.testing.assert_close(place(picture, Placement((30, 21), (24, 16))), picture[3:19, 3:27], atol=0, rtol=0)
    padded = place(picture, Placement((30, 21), (32, 24)))
    assert torch.equal(padded[1:22, 1:31], picture)
    assert padded.count_nonzero() == picture.count_nonzero()  # black around it


def test_scaling_is_antialiased_and_stays_in_range():
    stripes = (torch.arange(256) % 2).float()[None, :, None].expand(64, -1, 3)
    small = place(stripes, Placement((32, 8), (32, 8)))
    assert (small - 0.5).abs().max() < 0.02  # sampled without a filter they would be all black or all white
    edges = place((torch.arange(16) >= 8).float()[None, :, None].expand(16, -1, 3), Placement((64, 64), (64, 64)))
    assert edges.min() == 0 and edges.max() == 1
