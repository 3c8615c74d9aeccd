"""A new target prompt does not tune the model again."""

import gc
import shutil
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_pag import PerturbedAttentionGuidance

from edit_cases import clip_latent, conditioning, prompt_edit, small_model
from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint
from fatezero_pack.fatezero.network.unet.inflation import inflation_of
from fatezero_pack.fatezero.source import session_folder
from fatezero_pack.fatezero.tuning.tuned_state import tuned_state_of
from fatezero_pack.nodes import tune as tune_node
from fatezero_pack.nodes.tune import TuneVideoModel
from fatezero_pack.nodes.tuned_save import SaveTunedModel

FOUND = "found again"
SOURCE = conditioning(prompt_edit().source)


@pytest.fixture
def tunings(monkeypatch):
    """How often a model was tuned: a list that grows."""
    made, tune = [], tune_node.tune

    def counted(*args, **kwargs):
        made.append(args)
        return tune(*args, **kwargs)

    monkeypatch.setattr(tune_node, "tune", counted)
    return made


def tuned(model, source=SOURCE, latent=None, preset="FateZero", steps=2, rank=4, **settings):
    """The tuned model and the report of the node, as ComfyUI runs it."""
    latent = clip_latent(2, 8, 8) if latent is None else latent
    with torch.inference_mode():
        model, _, report = TuneVideoModel.execute(
            model, source, {"samples": latent}, preset, steps, 1e-3, rank=rank, **settings
        ).result
    return model, report


@pytest.mark.parametrize("is_freed", [False, True])
def test_the_same_tuning_is_found_again(tunings, is_freed):
    first, report = tuned(small_model())
    kept = {name: value.clone() for name, value in tuned_state_of(first).tensors.items()}
    named, looks = fingerprint(first), inflation_of(first)
    if is_freed:  # as ComfyUI does when a prompt changes
        del first
        gc.collect()
    again, told = tuned(small_model())
    assert len(tunings) == 1 and FOUND not in report and FOUND in told and told.startswith(report)
    assert fingerprint(again) == named and inflation_of(again) == looks
    state = tuned_state_of(again)
    assert state.tensors.keys() == kept.keys()
    assert all(torch.equal(state.tensors[name], value) for name, value in kept.items())


@pytest.mark.parametrize(
    "change",
    [
        {"source": conditioning(prompt_edit(source="a red jeep on a road").source)},
        {"latent": clip_latent(2, 8, 8, seed=7)},
        {"steps": 3},
        {"seed": 1},
        {"rank": 2},
        {"preset": "Tune-A-Video"},
        {"pictures": {"samples": clip_latent(1, 8, 8)}, "pictures_prompt": SOURCE},
    ],
)
def test_another_tuning_is_not(tunings, change):
    tuned(small_model())
    assert FOUND not in tuned(small_model(), **change)[1] and len(tunings) == 2


def test_what_changes_memory_alone_is_the_same_tuning(tunings, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    tuned(small_model())
    for same in ({"checkpointing": "on"}, {"resume": True}):
        assert FOUND in tuned(small_model(), **same)[1]
    assert len(tunings) == 1


def test_a_person_may_want_it_anew(tunings):
    tuned(small_model())
    assert FOUND not in tuned(small_model(), reuse=False)[1] and len(tunings) == 2


def test_a_model_that_cannot_be_named_is_tuned_anew(tunings):
    for _ in range(2):
        model = small_model()
        model.set_model_attn2_patch(lambda query, key, value, extra: (query, key, value))
        assert "made anew whenever a prompt changes, since 'model' carries" in tuned(model)[1]
    assert len(tunings) == 2


def test_guidance_and_skipped_steps_on_the_model_are_no_part_of_a_tuning(tunings):
    for node in (PerturbedAttentionGuidance, EasyCacheNode):
        with_node = (
            node.execute(small_model(), 3.0)
            if node is PerturbedAttentionGuidance
            else node.execute(small_model(), 0.2, 0.15, 0.95, False)
        )
        _, report = tuned(with_node.result[0])
        assert "made anew" not in report
    assert len(tunings) == 1


def test_a_tuning_that_is_found_is_not_saved_twice(tunings, monkeypatch, tmp_path):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    for _ in range(2):
        gc.collect()
        model, report = tuned(small_model())
        SaveTunedModel.execute(model, "tuned")
        del model
    assert FOUND in report and len(list(tmp_path.rglob("tuned_*"))) == 1


def test_tunings_leave_room_for_inversions(tunings, monkeypatch):
    tuned(small_model())
    temp = Path(folder_paths.get_temp_directory())
    size = sum(file.stat().st_size for file in temp.rglob("state.safetensors"))
    monkeypatch.setattr(session_folder, "MOST_BYTES", int(4.5 * size))
    for seed in (1, 2, 3):
        tuned(small_model(), seed=seed)
    assert len(list(temp.rglob("state.safetensors"))) == 2
    assert FOUND in tuned(small_model(), seed=3)[1] and FOUND in tuned(small_model(), seed=2)[1]
    monkeypatch.setattr(session_folder, "MOST_BYTES", int(1.5 * size))  # one alone may have more than half
    tuned(small_model(), seed=4)
    assert FOUND in tuned(small_model(), seed=4)[1]


def test_a_damaged_file_is_made_again(tunings):
    tuned(small_model())
    gc.collect()
    (file,) = Path(folder_paths.get_temp_directory()).rglob("state.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    assert FOUND not in tuned(small_model())[1] and FOUND in tuned(small_model())[1]


def test_a_temp_folder_that_cannot_be_written_is_no_error(tunings):
    temp = Path(folder_paths.get_temp_directory())
    shutil.rmtree(temp, ignore_errors=True)
    temp.write_text("a file in its place")
    assert "the temp folder cannot keep it" in tuned(small_model())[1]


def test_what_is_found_does_not_change_what_was_given(tunings):
    model = small_model()
    before = replace(tuned_state_of(tuned(model)[0]))
    tuned(model)
    assert tuned_state_of(model) is None and tuned_state_of(tuned(model)[0]).tensors.keys() == before.tensors.keys()
