"""What a person has set and what has no effect is told; what a preset brings along is not."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fatezero_pack.fatezero.edit.idle_settings import (
    grey_mask,
    guided_unlike_papers,
    idle_coupled_settings,
    idle_guidance,
    idle_latent_blend,
    idle_models,
    idle_settings,
    small_mask,
)
from fatezero_pack.fatezero.edit.presets import CFG_UNTIL, PRESETS
from fatezero_pack.fatezero.edit.settings import AROUND, INPUT_MASK, NO_MASK, WORDS, WORDS_IN_MASK
from fatezero_pack.fatezero.edit.transformer.coupled_mask import MaskSettings
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import CoupledSettings
from fatezero_pack.fatezero.edit.unet.fresh_noise import on_whole_cells
from fatezero_pack.fatezero.network.transformer.two_models import steps_of_models
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.latent_cell import Cell
from fatezero_pack.fatezero.voice import Voice
from workflow_runs import WORKFLOWS

MASK = torch.ones(1, 64, 64)
MASK[:, :, 40:] = 0
ATTRIBUTE = PRESETS["attribute"]


def test_no_preset_tells_anything_of_itself():
    assert {
        name: idle_settings(preset, preset) for name, preset in PRESETS.items() if idle_settings(preset, preset)
    } == {}


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.json")), ids=lambda file: file.stem)
def test_no_template_has_a_setting_without_effect(file):
    """Of those that have a preset."""
    for node in json.loads(file.read_text(encoding="utf-8"))["nodes"]:
        if node["type"] not in ("FateZeroBlendSampler", "FateZeroAttentionBlend"):
            continue
        names = [slot["name"] for slot in node["inputs"] if "widget" in slot]
        values = dict(zip(names, node["widgets_values"]))
        usual = PRESETS[values["preset"]]
        linked = any(slot["name"] == "mask" and slot["link"] for slot in node["inputs"])
        settings = replace(
            usual,
            self_window=Window(values["preset.self_from"], values["preset.self_until"]),
            mask_from=values["preset.mask_from"],
            threshold=values["preset.mask_threshold"],
            mask_self_attention=values.get("preset.mask_self_attention", usual.mask_self_attention),
            latent_window=Window(0, 1) if values["preset.latent_blend"] else None,
            mask=MASK if linked else None,
        )
        assert idle_settings(settings, usual) == []


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"mask": MASK}, ["! 'mask' has no effect, since 'mask from' is words, to the edges; choose mask"]),
        ({"mask": MASK, "mask_from": NO_MASK}, ["! 'mask' has no effect, since 'mask from' is off"]),
        ({"mask": MASK, "mask_from": INPUT_MASK}, []),
        ({"mask": 0 * MASK, "mask_from": INPUT_MASK}, ["! 'mask' is black everywhere; paint white"]),
        ({"mask": 0 * MASK + 1, "mask_from": INPUT_MASK}, ["! 'mask' is white everywhere, so it holds nothing back"]),
        ({"mask": 0 * MASK + 1, "mask_from": WORDS_IN_MASK}, ["! 'mask' is white everywhere, so it holds nothing"]),
        (
            {"mask_from": NO_MASK, "mask_self_attention": True},
            ["! 'mask acts on self-attention' has no effect, since 'mask from' is off"],
        ),
        ({"threshold": 0.4}, []),
        ({"threshold": 0.4, "mask_from": AROUND}, []),
        ({"threshold": 0.4, "mask_from": NO_MASK}, ["! 'mask threshold' has no effect, since 'mask from' is off"]),
        ({"latent_window": None}, ["! 'mask from' words, to the edges has no effect; switch"]),
        ({"latent_window": None, "mask_self_attention": True}, []),
        (
            {"latent_window": None, "mask_self_attention": True, "self_window": Window(0, 0)},
            ["! 'mask from' words, to the edges has no effect"],
        ),
    ],
)
def test_settings_without_effect_are_told(changes, told):
    notes = idle_settings(replace(ATTRIBUTE, **changes), ATTRIBUTE)
    assert len(notes) == len(told) and all(note.startswith(part) for note, part in zip(notes, told)), notes


@pytest.mark.parametrize(
    "where, mask, told",
    [
        (MaskSettings(), MASK, []),
        (MaskSettings(), 0 * MASK, ["! 'mask' is black everywhere; paint white"]),
        (
            MaskSettings(),
            0.1 * MASK,
            ["! 'mask' covers no cell of the latent by a tenth, so hardly anything is edited"],
        ),
        (MaskSettings(), 0 * MASK + 1, ["! 'mask' is white everywhere, so it holds nothing back"]),
        (MaskSettings(WORDS), MASK, ["! 'mask' has no effect, since 'mask from' is words"]),
        (MaskSettings(WORDS, 0.8, "last third"), None, []),
        (MaskSettings(threshold=0.8), MASK, ["! 'mask threshold' has no effect, since 'mask from' is mask input"]),
        (MaskSettings(blocks="last third"), None, ["! 'mask blocks' has no effect, since 'mask from' is mask input"]),
    ],
)
def test_a_coupled_edit_tells_of_its_mask(where, mask, told):
    notes = idle_coupled_settings(CoupledSettings(), where, mask)
    assert len(notes) == len(told) and all(note.startswith(part) for note, part in zip(notes, told)), notes


@pytest.mark.parametrize(
    "is_on, window, told",
    [
        (True, (0, 0.6), []),
        (
            True,
            (0.5, 0.5),
            ["! 'latent blend' has no effect, since 'latent blend until' is not above 'latent blend from'"],
        ),
        (False, (0, 1), []),
        (False, (0, 0.6), ["! 'latent blend until' has no effect, since 'latent blend' is off"]),
        (False, (0.2, 1), ["! 'latent blend from' has no effect, since 'latent blend' is off"]),
    ],
)
def test_a_window_of_the_latent_blend_that_does_nothing_is_told(is_on, window, told):
    assert idle_latent_blend(is_on, Window(*window), Window(0, 1)) == told


def test_a_coupled_edit_tells_of_windows_that_skip_leaves_out():
    settings = CoupledSettings(cross_until=0.4, self_until=0.2, skip=0.3)
    (note,) = idle_coupled_settings(settings, MaskSettings())
    assert note == "! 'self-attention until' 0.2 has no effect, since 'skip' 0.3 leaves those steps out"
    assert settings.self_window == Window(0.2, 0.2) and settings.cross_window == Window(0.3, 0.4)


def test_a_model_without_steps_is_told():
    sigmas = torch.tensor([1.0, 0.9, 0.5, 0.0])
    told = {boundary: idle_models(steps_of_models(sigmas, 0, boundary), boundary) for boundary in (0.0, 0.8, 1.5)}
    assert told == {
        0.0: ["! 'low noise model' takes no step; raise 'boundary' (0)"],
        0.8: [],
        1.5: ["! 'model' takes no step; lower 'boundary' (1.5)"],
    }
    assert idle_models(steps_of_models(sigmas, 0, None), 0.875) == []


def test_notes_stand_above_every_text_but_not_in_the_report():
    shown = []
    voice = Voice("Node", shown.append, ["! a note"])
    for text in ("begun", "done"):
        voice.tell(text)
    assert shown == ["! a note\nbegun", "! a note\ndone"] and voice.text == "done"


def test_a_limit_of_the_guidance_without_guidance_is_told():
    assert idle_guidance(1.0, 0.5) == ["! 'cfg until' has no effect, since 'cfg' is 1, which is no guidance"]
    assert not idle_guidance(1.0, 1.0) and not idle_guidance(1.0, CFG_UNTIL) and not idle_guidance(4.0, 0.5)


def test_guidance_that_ends_earlier_than_in_a_paper_is_told():
    for preset in ("attribute (as in the paper)", "word swap (Video-P2P)"):
        assert "'cfg until' is 0.8" in guided_unlike_papers(preset, 7.5, 0.8)[0]
        assert not guided_unlike_papers(preset, 7.5, 1.0) and not guided_unlike_papers(preset, 1.0, 0.8)
    assert not guided_unlike_papers("attribute", 7.5, 0.8)


def drawn(*sides, white=1.0):
    """A mask of 64x64 with a square of each side in a frame of its own, each in a cell of 8x8."""
    mask = torch.zeros(len(sides), 64, 64)
    for frame, side in zip(mask, sides):
        frame[8 : 8 + side, 8 : 8 + side] = white
    return mask


def source(is_video=False):
    return SimpleNamespace(trajectory=torch.zeros(3, 2, 4, 8, 8), cell=Cell(frames=4 if is_video else 1))


NOTHING, HARDLY = (f"so {what} is edited; paint a larger or whiter place" for what in ("nothing", "hardly anything"))


@pytest.mark.parametrize("preset", ["add", "replace", "attribute"])
@pytest.mark.parametrize(
    "mask, told",
    [
        (drawn(2), True),  # 4 of 64 pixels
        (drawn(3), False),
        (drawn(8, white=0.1), True),
        (drawn(8, white=0.2), False),
        (drawn(2, 2), True),
        (drawn(0), False),  # is told to be black
        (drawn(0, 3), False),
    ],
)
def test_a_mask_too_small_or_too_faint_is_told(preset, mask, told):
    settings = replace(PRESETS[preset], mask=mask, mask_from=INPUT_MASK)
    notes = small_mask(settings, source())
    expected = HARDLY if preset == "attribute" else NOTHING
    assert [note.removeprefix("! 'mask' covers no cell of the latent by a tenth, ") for note in notes] == told * [
        expected
    ]
    cells = on_whole_cells(settings, (8, 8)).mask
    assert not settings.whole_cells or bool(cells.any()) == (not told and bool(mask.any())), "as the edit takes it"


@pytest.mark.parametrize("preset", ["add", "attribute"])
@pytest.mark.parametrize("white, told", [(1.0, ""), (0.95, ""), (0.5, "50%"), (0.3, "30%"), (0.1, ""), (0.0, "")])
def test_a_mask_that_is_nowhere_white_is_told(preset, white, told):
    """A part of the edit comes through, or by whole cells all of it; the faintest is told by `small_mask`."""
    settings = replace(PRESETS[preset], mask=drawn(8, white=white), mask_from=INPUT_MASK)
    assert [note.split("; ")[0] for note in grey_mask(settings)] == [
        f"! 'mask' is nowhere white, but grey of {told} at most"
    ] * bool(told)
    assert not grey_mask(replace(settings, mask_from=WORDS))


def test_a_mask_too_small_in_some_frames_is_told():
    settings = replace(PRESETS["add"], mask=drawn(2, 0, 4))
    (note,) = small_mask(settings, source())
    assert note.startswith("! in 1 of the 2 frames where 'mask' has white it covers no cell of the latent by a tenth")
    assert not small_mask(replace(settings, latent_window=None), source()), "the rest may change, too"
    assert not small_mask(replace(settings, mask_from=WORDS), source())
    assert not small_mask(replace(PRESETS["attribute"], mask_from=INPUT_MASK, mask=drawn(1)), source(is_video=True))
