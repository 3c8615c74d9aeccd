"""Edit Report: what it says about edits whose fault is known, what it draws, and which CLIPs it takes."""

import importlib.machinery
import json
import sys
import types
from dataclasses import replace

import comfy.clip_vision
import folder_paths
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import load_file, save_model

from edit_cases import SOURCE, clip_latent, conditioning, inverted, negative, prompt_edit, small_model
from fatezero_pack.demo.model import WEIGHTS, load_clip, read_config
from fatezero_pack.fatezero.edit.settings import AROUND, INPUT_MASK, NO_MASK, OUTLINE, WORDS, BlendSettings
from fatezero_pack.fatezero.masks.word_masks import AUTOMATIC
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.report import lpips_distance as lpips_module
from fatezero_pack.fatezero.report import mask_diagnosis
from fatezero_pack.fatezero.report.clip_embeddings import (
    comparison_problem,
    image_embeddings,
    text_embeddings,
    text_projection,
)
from fatezero_pack.fatezero.report.diagnosis import all_is_well, explain
from fatezero_pack.fatezero.report.edit_report import PromptScores, measure, panels
from fatezero_pack.fatezero.report.inversion_diagnosis import neighbour_likeness
from fatezero_pack.fatezero.report.mask_share import used_mask_share
from fatezero_pack.fatezero.report.measure_table import PSNR_SCALE, scale, table
from fatezero_pack.fatezero.report.plots import (
    HEIGHT,
    WIDTH,
    Panel,
    draw_panels,
    finite_pieces,
    frame_ticks,
    vertical_ticks,
)
from fatezero_pack.fatezero.source.source_run import FAST_STEPS, UNI_INV
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.edit_report import EditReport
from fatezero_pack.nodes.shared.made_by import mark
from workflow_runs import completed, nodes, shipped, shortened

SHORT = BlendSettings(self_window=Window(0, 0.3), cross_window=Window(0, 0.3))
FREE = BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0))


