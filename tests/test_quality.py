"""The quality benchmark: its reduced list must stay as good as recorded, and its measures must measure."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.quality import measures, noise, report
from benchmarks.quality.cases import HELD_OUT, TUNING, load_cases
from benchmarks.quality.editor import Editor
from benchmarks.quality.methods import ABLATIONS, CURVES, OURS, first_table
from benchmarks.quality.motion import motion
from benchmarks.quality.runs import clip_path
from fatezero_pack.demo.world import Scene, Thing

CASES = load_cases()
COLOUR, SHAPE, GROUND, STYLE = (
    next(case for case in CASES if case.kind == kind) for kind in ("colour", "shape", "background", "style")
)


def true_clip(case):
    return case.clip(case.target)


def test_the_list_is_whole_and_halved():
    assert len(CASES) >= 40 and len({case.name for case in CASES}) == len(CASES)
    assert {case.half for case in CASES} == {TUNING, HELD_OUT}
    for kind in {case.kind for case in CASES}:
        halves = [case.half for case in CASES if case.kind == kind]
        assert halves.count(TUNING) == halves.count(HELD_OUT)
    assert {case.frames for case in CASES} == {1, 8} and any(case.width != case.height for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_source_and_truth_differ_where_the_edit_belongs(case):
    """And nowhere else, but for the line of mixed pixels around a thing, which a new ground shines through."""
    first = replace(case, frames=1)
    difference = (first.clip(case.source) - first.clip(case.target)).abs().amax(dim=-1)
    region = first.edited_region()
    assert difference[region].mean() > 0.02
    elsewhere = 0.1 if case.source.ground != case.target.ground else 1e-3
    assert (~region).sum() == 0 or difference[~region].mean() < elsewhere < difference[region].mean()


def test_the_truth_is_perfect(judge):
    for case in (COLOUR, SHAPE, GROUND):
        short = replace(case, frames=3)
        values = measures.measure(short, true_clip(short), true_clip(short), judge)
        assert math.isinf(values["psnr_outside"]) and values["perceptual"] == 0 and values["difference_error"] == 0
        assert values["success"] == values["kept"] == values["frame_acc"] == 100, case.name


def test_the_clip_before_the_edit_is_no_success(judge):
    for case in (COLOUR, SHAPE, GROUND, STYLE):
        short = replace(case, frames=2)
        before, truth = short.clip(case.source), true_clip(short)
        values = measures.measure(short, before, truth, judge)
        assert values["success"] == 0 and values["psnr_inside"] < 20, case.name


def test_flicker_is_nothing_along_the_motion_and_much_when_frames_flash():
    """The known motion carries a drawn clip into itself up to interpolation, and a flash of 20 levels shows whole."""
    case = replace(COLOUR, frames=4)
    steady = true_clip(case)
    flashing = (steady + torch.tensor([0, 20, 0, 20]).view(4, 1, 1, 1) / 255).clamp(0, 1)
    assert 255 * measures.flicker(case, steady) < 1.5
    assert 255 * measures.flicker(case, flashing) > 12


def test_motion_follows_a_thing_that_turns():
    """A quarter turn: the right edge of the thing goes to its lower edge."""
    first = Scene("grass", (Thing("red", "square", 0.5, 0.5, 0.25),))
    second = replace(first, things=(replace(first.things[0], angle=math.pi / 2, x=0.6),))
    places, visible = motion(first, second, 128, 128)
    right = places[64, 64 + 16]
    assert np.allclose(right, [64 + 12.8, 64 + 16], atol=1.1) and visible[64, 64 + 16]


def test_clips_are_kept_by_what_makes_them():
    ours = clip_path(COLOUR, OURS)
    assert ours == clip_path(COLOUR, replace(OURS, name="another name"))
    assert ours != clip_path(COLOUR, replace(OURS, steps=20)) != clip_path(SHAPE, OURS)
    settings = [method.settings(COLOUR) for table in ABLATIONS.values() for method in table]
    settings += [method.settings(COLOUR) for points in CURVES.values() for _, method in points]
    assert len({str(one) for one in settings}) > 10


def test_results_hold_a_row_for_each_method():
    results = json.loads((report.FOLDER / "results.json").read_text(encoding="utf-8"))
    for name, section in results.items():
        for table in section["tables"].values():
            assert [row["method"] for row in table] == [method.name for method in first_table()], name
            assert all(set(measures.MEASURES) < set(row) for row in table)


def test_presets_are_what_won():
    """On the tuning half, within 2 % of the least perceptual error among settings that edit."""
    results = json.loads((report.FOLDER / "results.json").read_text(encoding="utf-8"))
    for preset, table in results["full"]["preset_sweeps"].items():
        ours = next(row for row in table if row["method"] == OURS.name)
        best = report.ranked(table)[0]
        assert ours["success"] >= max(row["success"] for row in table) - report.SUCCESS_MARGIN, preset
        assert ours["perceptual"] <= 1.02 * best["perceptual"], (preset, best)


@pytest.mark.slow
def test_edits_are_as_good_as_recorded(judge):
    """On the reduced list, worse by no more than the noise over other motions and grounds."""
    recorded = json.loads((report.FOLDER / "results.json").read_text(encoding="utf-8"))
    reference = recorded.get("full", recorded.get("short"))["reduced_list"]
    editor, figures = Editor(), []
    for own, *_ in noise.reduced_list(CASES):
        clip, _ = editor.make(own, OURS)
        clip = (clip.clamp(0, 1) * 255).round() / 255
        figures.append(measures.measure(own, clip, true_clip(own), judge))
    for name in noise.GUARDED:
        value = float(np.nanmean([figure[name] for figure in figures]))
        worse = (reference[name]["mean"] - value) * (1 if measures.MEASURES[name][2] else -1)
        assert worse <= reference[name]["noise"], f"{name}: {value:.4g}, recorded {reference[name]}"
