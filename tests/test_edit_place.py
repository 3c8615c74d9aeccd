"""The picture of where an edit will act: in the mask's place, in the clip's colours, and for four frames at most."""

from dataclasses import replace

import comfy.latent_formats
import comfy.utils
import latent_preview
import pytest
import torch

from edit_cases import clip_latent, inverted, prompt_edit, small_model
from fatezero_pack.demo import model as demo
from fatezero_pack.demo import world
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, NO_MASK, WORDS, WORDS_IN_MASK, BlendSettings
from fatezero_pack.fatezero.report.edit_place import edit_place, latent_pictures
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.shared.place_preview import preview_callback

SD15 = comfy.latent_formats.SD15()


@pytest.fixture(scope="module")
def run():
    edit = prompt_edit()
    return inverted(small_model(), edit, clip_latent(6)), edit


def reddened(picture):
    """Where the tint lies: 1 where red leads by far."""
    return ((picture[..., 0] - picture[..., 1:].amax(dim=-1)) > 0.2).float()


@pytest.mark.parametrize("settings", [BlendSettings(mask_from=NO_MASK), BlendSettings(mask_from=WORDS)])
def test_an_edit_without_a_mask_has_no_picture(run, settings):
    source, _ = run
    added = prompt_edit("a jeep", "watercolor of a jeep")
    assert edit_place(source, added, settings, SD15) is None


def test_a_drawn_mask_is_tinted_in_its_place(run):
    source, edit = run
    grey = replace(source, trajectory=torch.zeros_like(source.trajectory))
    mask = torch.zeros(6, 128, 128)
    mask[:, :, 64:] = 1
    mask[5] = 0
    picture = edit_place(grey, edit, BlendSettings(mask_from=INPUT_MASK, mask=mask), SD15)
    assert picture.shape == (1, 128, 4 * 128, 3)  # frames 0, 2, 3 and 5 of six
    expected = torch.cat([mask[0], mask[2], mask[3], mask[5]], dim=1)
    assert torch.equal(reddened(picture[0]), expected)


def test_words_are_tinted_inside_the_drawn_mask_only(run):
    source, edit = run
    grey = replace(source, trajectory=torch.zeros_like(source.trajectory))
    words = reddened(edit_place(grey, edit, BlendSettings(mask_from=WORDS, threshold=0.5), SD15))
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    both = reddened(edit_place(grey, edit, BlendSettings(mask_from=WORDS_IN_MASK, threshold=0.5, mask=left), SD15))
    assert 0 < words.mean() < 1
    assert torch.equal(both, words * left.repeat(1, 1, 4))


@pytest.mark.usefixtures("temp_folder")
def test_the_node_shows_it_before_the_edit_runs(run):
    source, edit = run
    blend = {"source": source, "edit": edit, "layers": "all", "attention_from": "inversion"}
    assert AttentionBlend.execute(small_model(), **blend, preset={"preset": "attribute"}).ui["images"]
    assert "images" not in AttentionBlend.execute(small_model(), **blend, preset={"preset": "style"}).ui


def test_previews_of_the_demo_model_have_the_colours_of_the_pictures():
    _, _, vae = demo.load_demo_model()
    scene = world.Scene("snow", (world.Thing("blue", "square", 0.5, 0.5, 0.3),), ground_seed=1)
    picture = torch.from_numpy(world.render(scene, 128, 128)).float() / 255
    latent = vae.encode(picture[None])
    expected = torch.nn.functional.avg_pool2d(picture.movedim(-1, 0), 8).movedim(0, -1)
    own, foreign = demo.DemoLatentFormat(), SD15
    error = (latent_pictures(own.process_in(latent), own)[0] - expected).abs().mean()
    foreign_error = (latent_pictures(foreign.process_in(latent), foreign)[0] - expected).abs().mean()
    assert error < 0.1 < foreign_error


def test_latents_without_known_colours_are_grey():
    assert (latent_pictures(torch.randn(2, 4, 8, 8), comfy.latent_formats.LatentFormat()) == 0.5).all()


def test_the_sampler_shows_it_beside_the_live_preview(run, monkeypatch):
    source, edit = run
    shown = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *arguments, **_: shown.append(arguments[2]))
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Auto)
    mask = torch.ones(1, 128, 128)
    callback = preview_callback(small_model(), source, edit, BlendSettings(mask_from=INPUT_MASK, mask=mask))
    callback(0, torch.randn(6, 4, 16, 16), None, source.steps)
    (_, place, _), (_, joined, _) = shown
    assert place.size == (128, 128) and joined.size == (256, 128)
    assert joined.crop((0, 0, 128, 128)).tobytes() == place.tobytes()


def test_without_live_previews_it_is_shown_once(run, monkeypatch):
    source, edit = run
    shown = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *arguments, **_: shown.append(arguments[2]))
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.NoPreviews)
    callback = preview_callback(small_model(), source, edit, BlendSettings(mask_from=WORDS))
    for step in range(source.steps):
        callback(step, torch.randn(6, 4, 16, 16), None, source.steps)
    assert [picture is not None for picture in shown] == [True] + [False] * (len(shown) - 1)
