"""The second list of the quality benchmark, success that looks where, and how sure its means are."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.quality import figure_tables, measures, report, split, split_report
from benchmarks.quality.cases import FOURTH_LIST, HARD_LIST, HELD_OUT, THIRD_LIST, TUNING, load_cases
from benchmarks.quality.intervals import excludes_zero, in_words, interval
from benchmarks.quality.located import Place, overlap, places
from benchmarks.quality.methods import (
    AUTOMATIC_PRESET,
    BY_WORDS,
    DDIM_MASKED,
    EMPHASISED,
    EVERY_STEP,
    GIVEN_PLACE,
    MEANT,
    OURS,
    PUBLISHED_NULL_TEXT,
    REPLACE,
    REWEIGHTED,
    applies,
    main_table,
)
from benchmarks.quality.redrawn import redrawn
from benchmarks.quality.runs import clip_path
from benchmarks.quality.steadiness import steadiness
from benchmarks.quality.strength import monotone, strength, without
from fatezero_pack.demo.model import WEIGHTS
from fatezero_pack.demo.pixel_judge import color_labels
from fatezero_pack.demo.world import Scene, Thing, render, thing_mask

CASES = load_cases(HARD_LIST)
FIXED = {
    HARD_LIST: "e75382b4c7e92c006faca476658761f37ad6ee637d5a880d5278d4d1e4c3f48d",
    THIRD_LIST: "a0a57a624572795dd5b4dccffd7da9b05dcb16028e121b91d5d6f7243a493ae3",
}
BY_NAME = {case.name: case for case in CASES}
EDITS = [case for case in CASES if not case.word]


@pytest.mark.parametrize("path", FIXED)
def test_the_list_is_fixed(path):
    """It was committed before any of its edits was run; another list is another file."""
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FIXED[path]


@pytest.mark.parametrize("path, count", [(HARD_LIST, 104), (THIRD_LIST, 68), (FOURTH_LIST, 88)])
def test_halves_are_alike(path, count):
    cases = load_cases(path)
    assert len({case.name for case in cases}) == len(cases) == count
    for kind in {case.kind for case in cases}:
        halves = [case.half for case in cases if case.kind == kind]
        assert halves.count(TUNING) == halves.count(HELD_OUT) > 0


def test_lengths_of_clips():
    assert {case.frames for case in CASES} == {8, 24, 48}
    assert {case.frames for case in load_cases(THIRD_LIST) + load_cases(FOURTH_LIST)} == {8}


def test_lists_share_no_edit():
    """A choice made on one list says nothing of itself on another only if no edit is in both."""
    scenes = [(case.source, case.target) for path in FIXED for case in load_cases(path) if not case.word]
    assert len(set(scenes)) == len(scenes)


@pytest.mark.parametrize("detail", [1, 2])
@pytest.mark.parametrize("case", EDITS[::5], ids=[case.name for case in EDITS[::5]])
def test_the_truth_is_at_its_place_and_the_source_is_not(case, detail, judge):
    """In the middle of the motion, in both sizes of picture."""
    middle = replace(case, frames=1).at_detail(detail)
    truth, before = middle.clip(middle.target), middle.clip(middle.source)
    values = measures.measure(middle, truth, truth, judge)
    assert values["located"] == 100 or math.isnan(values["located"]), values
    assert not values["iou"] < 0.8 and not values["iou_kept"] < 0.8, values
    assert not measures.measure(middle, before, truth, judge)["located"] > 0


def test_the_right_things_at_each_others_place_do_not_succeed(judge):
    """The judge that does not look where finds all that it looks for."""
    case = replace(BY_NAME["pair_of_one_colour_2a"], frames=1)
    one, other = case.target.things
    exchanged = replace(case.target, things=(replace(one, x=other.x, y=other.y), replace(other, x=one.x, y=one.y)))
    clip, truth = case.clip(exchanged), case.clip(case.target)
    values = measures.measure(case, clip, truth, judge)
    assert values["success"] == 100 and values["located"] == 0


def test_a_square_half_beside_its_place_overlaps_by_a_third():
    square = Thing("red", "square", 0.4, 0.5, 0.25)
    side = 2 * 0.85 * 0.25  # as drawn, in heights
    picture = render(Scene("snow", (replace(square, x=0.4 + side / 2),)))
    (place,) = places(Scene("snow", (square,)), 128, 128)
    assert overlap(place, [place], color_labels(picture, "snow")) == pytest.approx(1 / 3, abs=0.02)
    assert place.seen == pytest.approx(1, abs=0.03)


def test_what_is_hidden_or_beyond_the_frame_is_not_in_sight():
    below, above = Thing("red", "square", 0.5, 0.5, 0.2), Thing("blue", "square", 0.5 + 0.17, 0.5, 0.2)
    hidden, whole = places(Scene("snow", (below, above)), 128, 128)
    assert hidden.seen == pytest.approx(0.5, abs=0.03) and whole.seen == pytest.approx(1, abs=0.03)
    assert not (hidden.mask & whole.mask).any()
    (leaving,) = places(Scene("snow", (replace(below, x=1.0),)), 128, 128)
    assert leaving.seen == pytest.approx(0.5, abs=0.03)


def test_of_two_things_of_one_colour_each_has_its_own_pixels():
    things = Thing("red", "square", 0.25, 0.5, 0.15), Thing("red", "circle", 0.75, 0.5, 0.15)
    labels = color_labels(render(Scene("snow", things)), "snow")
    there = places(Scene("snow", things), 128, 128)
    assert min(overlap(place, there, labels) for place in there) > 0.9
    lonely = Place(things[0], thing_mask(things[0]) > 0.5, 1.0)
    assert overlap(lonely, [lonely], labels) < 0.6  # a red thing too many


def test_flicker_of_a_drawn_clip_is_nothing_in_the_large_size_too():
    case = replace(BY_NAME["24_frames_1a"].at_detail(2), frames=24)
    short = replace(case, frames=3, paths=((0.03, 0.0, 0.02),))
    assert 255 * measures.flicker(short, short.clip(short.target)) < 1.5


@pytest.mark.parametrize("detail", [1, 2])
def test_a_drawn_thing_keeps_its_size_and_shape(detail):
    """Up to the pixels of its edge; one that is larger in a frame does not, nor one that is another shape there."""
    case = replace(BY_NAME["shape_1a"], frames=3).at_detail(detail)
    drawn = case.clip(case.target)
    steady = steadiness(case, drawn)
    assert steady["area_change"] < 1.5 and steady["outline_change"] < 5
    (thing,) = case.target.things
    for other, area in ((replace(thing, r=1.2 * thing.r), 1.44), (replace(thing, shape="cross"), None)):
        clip = drawn.clone()
        clip[1] = case.clip(replace(case.target, things=(other,)))[1]
        values = steadiness(case, clip)
        assert values["outline_change"] > 20
        if area is not None:
            areas = [1, area, 1]
            assert values["area_change"] == pytest.approx(100 * np.std(areas) / np.mean(areas), abs=1.5)


def test_what_is_not_there_or_alone_has_no_steadiness():
    case = replace(BY_NAME["shape_1a"], frames=3)
    missing = case.clip(replace(case.target, things=()))
    assert all(math.isnan(value) for value in steadiness(case, missing).values())
    one = replace(case, frames=1)
    assert all(math.isnan(value) for value in steadiness(one, one.clip(one.target)).values())


def test_strength_is_one_as_drawn_and_nothing_without_the_word():
    for name in ("re-weighting_1a_at_1", "re-weighting_2a_at_1"):
        case = replace(BY_NAME[name], frames=2)
        drawn, plain = case.clip(case.source), without(case)
        assert strength(case, drawn) == pytest.approx(1) and strength(case, plain) == pytest.approx(0, abs=1e-6)
        assert strength(case, 0.5 * (drawn + plain)) == pytest.approx(0.5, abs=1e-5)
    assert monotone([0.1, 0.5, 0.9]) and not monotone([0.1, 0.9, 0.9]) and not monotone([0.5, 0.4, 0.9])


def test_the_interval_is_that_of_a_case_by_hand():
    """1, 2, 3, 4: mean 2.5, s = sqrt(5/3), t of 3 degrees of freedom at 97.5 % is 3.1824."""
    mean, half_width = interval([1, 2, 3, 4, math.nan])
    assert mean == 2.5 and half_width == pytest.approx(3.1824 * math.sqrt(5 / 3) / 2, rel=1e-4)
    assert excludes_zero(mean, half_width) and not excludes_zero(2.0, half_width)
    assert not excludes_zero(1.0, 0.0) and not excludes_zero(1.0, math.nan)
    assert interval([7.0, 8.0])[0] == 7.5 and math.isnan(interval([7.0, 8.0])[1]) and math.isnan(interval([])[0])
    assert in_words(2.5, half_width, 1, "+") == "+2.5 ± 2.1" and in_words(math.nan, math.nan, 1) == ""


def test_the_interval_covers_what_it_says():
    """Of means of ten normal values, 95 % lie within their own interval."""
    rng = np.random.default_rng(0)
    inside = [abs(mean) < half_width for mean, half_width in (interval(row) for row in rng.standard_normal((2000, 10)))]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_tables_are_what_the_figures_give():
    """Nobody wrote them by hand: `python -m benchmarks.quality.rewrite`."""
    page = split_report.PAGE.read_text(encoding="utf-8")
    for file, text_of in (
        (split_report.FIGURES, lambda _, section: split_report.text_of(section)),
        (report.FOLDER / "results.json", report.text_of),
    ):
        for name, section in json.loads(file.read_text(encoding="utf-8")).items():
            assert text_of(name, section) in page, f"{name}: run python -m benchmarks.quality.rewrite"
    sections = json.loads(split_report.FIGURES.read_text(encoding="utf-8"))
    assert split_report.text_of_all(sections) in page, "all held out: run python -m benchmarks.quality.rewrite"


def test_differences_are_paired_and_bold_where_they_show():
    figures = {str(case): {"ours": {"located": 10.0 + case}, "other": {"located": float(case)}} for case in range(5)}
    figures["alone"] = {"ours": {"located": 900.0}}
    assert figure_tables.paired(figures, "ours", "other", "located") == [10.0] * 5
    assert figure_tables.difference([3.0, 4.0, 5.0], 0).startswith("**+4.0 ±")
    assert figure_tables.difference([-3.0, 4.0, 5.0], 0).startswith("+2.0 ±")


def test_rows_have_the_cases_that_they_can_have():
    swap, addition, style = BY_NAME["shape_1a"], BY_NAME["addition_1a"], BY_NAME["style_1a"]
    pair = BY_NAME["pair_of_one_shape_1a"]
    word, long = BY_NAME["re-weighting_1a_at_3"], BY_NAME["48_frames_2a"]
    assert all(applies(OURS, case) for case in CASES)
    assert [applies(PUBLISHED_NULL_TEXT, case) for case in (swap, addition, long)] == [True, False, False]
    assert [applies(DDIM_MASKED, case) for case in (swap, style)] == [True, False]
    assert [applies(GIVEN_PLACE, case) for case in (swap, pair, addition, style)] == [True, True, True, False]
    assert [applies(BY_WORDS, case) for case in (swap, pair, addition)] == [True, True, False]
    assert [applies(REPLACE, case) for case in (swap, pair, addition)] == [True, True, False]
    for case in (pair, swap):
        assert AUTOMATIC_PRESET.settings(case) == REPLACE.settings(case) != OURS.settings(case)
    assert AUTOMATIC_PRESET.settings(style) == OURS.settings(style)
    assert repr(AUTOMATIC_PRESET.settings(addition)) == repr(GIVEN_PLACE.settings(addition))  # the node asks for a mask
    assert GIVEN_PLACE.settings(addition).fresh_noise == 1 and GIVEN_PLACE.settings(pair).fresh_noise == 0
    assert [method for method in main_table() if applies(method, word)] == [
        EVERY_STEP,
        OURS,
        REWEIGHTED,
        MEANT,
        EMPHASISED,
    ]
    assert word.emphasis == "sketch:3" and swap.emphasis == ""


def test_another_drawing_of_the_prompt_keeps_what_the_edit_keeps():
    """And what the prompt does not say is drawn anew: size and turn of a new shape, the texture of a new ground."""
    shape, ground, colour = (BY_NAME[f"{name}_1a"] for name in ("shape", "background", "colour"))
    assert redrawn(colour) == colour.target
    assert redrawn(ground) == replace(ground.target, ground_seed=redrawn(ground).ground_seed) != ground.target
    new, true = redrawn(shape).things[0], shape.target.things[0]
    assert new == replace(true, r=new.r, angle=new.angle) != true and 0.9 <= new.r / true.r <= 1.1
    pair = BY_NAME["pair_of_one_shape_2a"]
    assert redrawn(pair).things[1] == pair.target.things[1] and redrawn(pair) == redrawn(pair)


def test_null_text_is_as_published():
    """From the empty prompt, ten inner steps, both branches (prompt-to-prompt's own notebook)."""
    assert PUBLISHED_NULL_TEXT in main_table()
    assert PUBLISHED_NULL_TEXT.published_null_text and PUBLISHED_NULL_TEXT.null_text == "both branches"


def test_a_model_has_its_own_size_and_its_own_clips(tmp_path):
    assert {case.height for case in split.cases_of(HARD_LIST, TUNING, WEIGHTS, 4)} == {128, 160}
    assert {case.frames for case in split.cases_of(HARD_LIST, TUNING, WEIGHTS, 4)} == {4, 8, 24, 48}
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"weights")
    case = BY_NAME["shape_1a"]
    assert clip_path(case, OURS) != clip_path(case, replace(OURS, weights=str(other)))
    assert torch.equal(case.at_detail(1).clip(case.source), case.clip(case.source))
