"""Clips beside each other, in cases that can be worked out by hand."""

import av
import pytest
import torch

from fatezero_pack.fatezero.report import labels
from fatezero_pack.fatezero.report.comparison import GRID, LAYOUTS, SIDE_BY_SIDE, SPLIT, STACKED, Compared, compare
from fatezero_pack.fatezero.report.labels import GAP, bar_height, write_on
from fatezero_pack.nodes.compare_videos import TO_FIRST, CompareVideos
from fatezero_pack.nodes.shared import clip_preview

HEIGHT, WIDTH = 48, 64
BAR = bar_height(WIDTH, HEIGHT)

pytestmark = pytest.mark.usefixtures("temp_folder")


def clip(seed: int = 0, frames: int = 3, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def plain(value: float, frames: int = 3, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.full((frames, height, width, 3), value)


def run(*clips, **options):
    """The comparison, and the text in the node."""
    given = dict(zip(("first", "second", "third", "fourth"), clips))
    output = CompareVideos.execute(**given, **options)
    return output.args[0], output.ui["text"][0]


def cell(images, row, column):
    """A cell of the first clip's size, without its bar."""
    top, left = row * (HEIGHT + BAR + GAP) + BAR, column * (WIDTH + GAP)
    return images[:, top : top + HEIGHT, left : left + WIDTH]


# ---- layouts ----


@pytest.mark.parametrize(
    "layout, places",
    [(SIDE_BY_SIDE, [(0, 0), (0, 1), (0, 2)]), (STACKED, [(0, 0), (1, 0), (2, 0)]), (GRID, [(0, 0), (0, 1), (1, 0)])],
)
def test_clips_lie_in_their_places_bit_by_bit(layout, places):
    clips = [clip(seed) for seed in range(3)]
    images, _ = run(*clips, layout=layout)
    rows, columns = (max(place[side] for place in places) + 1 for side in (0, 1))
    assert images.shape == (3, rows * (HEIGHT + BAR + GAP) - GAP, columns * (WIDTH + GAP) - GAP, 3)
    for place, shown in zip(places, clips):
        assert torch.equal(cell(images, *place), shown)


def test_split_shows_a_part_of_each():
    clips = [clip(seed) for seed in range(4)]
    images, _ = run(*clips, layout=SPLIT)
    assert images.shape == (3, HEIGHT + BAR, WIDTH, 3)
    picture = cell(images, 0, 0)
    for index, shown in enumerate(clips):
        part = slice(WIDTH * index // 4 + 1, WIDTH * (index + 1) // 4)  # behind the line
        assert torch.equal(picture[:, :, part], shown[:, :, part])
    assert (picture[:, :, WIDTH // 2] == picture[0, 0, WIDTH // 2]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_clip_and_each_difference_has_its_label(layout):
    images, _ = run(clip(0), clip(1), layout=layout, difference=TO_FIRST)
    blank, _ = run(clip(0), clip(1), layout=layout, difference=TO_FIRST, first_label="", second_label="")
    assert images.shape == blank.shape
    assert images[0, :BAR].amax() > 0.8 and blank[0, :BAR, :WIDTH].amax() < 0.2
    assert not torch.equal(images, blank)


# ---- differences ----


def test_difference_is_amplified_and_measured():
    first, second = plain(0.5), plain(0.5)
    second[1, : HEIGHT // 2] = 0.7
    images, text = run(first, second, difference=TO_FIRST, amplify=2.5)
    difference = cell(images, 0, 2)
    torch.testing.assert_close(difference[1, : HEIGHT // 2], torch.full((HEIGHT // 2, WIDTH, 3), 0.5))
    assert difference[1, HEIGHT // 2 :].max() == 0 and difference[0].max() == 0
    assert text == "after - before: 8.5/255 on average, most in frame 1: 25.5/255"
    assert not torch.equal(images[0, :BAR, -WIDTH:], images[1, :BAR, -WIDTH:])  # each frame's own number


def test_difference_has_no_sign_and_ends_at_white():
    images, text = run(plain(0.75, 1), plain(0.25, 1), plain(0.7, 1), difference=TO_FIRST, amplify=10, third_label=" ")
    assert cell(images, 0, 3).min() == 1
    torch.testing.assert_close(cell(images, 0, 4), plain(0.5, 1))
    assert text == "after - before: 127.5/255\nthird - before: 12.8/255"


def test_the_same_is_told():
    images, text = run(clip(), clip(), difference=TO_FIRST)
    assert text == "after - before: the same" and cell(images, 0, 2).max() == 0


# ---- clips that do not fit each other ----


def test_the_shortest_ends_the_comparison_and_a_picture_is_held():
    images, text = run(clip(0, 5), clip(1, 3), clip(2, 1))
    assert len(images) == 3 and torch.equal(cell(images, 0, 2), clip(2, 1).expand(3, -1, -1, -1))
    assert torch.equal(cell(images, 0, 0), clip(0, 5)[:3])
    assert text.splitlines()[2:] == [
        "'first' has 5 frames; compared are 3, those of the shortest.",
        "'third' is one picture and is held.",
    ]
    assert len(run(clip(0, 1), clip(1, 1))[0]) == 1


def test_other_sizes_are_fitted_to_the_first():
    images, text = run(plain(0.5), plain(0.5, 3, 2 * HEIGHT, 4 * WIDTH), difference=TO_FIRST)
    wide = bar_height(2 * WIDTH, HEIGHT)
    assert images.shape == (3, HEIGHT + wide, 3 * 2 * WIDTH + 2 * GAP, 3)
    torch.testing.assert_close(images[:, wide:, 2 * WIDTH + GAP : 4 * WIDTH + GAP], plain(0.5, 3, HEIGHT, 2 * WIDTH))
    middle = images[:, wide:, WIDTH // 2 : WIDTH // 2 + WIDTH]
    assert torch.equal(middle, plain(0.5)) and images[:, wide:, : WIDTH // 2].max() == 0  # narrower: in the middle
    assert "'second' is 256x96; it was scaled to the first's 64x48" in text and " 0.0/255" in text
    stacked, _ = run(plain(0.5), plain(0.5, 3, 2 * HEIGHT, 4 * WIDTH), layout=STACKED)
    assert stacked.shape[2] == WIDTH


def test_a_wider_clip_is_cut_to_be_measured():
    wide = torch.cat((plain(1.0, width=16), clip(), plain(1.0, width=16)), dim=2)
    assert run(clip(), wide)[1].startswith("after - before: the same")


# ---- labels ----


@pytest.mark.parametrize("width", [20, 64, 128, 512])
def test_text_and_value_fit_any_width(width):
    """Nothing reaches the margins, and the value stays whole: it is the same whatever the text is."""
    bars = [torch.zeros(18, width, 3) for _ in range(2)]
    for bar, text in zip(bars, ("a very long name of a clip " * 9, "another one,\nof lines " * 9)):
        write_on(bar, text, "7/255" if width > 40 else "")
        assert bar[:, :2].max() < 0.2 and bar[:, -2:].max() < 0.2 and bar.max() > 0.5
    assert not torch.equal(*bars) or width == 20
    if width > 40:
        value = slice(-14, None)
        assert torch.equal(bars[0][:, value], bars[1][:, value])


def test_letters_grow_with_the_picture():
    assert [labels.letter_size(*size) for size in ((64, 64), (128, 128), (512, 288), (4096, 4096))] == [11, 11, 16, 36]


# ---- the node ----


def test_large_clips_are_previewed_small(temp_folder, monkeypatch):
    monkeypatch.setattr(clip_preview, "SIDE", 100)
    monkeypatch.setattr(clip_preview, "FRAMES", 2)
    run(clip(), clip())
    with av.open(str(next(temp_folder.iterdir()))) as video:
        stream = video.streams.video[0]
        assert (stream.width, len(list(video.decode(stream)))) == (100, 2)


def test_inputs_stay_as_they_are():
    clips = [clip(0), torch.cat((clip(1), clip(2)[..., :1]), dim=-1).half(), clip(2, 1)]
    before = [tensor.clone() for tensor in clips]
    for layout in LAYOUTS:
        images, _ = run(*clips, layout=layout, difference=TO_FIRST)
        assert images.dtype == torch.float32
        images.zero_()
    assert all(torch.equal(now, then) for now, then in zip(clips, before))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(second=plain(torch.nan)), "'second' has invalid numbers"),
        (dict(third=plain(0.0)[:0]), r"'third' has the shape \[0, 48, 64, 3\]"),
        (dict(layout="heap"), "'layout' is heap; choose side by side, stacked, grid, split"),
        (dict(amplify=0.0), "'amplify' is 0; choose 0.1 to 255"),
        (dict(amplify=float("nan")), "'amplify' is nan; choose 0.1 to 255"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^Compare Videos: {message}.*[.]$"):
        CompareVideos.execute(**{"first": clip(), "second": clip(1), **options})


def test_what_does_not_fit_into_memory_is_refused():
    vast = torch.zeros(1, 1, 1, 3).expand(10**6, 2000, 2000, 3)
    with pytest.raises(ValueError, match="^1000000 frames .* GB of memory are free; compare shorter"):
        compare(Compared((vast, vast), ("a", "b"), ("first", "second")), SIDE_BY_SIDE, [], None)
