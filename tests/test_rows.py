"""What an edit costs in rows of the UNet, and the study that draws quality against them."""

from dataclasses import replace

from benchmarks.quality.editor import Editor
from benchmarks.quality.methods import FREE, OURS
from benchmarks.studies.rows import spread, study_cases

STEPS, FRAMES = 2, 2


def test_rows_are_those_that_enter_the_network():
    """Per frame and step one of the inversion and two of guided sampling; one more where the source's attention is
    read; what another method has paid counts too."""
    editor, case = Editor(), replace(study_cases()[0], frames=FRAMES)
    _, plain = editor.make(case, replace(OURS, way=FREE, steps=STEPS))
    _, fused = editor.make(case, replace(OURS, preset="background", steps=STEPS))  # fuses half of the steps
    assert plain.rows == FRAMES * STEPS * (1 + 2)
    assert fused.rows == plain.rows + FRAMES * STEPS // 2
    assert fused.seconds > 0


def test_a_part_of_the_cases_has_as_many_kinds_as_it_can():
    cases = study_cases()
    kinds = {case.kind for case in cases}
    assert {case.kind for case in spread(cases, len(kinds))} == kinds
    assert spread(cases, len(cases)) == cases
