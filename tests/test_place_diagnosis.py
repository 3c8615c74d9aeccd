"""Edit Report on where an edit lies: against where the words were seen, which the inverted clip tells."""

from dataclasses import replace

import pytest
import torch

from edit_cases import SOURCE, clip_latent, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, OUTLINE, BlendSettings
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.report.diagnosis import explain
from fatezero_pack.fatezero.report.edit_report import measure
from fatezero_pack.nodes.edit_report import EditReport
from fatezero_pack.nodes.shared.made_by import mark

FREE = BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0), mask_from=OUTLINE, threshold=0.0)
EDIT = prompt_edit(SOURCE, "a silver horse on a road")
LEFT, RIGHT = (slice(32, 96), slice(16, 48)), (slice(32, 96), slice(80, 112))


@pytest.fixture(scope="module")
def source():
    """A clip of two frames in which the jeep is seen on the left."""
    run = inverted(small_model(), EDIT, clip_latent(2, 16, 16), steps=12)
    (jeep,) = (word.indices[0] for word in EDIT.source.words if word.text == "jeep")
    trajectory, maps = torch.zeros_like(run.trajectory), torch.zeros_like(run.word_maps)
    trajectory[:-1, :, :, 4:12, 2:6] = 4.0
    trajectory[-1] = run.trajectory[-1]
    height, width = maps.shape[-2:]
    maps[:, :, jeep, height // 4 : 3 * height // 4, width // 8 : 3 * width // 8] = 1.0
    return replace(run, trajectory=trajectory, word_maps=maps)


def changed(place, by=0.4):
    before = 0.5 * torch.rand(2, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[(slice(None), *place)] += by
    return before, after


def test_a_change_where_the_words_are_seen_is_well(source):
    assert explain(measure(*changed(LEFT)), EDIT, source, FREE, 7.5) == []


def test_a_change_of_another_thing_is_told(source):
    """'red star' to 'blue star', and the square beside it turned blue: the verdict was that the edit shows."""
    (sentence,) = explain(measure(*changed(RIGHT)), EDIT, source, FREE, 7.5)
    assert sentence.startswith("Away from the place where 'silver jeep' is seen the clip changed, too, by 102 of 255")
    mask = torch.zeros(1, 128, 128)
    mask[(0, *RIGHT)] = 1
    assert explain(measure(*changed(RIGHT), mask), EDIT, source, FREE, 7.5) == [], "the report's mask says where"


def test_a_new_ground_may_change_everywhere(source):
    ground = prompt_edit(SOURCE, "a silver jeep on a beach")
    assert explain(measure(*changed(RIGHT)), ground, source, replace(FREE, mask_from="off"), 7.5) == []


def test_a_mask_beside_the_thing_is_the_one_cause(source):
    drawn = torch.zeros(1, 128, 128)
    drawn[(0, *RIGHT)] = 1
    settings = BlendSettings(mask_from=INPUT_MASK, mask=drawn)
    verdict, sentence = explain(measure(*changed(LEFT, 0.02)), EDIT, source, settings, 2.0)
    assert "little effect" in verdict
    assert sentence.startswith("'mask' does not meet the place where 'silver jeep' is seen")
    over = replace(settings, mask=drawn.flip(-1))
    assert not any("does not meet" in told for told in explain(measure(*changed(LEFT, 0.02)), EDIT, source, over, 2.0))


@pytest.mark.parametrize("by", [0.02, 0.4])
def test_a_new_thing_without_a_place_is_the_first_to_be_told_and_once(source, by):
    added = prompt_edit(SOURCE, f"{SOURCE} and a red bird")
    told = "\"red bird\" has no place; connect a MASK to 'mask' that is white there"

    class Told:
        text, notes = f"! {told}\nTime: short", []

    made_by = {"samples": clip_latent(), **mark(FREE, 7.5, Told)}
    report, _ = EditReport.execute(*changed(LEFT, by), edit=added, made_by=made_by).args
    assert report.count(told) == 1 and "Time: short" in report
    lines = report.splitlines()
    assert lines[0 if by > 0.1 else 1] == f"! {told}"