def clips(change=0.0, frames=3, side=64):
    """A clip, and the same with the middle ninth lighter by `change`."""
    before = 0.5 * torch.rand(frames, side, side, 3, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[:, side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] += change
    return before, after


def middle(side=64, frames=1):
    mask = torch.zeros(frames, side, side)
    mask[:, side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = 1
    return mask


def little(mask=None):
    return measure(*clips(0.02), mask)


@pytest.fixture(scope="module")
def run():
    edit = prompt_edit()
    return inverted(small_model(), edit, clip_latent(3, 16, 16), steps=12), edit


# Why an edit had little effect


def test_an_edit_that_shows_needs_no_explanation(run):
    source, edit = run
    assert explain(measure(*clips(0.4), middle()), edit, source, SHORT, 7.5) == []


@pytest.mark.parametrize(
    "settings, cfg, expected",
    [
        (
            replace(SHORT, self_window=Window(0, 0.8)),
            7.5,
            ["used for 80% of the steps", "lower 'self-attention until' (0.8)"],
        ),
        (replace(SHORT, cross_window=Window(0, 0.7)), 7.5, ["('red')", "lower 'cross-attention until' (0.7)"]),
        (SHORT, 2.0, ["'cfg' is 2,", "the papers use 7.5"]),
        (SHORT, 7.5, ["No setting stands out: lower 'cross-attention until'", "raise 'cfg'", "'emphasis'"]),
        (FREE, 7.5, ["No setting holds it back", "raise 'cfg'", "'emphasis'"]),
    ],
)
def test_the_one_setting_that_holds_an_edit_back_is_named(run, settings, cfg, expected):
    source, edit = run
    verdict, *causes = explain(little(), edit, source, settings, cfg)
    assert verdict.startswith("The edit had little effect: even where it changed most, the colours moved by 5 of 255")
    assert len(causes) == 1
    assert all(words in causes[0] for words in expected)


@pytest.mark.parametrize("cfg, is_told", [(7.5, False), (15.0, True), (None, False)])
def test_burnt_colours_are_named_where_guidance_is_high(run, cfg, is_told):
    source, edit = run
    before = torch.full((2, 64, 64, 3), 0.5)
    after = before.clone()
    after[:, 20:40, 20:40] = torch.tensor([1.0, 0.1, 0.1])
    told = explain(measure(before, after), edit, source, SHORT, cfg)
    assert told == ([] if not is_told else told) and len(told) == is_told
    if is_told:
        assert told[0].startswith(
            "'cfg' is 15, and 100% of what changed is as bright or dark as can be (0% of the clip"
        )
        assert told[0].endswith("lower it to 7.5 or less.")


def test_bright_colours_that_the_clip_had_are_not_burnt(run):
    source, edit = run
    before = torch.zeros(2, 64, 64, 3)
    before[..., 0] = 1
    after = before.clone()
    after[:, 20:40, 20:40] = torch.tensor([0.1, 0.1, 1.0])
    assert explain(measure(before, after), edit, source, SHORT, 15.0) == []


def test_few_steps_are_named(run):
    _, edit = run
    source = inverted(small_model(), edit, clip_latent(1, 16, 16), steps=4, schedule="normal")
    for measured in (little(middle()), measure(*clips(0.4), middle())):
        sentence = explain(measured, edit, source, SHORT, 7.5)[measured.strongest_change < 0.1]
        assert "inverted in 4 steps" in sentence and "raise 'steps' of DDIM Invert" in sentence
    look = prompt_edit(SOURCE, f"a watercolor of {SOURCE}")
    assert explain(measure(*clips(0.4)), look, source, SHORT, 7.5) == [], "a new style needs no more"


def test_noise_with_much_of_the_clip_in_it_is_told_though_the_edit_shows(run):
    """As 2 steps of the official schedule leave it: a half-finished star had the verdict that the edit shows."""
    _, edit = run
    source = inverted(small_model(), edit, clip_latent(3, 16, 16), steps=2)
    (sentence,) = explain(measure(*clips(0.4), middle()), edit, source, SHORT, 7.5)
    assert sentence.startswith("The noise of DDIM Invert ends at sigma 1.6: much of the clip is still in it")


@pytest.mark.parametrize(
    "target, options, expected",
    [
        ("a silver jeep on a road", {}, "The prompts are the same; change words in 'target prompt'"),
        (
            "a silver jeep on a road",
            {"emphasis": "silver:2"},
            "the same but for the emphasis of 'silver'; move it further",
        ),
        ("a silver jeep on a road.", {}, "differ only in punctuation"),
        ("the silver jeep on a road", {}, "differ only in 'a', 'the', which name nothing to be seen"),
        ("a red jeep on a road", {"emphasis": "red:0.5"}, "The emphasis of 'red' is below 1"),
    ],
)
def test_words_that_cannot_make_an_edit_are_named(target, options, expected):
    sentences = explain(little(), prompt_edit(target=target, **options), None, SHORT, 7.5)
    assert any(expected in sentence for sentence in sentences[1:])


def test_an_emphasis_that_never_acts_is_named_though_the_edit_shows():
    shown = measure(*clips(0.4))
    never = replace(SHORT, cross_window=Window(0, 0))
    (sentence,) = explain(shown, prompt_edit(emphasis="red:5"), None, never, 7.5)
    assert sentence.startswith("The emphasis of 'red' acts in no step")
    assert explain(shown, prompt_edit(emphasis="red:5", windows="red:0.5"), None, never, 7.5) == []
    (sentence,) = explain(shown, prompt_edit(emphasis="red:5", windows="red:0"), None, SHORT, 7.5)
    assert "the word's window in Edit Prompts" in sentence


def test_a_window_of_a_word_decides_over_the_setting(run):
    long = replace(SHORT, cross_window=Window(0, 0.9))
    assert "cross-attention until" in explain(little(), prompt_edit(), None, long, 7.5)[1]
    assert "No setting" in explain(little(), prompt_edit(windows="red:0.2"), None, long, 7.5)[1]


def test_in_refine_mode_new_words_are_free():
    long = replace(SHORT, cross_window=Window(0, 0.9))
    assert "No setting" in explain(little(), prompt_edit(mode="refine"), None, long, 7.5)[1]


def test_empty_and_full_masks_are_told_by_frame(run):
    source, edit = run
    by_words = replace(SHORT, mask_from=WORDS, threshold=1.0)
    for settings in (by_words, replace(by_words, mask_from=OUTLINE)):
        sentences = explain(measure(*clips(0.4), middle()), edit, source, settings, 7.5)
        assert sentences == [
            "The mask is empty in every frame, where nothing new can appear; lower 'mask threshold' (1), "
            "or name in 'mask words' of Edit Prompts what the clip shows more plainly."
        ]
    (sentence,) = explain(measure(*clips(0.4), middle()), edit, source, replace(by_words, threshold=1e-3), 7.5)
    assert (
        sentence.startswith("The mask covers every frame nearly whole") and "raise 'mask threshold' (0.001)" in sentence
    )
    drawn = middle(frames=3)
    drawn[0], drawn[2] = 0, 1
    sentences = explain(
        measure(*clips(0.4), middle()), edit, source, replace(SHORT, mask_from=INPUT_MASK, mask=drawn), 7.5
    )
    assert "empty in frame 0, where nothing new can appear; draw a larger mask." in sentences[0]
    assert "covers frame 2 nearly whole" in sentences[1]


def test_the_one_reason_beside_which_no_other_counts_stands_alone(run):
    """Else a person turns what changes nothing, such as the windows of an edit whose new thing has no place."""
    source, edit = run
    held = BlendSettings(self_window=Window(0, 0.9), cross_window=Window(0, 0.9))
    added = prompt_edit(edit.source.text, f"{edit.source.text} and a red bird")
    verdict, *sentences = explain(measure(*clips(0.05)), added, source, held, 2.0)
    assert "little effect" in verdict
    assert sentences == ["\"red bird\" has no place; connect a MASK to 'mask' that is white there"]
    both = prompt_edit("a silver jeep on a road", "a red jeep and a bird on a road")
    _, first, *others = explain(measure(*clips(0.05)), both, source, held, 2.0)
    assert first.startswith('"bird" has no place') and len(others) > 1, "the other change has reasons of its own"
    verdict, *sentences = explain(
        measure(*clips(0.05)), prompt_edit(edit.source.text, edit.source.text), source, held, 2.0
    )
    assert sentences == ["The prompts are the same; change words in 'target prompt' of Edit Prompts."]
    empty = replace(held, mask_from=WORDS, threshold=1.0)
    verdict, *sentences = explain(measure(*clips(0.05)), edit, source, empty, 2.0)
    assert [sentence.split(",")[0] for sentence in sentences] == ["The mask is empty in every frame"]


def test_values_that_automatic_does_not_show_have_a_way_to_them(run):
    source, edit = run
    way = "Preset automatic took style here and shows no values; to set one, choose style in 'preset'."
    long = BlendSettings(self_window=Window(0, 0.9), cross_window=Window(0, 0.3))
    told = explain(measure(*clips(0.05)), edit, source, long, 7.5, "style")
    assert told[-1] == way and any("'self-attention until'" in sentence for sentence in told[:-1])
    assert way not in explain(measure(*clips(0.05)), edit, source, long, 7.5)
    masked = replace(long, mask=middle(), mask_from=INPUT_MASK, cross_window=Window(0, 0.9))
    told = explain(measure(*clips(0.05)), edit, source, masked, 7.5, "style")
    assert told[-1] == way.removesuffix(".") + " and mask input in 'mask from'."
    weak = explain(measure(*clips(0.05)), edit, source, SHORT, 2.0, "style")
    assert way not in weak and any("'cfg' is 2" in sentence for sentence in weak)


def test_frames_without_the_thing_are_no_fault(run, monkeypatch):
    """The run has told them; where a person set the threshold, they may be one."""
    source, edit = run
    found = replace(SHORT, mask_from=OUTLINE, threshold=AUTOMATIC)
    monkeypatch.setattr(mask_diagnosis, "used_mask_share", lambda *_: torch.tensor([0.0, 0.2, 0.2]))
    assert explain(measure(*clips(0.4), middle()), edit, source, found, 7.5) == []
    (sentence,) = explain(measure(*clips(0.4), middle()), edit, source, replace(found, threshold=0.5), 7.5)
    assert "empty in frame 0" in sentence


def test_a_mask_around_a_small_thing_may_cover_nearly_all(run):
    """A higher threshold makes the things that it leaves out smaller, and the mask larger."""
    source, _ = run
    edit = prompt_edit("a silver jeep on a road", "a silver jeep on a beach")

    def told(threshold):
        settings = replace(SHORT, mask_from=AROUND, threshold=threshold)
        share = used_mask_share(source, edit, settings)
        return share, explain(measure(*clips(0.4), middle()), edit, source, settings, 7.5)

    share, sentences = told(0.99)
    assert bool((share > 0.95).any() and (share < 1).all()) and sentences == []
    _, (sentence,) = told(1.0)
    assert sentence == "Nothing that stays is found in every frame; lower 'mask threshold' (1)."
    _, (sentence,) = told(1e-3)
    told = "What stays covers every frame whole, so that no ground is drawn anew; raise 'mask threshold' (0.001)."
    assert sentence == told


def test_the_share_of_the_mask_is_that_of_the_edit(run):
    source, edit = run
    assert used_mask_share(source, edit, SHORT) is None
    assert used_mask_share(None, edit, replace(SHORT, mask_from=WORDS)) is None
    share = used_mask_share(source, edit, replace(SHORT, mask_from=WORDS, threshold=0.5))
    larger = used_mask_share(source, edit, replace(SHORT, mask_from=WORDS, threshold=0.2))
    assert share.shape == (3,) and (share > 0).all() and (larger >= share).all() and (larger > share).any()
    inside = used_mask_share(
        source, edit, replace(SHORT, mask_from="words inside mask input", threshold=0.5, mask=torch.zeros(1, 128, 128))
    )
    assert inside.tolist() == [0, 0, 0]


def test_without_settings_it_says_how_to_get_them():
    sentences = explain(little())
    assert "connect 'made by'" in sentences[-1] and "Connect 'edit'" in sentences[-2]
    (sentence,) = explain(measure(*clips(0.4), torch.zeros(1, 64, 64)))
    assert "empty in every frame" in sentence


def scored(change, target_before, target_after, source_before=0.25):
    scores = [torch.tensor([score]) for score in (target_after, target_before, 0.2, source_before, 0.0)]
    return replace(measure(*clips(change)), scores=PromptScores(*scores))


def test_clip_scores_tell_a_change_in_another_direction():
    sentence = explain(scored(0.4, 0.24, 0.22), prompt_edit(), None, SHORT, 7.5)[0]
    assert "not towards the target prompt: its CLIP score was 0.240 before the edit and is 0.220 after it." in sentence
    assert explain(scored(0.4, 0.22, 0.24), prompt_edit(), None, SHORT, 7.5) == []
    (sentence,) = explain(scored(0.4, 0.01, -0.01, source_before=0.02), prompt_edit(), None, SHORT, 7.5)
    assert "may not belong together" in sentence


# What is right and wrong in itself


def test_an_edit_that_is_well_gets_a_verdict(run):
    before, after = clips(0.4)
    measured = measure(before, after, middle())
    assert all_is_well(measured) == (
        "The edit shows: where it changed most, the colours moved by 102 of 255 levels. Outside the mask the clip is "
        "the same to the last bit."
    )
    measured = measure(before, after + 0.01, middle())
    assert "What changed outside the mask is not visible (40 dB)." in all_is_well(measured)
    assert all_is_well(measure(before, after)).endswith("levels.")


def test_a_clip_that_changed_outside_the_mask_is_told():
    before, after = clips(0.4)
    (sentence,) = explain(measure(before, after + 0.08, middle()), prompt_edit(), None, SHORT, 7.5)
    assert (
        "Outside the mask the clip changed, too (22 dB: visible)" in sentence and "Composite Outside Mask" in sentence
    )


def test_outside_is_where_the_mask_is_0():
    """As Composite Outside Mask keeps it: a soft edge may change without a word."""
    before, after = clips(0.4)
    soft = middle()
    soft[:, 10:21] = 0.2
    after[:, 10:21] += 0.3
    measured = measure(before, after, soft)
    assert torch.equal(measured.outside.change, torch.zeros(3))
    assert measure(before, after, torch.full((1, 64, 64), 0.5)).outside.change.isnan().all()


def test_an_inversion_that_is_no_noise_is_told(run):
    source, edit = run
    assert neighbour_likeness(torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))) < 0.05
    smooth = torch.nn.functional.interpolate(torch.randn(3, 4, 4, 4), size=(16, 16), mode="bilinear")
    mush = replace(source, trajectory=torch.cat([source.trajectory[:-1], smooth[None]]))
    (sentence,) = explain(measure(*clips(0.4), middle()), edit, mush, SHORT, 7.5)
    assert sentence.startswith("The inversion failed: its noise still has a picture in it")
    assert "mush; raise 'steps' of DDIM Invert, and let" in sentence
    assert explain(measure(*clips(0.4), middle()), edit, source, SHORT, 7.5) == []


