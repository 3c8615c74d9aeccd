"""The study of coupled edits: its ways of editing, its halves and its tables."""

from dataclasses import replace

import pytest

from benchmarks.studies.coupled_edits import FINAL, HALVES, KINDS, SETTINGS, draw_cases
from benchmarks.studies.coupled_tables import differing, text_of
from benchmarks.studies.video_editor import FLOWEDIT, INVERSION, SEEN, TRUE, UNCHANGED, ClipEditor, Setting, VideoEditor
from fatezero_pack.demo.video_model import WEIGHTS


@pytest.fixture(scope="module")
def clip():
    """edited(target_prompt or None for the source's, setting): the edited frames of a clip."""
    editor, case = VideoEditor(WEIGHTS, steps=6), draw_cases("choosing", 1, 5)[0]

    def edited(same, setting):
        prompts = {"target_prompt": case.source_prompt, "target": case.source} if same else {}
        return ClipEditor(editor, replace(case, **prompts)).edited(setting)

    return edited


@pytest.mark.slow
def test_flow_edit_gives_the_clip_back_where_both_rows_have_the_same_guidance(clip):
    unchanged = clip(True, Setting(UNCHANGED))
    alike, unlike = (Setting(FLOWEDIT, cfg=3, source_cfg=source_cfg) for source_cfg in (3, 1.5))
    assert (clip(True, alike) - unchanged).abs().max() < 1e-2
    assert (clip(True, unlike) - unchanged).abs().mean() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("way", [Setting(), Setting(INVERSION)])
def test_masks_hold_the_clip_outside(clip, way):
    """The mask of the truth and that of words: what lies outside both is nearer to the clip than without."""
    unchanged = clip(False, Setting(UNCHANGED))
    free, seen, true = (
        float((clip(False, replace(way, mask=mask)) - unchanged).abs().mean()) for mask in (way.mask, SEEN, TRUE)
    )
    assert seen < free and true < free


@pytest.mark.slow
def test_guidance_ends_where_a_setting_says(clip):
    """Before the first step it is none; the end of it costs something."""
    never, none, all_steps, early = (
        clip(False, Setting(INVERSION, cfg=cfg, until=until)) for cfg, until in ((4, 0), (1, 1), (4, 1), (4, 0.5))
    )
    assert (never - none).abs().max() < 1e-3 < (all_steps - early).abs().max() and (early - none).abs().max() > 1e-3


def test_every_setting_has_a_name_of_its_own_and_halves_share_no_clip():
    settings = [setting for group in SETTINGS.values() for setting in group]
    assert len({str(setting) for setting in settings}) == len(settings) and set(FINAL) <= set(settings)
    halves = [draw_cases(half, 2, 5) for half in HALVES]
    assert [case.kind for case in halves[0]] == [*KINDS, *KINDS]
    assert not {case.seed for case in halves[0]} & {case.seed for case in halves[1]}
    assert halves[0] == draw_cases("choosing", 2, 5), "the same for every call"


def test_only_what_differs_is_shown():
    figures = {
        f"colour {number}": {"base": {"kept": 50.0}, "same": {"kept": 50.0 + jitter}, "less": {"kept": 40.0 + jitter}}
        for number, jitter in enumerate((-1, 0, 1, 0))
    }
    shown = differing(figures, ["colour"], ["same", "less"], "base")
    assert "| colour: less | 4 |  | **-10.0 ± 1.3** |" in shown and "all kinds: less" in shown and "same" not in shown


def test_settings_are_compared_with_another_than_the_base_where_both_were_made():
    early, full = (Setting(INVERSION, until=until) for until in (0.8, 1.0))
    measures = {
        "success": 50.0,
        "kept": 50.0,
        "psnr_inside": 20.0,
        "psnr_outside": 20.0,
        "flicker": 1.0,
        "seconds": 1.0,
    }
    rows = {str(Setting()): measures, str(full): measures, str(early): {**measures, "flicker": 0.5}}
    kept = {
        "date": "today",
        "machine": "this one",
        "weights": "0",
        "runs": {"both": {"colour 1": rows, "colour 2": rows}},
    }
    groups, pairs = {"all": [Setting(), full, early]}, [(str(early), str(full))]
    assert f"| {early} − {full} | 2 | +0.0 | +0.0 | +0.0 | +0.0 | -0.50 |" in text_of(
        kept, str(Setting()), groups, pairs
    )
    kept["runs"]["both"] = {
        case: {name: of[name] for name in (str(Setting()), str(full))} for case, of in kept["runs"]["both"].items()
    }
    assert "ends early" not in text_of(kept, str(Setting()), groups, pairs)
