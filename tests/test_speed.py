"""DDIM Invert's *speed*: fast is 10 steps and Uni-Inv by one choice, and nothing else."""

import folder_paths
import pytest
import torch

from edit_cases import clip_latent, conditioning, prompt_edit, small_model
from fatezero_pack.fatezero.edit.presets import CFG_UNTIL
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.fatezero.source.source_run import TARGET_LABEL, UNI_INV
from fatezero_pack.nodes import invert
from fatezero_pack.nodes.invert import AS_SET, FAST, Invert
from tiny_video_models import two_wans

EDIT, STEPS = prompt_edit(), 3
TOLD = (
    "fast: 10 steps and Uni-Inv, whatever 'steps' and 'evaluate at' say; 'cfg until' 0.8 of Attention Blend Sampler "
    "belongs to it"
)
BY_HAND = {"steps": 10, "evaluate_at": "Uni-Inv"}


@pytest.fixture(scope="module")
def unet():
    return small_model()


@pytest.fixture
def inverted(unet):
    """inverted(**inputs): the outputs of DDIM Invert for a UNet's clip, not kept."""

    def make(**inputs):
        given = {"model": unet, "source": conditioning(EDIT.source), "latent": {"samples": clip_latent()}}
        return Invert.execute(**{**given, "steps": STEPS, "schedule": OFFICIAL, "reuse": False, **inputs}).args

    return make


def check_same(made, expected):
    (noise, run, sigmas, _), (other_noise, other, other_sigmas, _) = made, expected
    assert torch.equal(noise["samples"], other_noise["samples"]) and torch.equal(sigmas, other_sigmas)
    assert torch.equal(run.trajectory, other.trajectory) and torch.equal(run.word_maps, other.word_maps)
    assert (run.label, run.refinement, run.version) == (other.label, other.refinement, other.version)


@pytest.mark.parametrize("others", [{}, {"schedule": "karras"}, {"refinement": 1}], ids=str)
@pytest.mark.parametrize("put_aside", [{}, {"evaluate_at": "current label (paper)", "steps": 999}], ids=str)
def test_fast_is_the_same_settings_by_hand(inverted, others, put_aside):
    made = inverted(speed=FAST, **others, **put_aside)
    assert made[1].steps == 10 and made[1].label == UNI_INV
    check_same(made, inverted(**BY_HAND, **others))


def test_fast_is_the_same_settings_by_hand_for_video_models(video_model, video_latent, t5_prompt, inverted):
    clip = {"model": video_model, "source": t5_prompt("a red circle"), "latent": {"samples": video_latent}}
    made = inverted(speed=FAST, evaluate_at="current label (paper)", **clip)
    check_same(made, inverted(**BY_HAND, **clip))
    assert TOLD in made[3].splitlines()


def test_fast_divides_its_steps_between_two_models(latent, t5_prompt, inverted):
    high, low = two_wans()
    clip = {"model": high, "source": t5_prompt("a red circle"), "latent": {"samples": latent}, "low_noise_model": low}
    made, expected = (inverted(**speed, **clip, boundary=0.8) for speed in ({"speed": FAST}, BY_HAND))
    check_same(made, expected)
    assert [len(stage) for stage in made[1].stages] == [len(stage) for stage in expected[1].stages]


def test_without_the_choice_nothing_has_changed(inverted):
    before = inverted()
    assert before[1].steps == STEPS and before[1].label == TARGET_LABEL
    check_same(inverted(speed=AS_SET), before)
    assert "fast" not in before[3]


def test_another_speed_is_refused(inverted):
    with pytest.raises(Refusal, match="^DDIM Invert . Store Attention: 'speed' is quick; choose steps as set, fast"):
        inverted(speed="quick")


def test_it_stands_last_so_that_saved_widgets_keep_their_places():
    names = [item.id for item in Invert.define_schema().inputs]
    choice = Invert.define_schema().inputs[-1]
    assert names[-2:] == ["boundary", "speed"]
    assert choice.optional and choice.default == AS_SET and choice.options == [AS_SET, FAST]


def test_what_was_taken_is_told_at_once_and_in_the_report(inverted, monkeypatch):
    told = []
    monkeypatch.setattr(invert, "show_text", lambda _, text: told.append(text))
    report = inverted(speed=FAST)[3]
    assert told[0].startswith(f"{TOLD}\n") and report.count(TOLD) == 1 and "10 steps" in report
    assert f"'cfg until' {CFG_UNTIL:g} " in TOLD


def test_a_session_finds_it_by_what_was_taken(inverted):
    fast = inverted(speed=FAST, reuse=True)
    by_hand = inverted(**BY_HAND, reuse=True)
    assert "found again" in by_hand[3] and TOLD not in by_hand[3] and by_hand[1] is fast[1]
    assert "found again" in inverted(speed=FAST, steps=7, reuse=True)[3]
    assert "found again" not in inverted(steps=10, reuse=True)[3]


def test_what_is_unfinished_is_found_by_what_was_taken(inverted, monkeypatch, tmp_path):
    class Cancelled(BaseException):
        pass

    def cancel(step, *_):
        if step == 4:
            raise Cancelled

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(invert.latent_preview, "prepare_callback", lambda *_: cancel)
        inverted(**BY_HAND, resume=True)
    made = inverted(speed=FAST, resume=True)
    assert "continued after step 4 of 10" in made[3]
    check_same(made, inverted(speed=FAST))
