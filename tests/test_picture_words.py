"""Words in pictures: in every script that the system has letters for, and in the language of the page."""

from types import SimpleNamespace

import pytest
import torch

from fatezero_pack.fatezero.report import fonts
from fatezero_pack.fatezero.report.labels import write_on
from fatezero_pack.fatezero.report.plots import Panel, draw_panels
from fatezero_pack.nodes.compare_videos import CompareVideos
from fatezero_pack.nodes.shared.picture_words import TEXTS, picture_words

LANGUAGES = sorted(file.stem for file in TEXTS.glob("*.json"))


def from_a_page(language):
    return SimpleNamespace(extra_pnginfo={"workflow": {"extra": {"fatezero": {"language": language}}}})


def written(text):
    bar = torch.zeros(28, 320, 3)
    write_on(bar, text)
    return bar


@pytest.mark.parametrize("text", ["после", "编辑后", "編集後の", "편집 후", "después", "Größe"])
def test_letters_of_every_script_are_drawn(text):
    if not fonts.can_write(text):
        pytest.skip("this system has no font for it")
    blank = "".join("\uffff" if ord(letter) > 127 else letter for letter in text)  # what no font has
    assert not torch.equal(written(text), written(blank))
    assert not torch.equal(written(text), written(text[::-1]))  # as boxes, both would look the same


def test_without_a_font_the_picture_keeps_english(monkeypatch):
    monkeypatch.setattr(fonts, "_system_font", lambda letters: None)
    assert picture_words(from_a_page("zh")) == {}
    french = picture_words(from_a_page("fr"))
    assert french["frame"] == "image" and "whole picture" not in french  # "image entière"
    assert written("编辑后").any()  # boxes, and no error


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_names_the_language(language):
    words = picture_words(from_a_page(language))
    assert set(words) == {english for english, other in words.items() if fonts.can_write(other)}
    assert words.get("clip") != "clip" or language in ("fr", "es")


@pytest.mark.parametrize("language", ["en", "xx", "../zh", "", None, 5, ["zh"], {"zh": 1}])
def test_other_languages_are_none(language):
    assert picture_words(from_a_page(language)) == {}


@pytest.mark.parametrize("info", [None, {}, {"workflow": None}, {"workflow": {"extra": []}}])
def test_a_graph_without_a_page_has_english_pictures(info):
    assert picture_words(SimpleNamespace(extra_pnginfo=info)) == {} == picture_words(None)


def test_a_panel_in_other_words():
    words = {"change": "cambio", "outside": "fuera", "frame": "fotograma"}
    panel = Panel("change", {"inside": torch.rand(3), "outside": torch.rand(3)}).in_words(words)
    assert (panel.title, list(panel.curves), panel.axis) == ("cambio", ["inside", "fuera"], "fotograma")
    assert draw_panels([panel]).shape[0] == 1


def test_labels_of_compare_videos_follow_the_page_unless_they_are_a_persons_own(monkeypatch):
    clips = {"first": torch.rand(2, 64, 96, 3), "second": torch.rand(2, 64, 96, 3)}
    monkeypatch.setattr(CompareVideos, "hidden", from_a_page("fr"))
    shown = CompareVideos.execute(**clips, first_label="before", second_label="my edit").args[0]
    monkeypatch.setattr(CompareVideos, "hidden", None)
    expected = CompareVideos.execute(**clips, first_label="avant", second_label="my edit").args[0]
    assert torch.equal(shown, expected)
