"""Temporal attention as the third kind that an edit can take from the source; only tuned models have it."""

from dataclasses import replace

import pytest
import torch

from edit_cases import clip_latent, edited, inverted, prompt_edit, random_tuned_model, small_model
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import AROUND, CACHE, FAST_RECONSTRUCTION, WORDS, BlendSettings, fitting_model
from fatezero_pack.fatezero.network.option_keys import FRAMES_AT_ONCE
from fatezero_pack.fatezero.network.unet import temporal_attention
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.refusal import Refusal
from golden_unet import relative

EDIT, NONE = prompt_edit(), Window(0, 0)
TEMPORAL_ONLY = BlendSettings(NONE, NONE, temporal_window=Window(0, 1), attention_from=FAST_RECONSTRUCTION)


@pytest.fixture(scope="module")
def run():
    """A small model with temporal attention that does something, and a clip inverted with it."""
    tuned = random_tuned_model(small_model())
    return tuned, inverted(tuned, EDIT, clip_latent(3))


def test_it_is_fused_where_a_preset_says_so(run, monkeypatch):
    model, source = run
    plain = edited(model, source, EDIT, BlendSettings(NONE, NONE))
    fused = edited(model, source, EDIT, TEMPORAL_ONLY)
    assert relative(fused, plain) > 1e-4
    monkeypatch.setattr(temporal_attention, "ELEMENTS_AT_ONCE", 1000)  # a hook sees all places all the same
    assert relative(edited(model, source, EDIT, TEMPORAL_ONLY), fused) < 1e-5


def test_fatezero_leaves_it_alone():
    for name, settings in PRESETS.items():
        assert (settings.temporal_window.end > 0) == ("Video-P2P" in name)


def test_models_that_are_not_tuned_have_none(run):
    tuned, _ = run
    model = small_model()
    assert fitting_model(TEMPORAL_ONLY, model).temporal_window == NONE
    assert fitting_model(TEMPORAL_ONLY, tuned) is TEMPORAL_ONLY
    source = inverted(model, EDIT, clip_latent(3))
    plain = edited(model, source, EDIT, BlendSettings(NONE, NONE))
    assert torch.equal(edited(model, source, EDIT, TEMPORAL_ONLY), plain)


def test_a_cache_does_not_keep_it(run):
    model, source = run
    settings = BlendSettings(NONE, NONE, temporal_window=Window(0, 1), source_attention=CACHE)
    with pytest.raises(Refusal, match="temporal attention is fused, which no cache keeps"):
        edited(model, source, EDIT, settings)


def test_frames_at_once_change_nothing(run):
    """Temporal attention spans the clip: fewer frames at once are not followed, and the edit is the same."""
    model, source = run
    whole = edited(model, source, EDIT, BlendSettings(mask_from=WORDS))
    asked = model.clone()
    asked.model_options["transformer_options"][FRAMES_AT_ONCE] = 2
    again = inverted(asked, EDIT, clip_latent(3))
    assert relative(again.trajectory, source.trajectory) <= 1e-5
    assert relative(edited(asked, again, EDIT, BlendSettings(mask_from=WORDS)), whole) <= 1e-5


def test_all_presets_run(run):
    model, source = run
    for settings in PRESETS.values():
        if settings.new_words_until:
            continue  # needs a mask: test_a_thing_is_added_on_a_tuned_model
        if settings.mask_from == AROUND:
            continue  # needs a thing that stays: test_a_ground_is_drawn_anew_on_a_tuned_model
        assert bool(torch.isfinite(edited(model, source, EDIT, settings)).all())


def test_a_ground_is_drawn_anew_on_a_tuned_model():
    model, edit = random_tuned_model(small_model()), prompt_edit("a jeep on grass", "a jeep on snow")
    source = inverted(model, edit, clip_latent(3))
    grounds = [edited(model, source, edit, replace(PRESETS["new background"], noise_seed=seed)) for seed in (0, 1)]
    assert all(bool(torch.isfinite(ground).all()) for ground in grounds) and relative(*grounds) > 1e-3


def test_a_thing_is_added_on_a_tuned_model():
    model, edit = random_tuned_model(small_model()), prompt_edit("a jeep on a road", "a jeep and a cow on a road")
    source = inverted(model, edit, clip_latent(3))
    mask = torch.zeros(3, 128, 128)
    mask[:, 32:96, 32:96] = 1
    added = edited(model, source, edit, replace(PRESETS["add"], mask=mask))
    clip = model.model.process_latent_out(source.trajectory[0])
    outside = (mask[:, None, ::8, ::8] == 0).expand_as(added)
    assert bool(torch.isfinite(added).all())
    assert relative(added[outside], clip[outside]) < 1e-3 < relative(added[~outside], clip[~outside])