@pytest.mark.parametrize(
    "label, advice", [(UNI_INV, "set 'speed' of DDIM Invert to steps as set and"), ("target", "raise")]
)
def test_where_speed_is_fast_raising_the_steps_changes_nothing(label, advice):
    edit = prompt_edit()
    source = inverted(small_model(), edit, clip_latent(1), steps=FAST_STEPS)
    smooth = torch.nn.functional.interpolate(torch.randn(1, 4, 4, 4), size=(16, 16), mode="bilinear")
    mush = replace(source, trajectory=torch.cat([source.trajectory[:-1], smooth[None]]), label=label)
    (sentence,) = explain(measure(*clips(0.4, frames=1)), edit, mush, SHORT, 7.5)
    assert f"mush; {advice}" in sentence


def test_numbers_have_a_scale():
    assert [scale(value, PSNR_SCALE) for value in (45, 31, 26, 21, 5)] == [
        "not visible",
        "not visible",
        "slightly visible",
        "visible",
        "much changed",
    ]


# The table and the plot


def test_the_table_tells_inside_from_outside():
    before, after = clips(0.2)
    after[:, 0, 0] = 1 - before[:, 0, 0]
    text = table(measure(before, after, middle()))
    assert text.splitlines()[0] == "3 frames of 64x64, the mask is 10.8% of the picture"
    assert "change, inside mask           51.0/255  strong" in text
    assert "strongest change" in text and "PSNR, outside mask" in text
    assert "Left out: CLIP score, Frame-Acc, Tem-Con and Object Semantic Variance need 'clip vision'." in text
    assert "LPIPS needs" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("Left out")) <= 60
    assert "before" not in text  # no measure has a value of the clip before: no empty column
    assert "the same" in table(measure(before, before))
    partly = before.clone()
    partly[1] += 0.1
    assert "20.0 dB" in table(measure(before, partly))  # frames without a difference do not hide the others


