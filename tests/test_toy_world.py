"""Edits of 14 clips whose true result is known: fusion against DDIM inversion with the new prompt alone."""
import math

import pytest
import torch
from benchmarks.toy_world import CASES, Editor, measure, methods_for, run_case

FRAMES, STEPS = 3, 20


@pytest.fixture(scope="module")
def table():
    """{case: {method: (PSNR inside, outside the edited thing)}} in dB."""
    editor = Editor(STEPS)
    return {case: measure(case, run_case(editor, case, FRAMES, methods_for(case))) for case in CASES}


def mean_gain(table, place: int) -> float:
    gains = [row["ours"][place] - row["inversion + new prompt"][place] for row in table.values()]
    gains = torch.tensor([gain for gain in gains if not math.isnan(gain)])
    return float(gains.mean())


def test_fusion_keeps_what_is_not_edited(table):
    assert mean_gain(table, 1) > 4


def test_fusion_edits_what_is_to_be_edited(table):
    assert mean_gain(table, 0) > 2


def test_the_edit_is_visible(table):
    """Inside the edited thing the result is nearer to the truth than the clip before the edit is."""
    from benchmarks.toy_world import draw, edited_region, psnr

    for case, row in table.items():
        if case.kind == "attribute":
            before, truth = draw(case.source, FRAMES, case.seed), draw(case.target, FRAMES, case.seed)
            assert row["ours"][0] > psnr(before, truth, edited_region(case, FRAMES)) + 3, case.name
