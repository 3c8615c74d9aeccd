"""What an edit costs in rows of the UNet, and the study that draws quality against them."""

from collections import Counter
from dataclasses import replace

import torch

from benchmarks.quality.cases import HARD_LIST, HELD_OUT, LIST, load_cases
from benchmarks.quality.editor import Editor
from benchmarks.quality.methods import EVERY_STEP, FREE
from benchmarks.studies.fast_by_kind import IN_DOUBT, NUMBERS, by_preset, every_case, verdict
from benchmarks.studies.rows import spread, study_cases
from benchmarks.studies.source_reuse import reuse
from edit_cases import conditioning, inverted, negative, prompt_edit, small_model
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler

STEPS, FRAMES = 2, 2


def test_rows_are_those_that_enter_the_network():
    """Per frame and step one of the inversion and two of guided sampling; one more where the source's attention is
    read; what another method has paid counts too."""
    editor, case = Editor(), replace(study_cases()[0], frames=FRAMES)
    _, plain = editor.make(case, replace(EVERY_STEP, way=FREE, steps=STEPS))
    _, fused = editor.make(case, replace(EVERY_STEP, preset="background", steps=STEPS))  # fuses half of the steps
    assert plain.rows == FRAMES * STEPS * (1 + 2)
    assert fused.rows == plain.rows + FRAMES * STEPS // 2
    assert fused.seconds > 0
    _, guided = editor.make(case, replace(EVERY_STEP, way=FREE, steps=STEPS, guided=(0.0, 0.5)))
    assert guided.rows == plain.rows - FRAMES * STEPS // 2, "the negative's rows of the second half do not run"


def test_a_part_of_the_cases_has_as_many_kinds_as_it_can():
    cases = study_cases()
    kinds = {case.kind for case in cases}
    assert {case.kind for case in spread(cases, len(kinds))} == kinds
    assert spread(cases, len(cases)) == cases


def test_edits_are_drawn_for_each_preset():
    cases = every_case()
    assert Counter(case.preset for case in cases) == {name: last - first + 1 for name, (first, last) in NUMBERS.items()}
    first_rounds = [case.preset for case in cases[: 2 * len(IN_DOUBT)]]
    assert sorted(first_rounds) == sorted(2 * IN_DOUBT), "in turn, so that a run cut short has some of each"
    assert {case.weight for case in cases if case.preset == "enhance"} == {-1.0, 3.0}
    assert cases == every_case()
    held_out = [case.source for path in (LIST, HARD_LIST) for case in load_cases(path) if case.half == HELD_OUT]
    assert not [case.name for case in cases if case.source in held_out]


def test_fast_holds_only_where_a_loss_is_excluded():
    assert verdict({"psnr_inside": [0.1, 0.2, 0.3], "flicker": [-0.1, -0.1, -0.2]}) == "holds"
    assert verdict({"psnr_inside": [0.1, -3.0, 3.0]}) == "a loss is not excluded: PSNR inside"
    assert verdict({"flicker": [0.5, 0.6, 0.5], "psnr": []}) == "worse: flicker"
    assert verdict({"success": [0.0] * 7}) == "a loss is not excluded: success %", "one of them may yet fail"
    assert verdict({"success": [0.0] * 31}) == "holds"


def test_a_step_reuses_the_places_of_the_one_before():
    places = {(sigma, layer): f"{layer} at {sigma}" for sigma in (4, 3, 2, 1) for layer in "ab"}
    changed, saved = reuse(places, {"a"}, 2)
    assert [changed[sigma, "a"] for sigma in (4, 3, 2, 1)] == ["a at 4", "a at 4", "a at 2", "a at 2"]
    assert all(changed[sigma, "b"] == places[sigma, "b"] for sigma in (4, 3, 2, 1)) and saved == 2


def test_the_node_guides_until_a_share_of_the_steps():
    model, edit = small_model(), prompt_edit()
    source = inverted(model, edit, steps=4)

    def edited(cfg, **until):
        given = (model, source, edit, conditioning(edit.target), negative(), cfg, {"preset": "style"})
        return AttentionBlendSampler.execute(*given, **until).result[0]["samples"]

    guided, unguided, half = edited(5.0), edited(1.0), edited(5.0, cfg_until=0.5)
    # On some processors no two runs are equal to the last bit.
    assert torch.allclose(edited(5.0, cfg_until=1.0), guided, atol=1e-3)
    assert torch.allclose(edited(5.0, cfg_until=0.0), unguided, atol=1e-3)
    assert not torch.allclose(half, guided, atol=1e-3) and not torch.allclose(half, unguided, atol=1e-3)


def test_edits_with_masks_of_before_stand_apart():
    figures = {name: {} for name in ("fast_style_1", "fast_shape_34", "fast_shape_35")}
    groups = by_preset(figures)
    assert [*groups["shape"]] == ["fast_shape_35"] and [*groups["style"]] == ["fast_style_1"]
    assert [*groups["all"]] == ["fast_shape_35", "fast_style_1"]
    assert [*groups["shape, mask of words"]] == ["fast_shape_34"]