def test_plots_are_panels_of_a_known_size():
    before, after = clips(0.2)
    measured = measure(before, after, middle())
    titles = [panel.title.split(",")[0] for panel in panels(measured)]
    assert titles == ["Change against the clip before", "Mask"]  # nothing differs outside: no curve of its PSNR
    measured = measure(before, after + 0.01, middle())
    assert panels(measured)[1].title.startswith("PSNR outside the mask, dB")
    picture = draw_panels(panels(measured))
    assert picture.shape == (1, 2 * HEIGHT, 2 * WIDTH, 3)
    assert draw_panels([Panel("one", {"a": torch.tensor([float("nan")])})]).shape == (1, HEIGHT, WIDTH, 3)
    one = draw_panels([Panel("one frame", {"a": torch.tensor([5.0])})])[0, 60:]
    orange = (one[..., 0] > 0.7) & (one[..., 2] < 0.3)
    assert orange.sum() > 10


def test_a_curve_is_drawn_where_its_values_are():
    values = torch.tensor([0.0, 10.0, 10.0, float("nan"), 0.0, 0.0])
    picture = draw_panels([Panel("curve", {"a": values})])[0]
    orange = ((picture[..., 0] > 0.75) & (picture[..., 2] < 0.25))[60:]
    heights = [orange[:, column].nonzero().flatten().float().mean() for column in (62, 62 + 96 + 48, 62 + 4 * 96 + 48)]
    assert heights[0] > 185 and heights[1] < 12 and heights[2] > 185
    assert not orange[:, 62 + 2 * 96 + 10 : 62 + 4 * 96 - 10].any()  # the gap of the NaN


@pytest.mark.parametrize(
    "values, options, expected",
    [
        ([0.0, 80.0], {}, [0, 20, 40, 60, 80]),
        ([0.963, 0.987], {"limits": (0.98, 1.0)}, [0.96, 0.97, 0.98, 0.99, 1.0]),
        ([30.0, 30.0], {"span": 4}, [28, 29, 30, 31, 32]),
        ([float("nan")], {}, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_ticks_are_round(values, options, expected):
    assert vertical_ticks(Panel("", {"a": torch.tensor(values)}, **options)) == pytest.approx(expected)


def test_ticks_of_frames_and_gaps():
    assert frame_ticks(0, 7) == list(range(8)) and frame_ticks(1, 1) == [1]
    assert frame_ticks(1, 99) == [20, 40, 60, 80] and len(frame_ticks(0, 5000)) <= 9
    pieces = finite_pieces(torch.tensor([1.0, float("nan"), 2.0, 3.0, float("inf")]))
    assert pieces == [[(0, 1.0)], [(2, 2.0), (3, 3.0)]]


# CLIP

VISION = dict(
    hidden_act="quick_gelu",
    hidden_size=32,
    image_size=56,
    intermediate_size=64,
    num_attention_heads=4,
    model_type="clip_vision_model",
    num_channels=3,
    num_hidden_layers=2,
    patch_size=14,
    projection_dim=64,
)


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """vision(projection_dim=64, ...) is a CLIP_VISION of ComfyUI's with random weights."""

    def make(**options):
        file = tmp_path_factory.mktemp("vision") / "config.json"
        config = {**VISION, **options}
        file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
        made = comfy.clip_vision.ClipVisionModel(str(file))
        generator = torch.Generator().manual_seed(0)
        for parameter in made.model.parameters():
            parameter.requires_grad_(False).copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return made

    return make


def text_encoder(projection="file"):
    """The demo model's CLIP with another text projection: a tensor, None for none, or the file's."""
    weights = {
        name.replace("te.", "clip_l.transformer.", 1): value
        for name, value in load_file(WEIGHTS).items()
        if name.startswith("te.")
    }
    key = "clip_l.transformer.text_projection.weight"
    if projection is None:
        del weights[key]
    elif projection != "file":
        weights[key] = projection
    return load_clip(weights, read_config(WEIGHTS)["te"])


def test_a_text_encoder_without_projection_is_told_and_the_file_to_load(vision):
    large = vision(projection_dim=768)
    for projection in (None, torch.zeros(64, 64), torch.eye(64), torch.full((64, 64), float("nan"))):
        clip = text_encoder(projection)
        assert text_projection(clip) is None
        sentence = comparison_problem(clip, large)
        assert "without its text projection" in sentence and "openai/clip-vit-large-patch14" in sentence
        report, _ = EditReport.execute(*clips(0.4), edit=prompt_edit(), clip=clip, clip_vision=large).args
        assert sentence in report and "Tem-Con" in report and "Frame-Acc   " not in report


def test_pairs_of_two_clips_are_told(vision):
    clip = text_encoder()
    assert comparison_problem(clip, vision()) is None
    sentence = comparison_problem(clip, vision(projection_dim=1024))
    assert "'clip' is 64 numbers wide but 'clip vision' is ViT-H/14" in sentence and "CLIP-ViT-H-14" in sentence
    assert "is not a CLIP (DINO or SigLIP)" in comparison_problem(clip, vision(projection_dim=None))


def test_text_embeddings_are_the_encoders_projected_output(vision):
    clip = text_encoder()
    texts = ["a red circle on green grass", "a (blue:1.3) square"]
    found = text_embeddings(clip, texts)
    clip.cond_stage_model.reset_clip_options()
    for row, text in zip(found, texts):
        tokens = [[token for token, _ in chunk] for chunk in clip.tokenize(text)["l"]]
        clip.cond_stage_model.clip_l.return_projected_pooled = True
        projected = clip.cond_stage_model.clip_l(tokens)[1][0].float()
        torch.testing.assert_close(row, projected / projected.norm(), atol=2e-3, rtol=0)
    clip.cond_stage_model.reset_clip_options()
    embedded = image_embeddings(vision(), clips()[0], batch=2)
    assert embedded.shape == (3, 64)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(embedded, image_embeddings(vision(), clips()[0]), atol=1e-4, rtol=0)


def test_every_measure_appears_with_a_whole_clip(vision):
    measured = measure(*clips(0.4), middle(), prompt_edit(), text_encoder(), vision())
    text = table(measured)
    for name in (
        "CLIP score, target prompt",
        "CLIP score, source prompt",
        "Frame-Acc",
        "Tem-Con",
        "Object Semantic Variance",
    ):
        assert f"\n{name}" in text
    assert measured.scores.target.shape == (3,) and measured.neighbours.after.shape == (2,)
    assert len(panels(measured)) == 4
    single = measure(*clips(0.4, frames=1), None, prompt_edit(), text_encoder(), vision())
    assert single.neighbours is None and "Tem-Con" not in table(single)
    assert draw_panels(panels(single)).shape[0] == 1


# LPIPS


class StubLPIPS(torch.nn.Module):
    """The library's interface, with its two names for each linear layer."""

    def __init__(self, pretrained=True, net="alex", pnet_rand=False, verbose=True):
        super().__init__()
        assert net == "alex" and not pretrained and pnet_rand, "this would fetch weights from the network"
        self.net = torch.nn.Conv2d(3, 4, 3)
        self.lin0 = torch.nn.Conv2d(4, 1, 1, bias=False)
        self.lins = torch.nn.ModuleList([self.lin0])

    def forward(self, first, second, normalize=False):
        assert normalize and first.shape[1] == 3 and 0 <= float(first.min()) <= float(first.max()) <= 1
        return self.lin0((self.net(2 * first - 1) - self.net(2 * second - 1)) ** 2).mean(dim=(2, 3), keepdim=True)


@pytest.fixture
def lpips_folder(monkeypatch, tmp_path):
    library = types.ModuleType("lpips")
    library.LPIPS, library.__spec__ = StubLPIPS, importlib.machinery.ModuleSpec("lpips", None)
    monkeypatch.setitem(sys.modules, "lpips", library)
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    folder = tmp_path / "lpips"
    folder.mkdir()
    return folder


def test_lpips_takes_its_weights_from_the_models_folder(lpips_folder, monkeypatch):
    before, after = clips(0.4)
    assert "models/lpips/lpips_alex.safetensors, which is not there" in lpips_module.lpips_problem(before)
    net = StubLPIPS(pretrained=False, pnet_rand=True)
    save_model(net, str(lpips_folder / lpips_module.FILE))
    assert lpips_module.lpips_problem(before) is None
    found = lpips_module.lpips_distance(before, after, batch=2)
    expected = net(before.movedim(-1, 1), after.movedim(-1, 1), normalize=True).flatten()
    torch.testing.assert_close(found, expected.detach())
    assert lpips_module.lpips_distance(before, before).tolist() == [0, 0, 0]
    measured = measure(before, after)
    assert "\nLPIPS  " in table(measured) and panels(measured)[-1].title.startswith("LPIPS")
    assert "at least 32x32" in lpips_module.lpips_problem(before[:, :20])
    (lpips_folder / lpips_module.FILE).unlink()
    elsewhere = lpips_folder.parent / "other"
    elsewhere.mkdir()
    save_model(net, str(elsewhere / lpips_module.FILE))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "lpips", ([str(elsewhere)], {".safetensors"}))
    assert lpips_module.weights_path() == str(elsewhere / lpips_module.FILE)


def test_a_file_that_is_not_lpips_is_refused(lpips_folder):
    file = lpips_folder / lpips_module.FILE
    save_model(torch.nn.Linear(2, 2), str(file))
    with pytest.raises(ValueError, match="^lpips_alex.safetensors does not hold the weights of LPIPS"):
        lpips_module.lpips_distance(*clips())
    file.write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="make it again"):
        lpips_module.lpips_distance(*clips())


# The node


def test_what_cannot_be_measured_is_refused_in_the_nodes_words():
    before, after = clips()
    for arguments, expected in (
        ((before, after[:2]), "Edit Report: 'after' has 2 frames of 64x64 but 'before' has 3 frames of 64x64"),
        ((before, after, middle(64, 2)), "Edit Report: 'mask' has 2 frames but 'before' has 3"),
        ((before / 0, after), "Edit Report: 'before' has invalid numbers"),
    ):
        with pytest.raises(ValueError) as error:
            EditReport.execute(*arguments)
        assert str(error.value).startswith(expected)


def test_the_blend_nodes_tell_how_an_edit_was_made(run):
    source, edit = run
    model = small_model()
    preset = {"preset": "style", "self_until": 0.9}
    target = conditioning(edit.target)
    (latent,) = AttentionBlendSampler.execute(model, source, edit, target, negative(), 3.0, preset).args
    blended, _ = AttentionBlend.execute(model, source, edit, preset).args
    assert isinstance(blended, ModelPatcher) and not any("made_by" in key for key in model.model_options)
    for made_by in (latent, blended, blended.clone()):
        report, plot = EditReport.execute(*clips(0.02), made_by=made_by, edit=edit).args
        assert "lower 'self-attention until' (0.9)" in report
        assert ("'cfg' is 3," in report) == (made_by is latent)
        assert plot.shape[0] == 1
    report, _ = EditReport.execute(*clips(0.02), made_by={"samples": latent["samples"]}, edit=edit).args
    assert "connect 'made by'" in report


def test_the_inputs_stay_as_they_are(vision):
    before, after = clips(0.4)
    mask = middle()
    kept = [value.clone() for value in (before, after, mask)]
    made_by = {"samples": clip_latent(), **mark(replace(SHORT, mask_from=NO_MASK), 7.5)}
    EditReport.execute(before, after, mask, prompt_edit(), made_by=made_by, clip=text_encoder(), clip_vision=vision())
    assert all(torch.equal(value, was) for value, was in zip((before, after, mask), kept))


@pytest.mark.parametrize(
    "either_server, cfg, expected",
    [("server", 4, None), ("old_server", 1, "! The edit had little effect")],
    indirect=["either_server"],
)
def test_the_demo_edit_is_reported_on_a_server(either_server, cfg, expected):
    server = either_server
    prompt = shortened(shipped(server, "fatezero_video_edit_demo_color_edit"), steps=4)
    (invert,), (edits,), (sampler,), (decode,), (load,) = (
        nodes(prompt, kind)
        for kind in ("FateZeroInvert", "FateZeroEditPrompts", "FateZeroBlendSampler", "VAEDecode", "FateZeroVideoLoad")
    )
    for save in nodes(prompt, "FateZeroVideoSave"):
        del prompt[save]
    prompt[sampler]["inputs"]["cfg"] = cfg
    if expected:  # an edit that changes nothing
        prompt[edits]["inputs"]["target_prompt"] = prompt[edits]["inputs"]["source_prompt"]
        prompt[sampler]["inputs"] |= {"preset.mask_from": "off", "preset.latent_blend": False}  # no word to mask
    prompt["mask"] = {
        "class_type": "FateZeroAttentionMask",
        "inputs": {
            "source": [invert, 1],
            "words": "circle",
            "threshold": 0.5,
            "when": "average of all steps",
            "step": 0,
            "grow": 0,
            "smooth_over_time": 0,
        },
    }
    prompt["report"] = {
        "class_type": "FateZeroEditReport",
        "inputs": {
            "before": [load, 0],
            "after": [decode, 0],
            "mask": ["mask", 0],
            "edit": [edits, 2],
            "source": [invert, 1],
            "made_by": [sampler, 0],
        },
    }
    run = completed(server, prompt)
    (text,) = run.outputs["report"]["text"]
    (picture,) = run.outputs["report"]["images"]
    assert server.path(picture).is_file()
    assert "2 frames of 128x128, the mask is" in text and "PSNR, outside mask" in text
    if expected:
        assert text.startswith(expected) and "The prompts are the same" in text
        assert "'cfg'" not in text, "which would change nothing"
    else:
        assert "little effect" not in text


def test_the_node_gives_its_measures_to_programs():
    before = torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[:, :8] += 0.5
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    (told,) = EditReport.execute(before, after, mask).ui["fatezero_numbers"]
    assert told["change, inside mask"] == pytest.approx(0.5, abs=1e-4) and told["change, outside mask"] == 0
    assert "PSNR, outside mask" not in told, "unchanged: no finite number"
