"""Emphasis on what a word means for the whole prompt, beside emphasis on its attention."""

import pytest
import torch

from edit_cases import conditioning, prompt_edit
from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.fatezero.edit.fusion import cross_weights
from fatezero_pack.fatezero.edit.settings import BlendSettings
from fatezero_pack.fatezero.prompts.meaning import lean_towards, meant, text_without
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.prompts.word_fields import ATTENTION, BY_WORD, MEANING, read_factors
from fatezero_pack.fatezero.report.diagnosis import _of_the_emphasis
from fatezero_pack.nodes.edit_prompts import EditPrompts

TEXT = "a mosaic of a red circle on green grass"


@pytest.fixture(scope="module")
def clip():
    return load_demo_model()[1]


def node(clip, emphasis, acts_on):
    return EditPrompts.execute(clip, TEXT, TEXT, "auto", emphasis, "", "", "", emphasis_acts_on=acts_on).args


def test_a_word_reaches_all_that_stands_after_it_and_keeps_every_length(clip):
    plain = node(clip, "", ATTENTION)[1][0][0]
    none, same, much = (node(clip, f"mosaic:{factor}", MEANING)[1][0][0] for factor in (0, 1, 3))
    assert torch.allclose(same, plain, atol=1e-5)
    place = tokenize_prompt(clip, TEXT).places["mosaic"][0] + 1
    assert torch.allclose(much[0, :place], plain[0, :place], atol=1e-5)  # before it, nothing knows of it
    assert bool(((much - plain)[0, place + 1 :].norm(dim=-1) > 1e-3).all())
    assert torch.allclose(much.norm(dim=-1), plain.norm(dim=-1), rtol=1e-4)
    against = torch.nn.functional.cosine_similarity((much - plain).flatten(), (none - plain).flatten(), dim=0)
    assert float(against) < 0


def test_without_the_word_it_is_the_prompt_that_lacks_it(clip):
    """Token by token, where the other prompt has the same ones, but for their length."""
    tokens = tokenize_prompt(clip, "a red circle")
    other = clip.encode_from_tokens_scheduled(clip.tokenize("a circle"))[0][0]
    none = EditPrompts.execute(clip, "a red circle", "a red circle", "auto", "red:0", "", "", "", MEANING).args[1]
    place = tokens.words[2].indices[0]
    similar = torch.nn.functional.cosine_similarity(none[0][0][0, place], other[0, place - 1], dim=0)
    assert float(similar) > 0.9999


@pytest.mark.parametrize("text", ["a (red:1.5) circle on green grass", r"a ((red) circle \(star\)) on green grass"])
def test_the_words_before_it_stay_as_they_are_written(clip, text):
    """With their weights and their parentheses: a text is read forwards, so that they know nothing of it."""
    plain, leaning = (
        EditPrompts.execute(clip, text, text, "auto", emphasis, "", "", "", MEANING).args[1][0][0]
        for emphasis in ("", "grass:3")
    )
    place = tokenize_prompt(clip, text).words[-1].indices[0]
    assert torch.allclose(leaning[0, :place], plain[0, :place], atol=1e-5)
    assert not torch.allclose(leaning[0, place + 1 :], plain[0, place + 1 :], atol=1e-3)


def test_all_words_may_be_meant(clip):
    """Then what is left is an empty prompt, as a person may not write one."""
    same, more = (
        EditPrompts.execute(clip, "star", "star", "auto", f"star:{factor}", "", "", "", MEANING).args[1][0][0]
        for factor in (1, 3)
    )
    assert not torch.allclose(same, more, atol=1e-3)


def test_the_pooled_output_leans_too():
    edit = prompt_edit("a sketch of a jeep", "a sketch of a jeep")
    pooled = torch.eye(4)[:1]

    def encode(text):
        others = prompt_edit(text, text).source
        return others, conditioning(others, pooled_output=torch.eye(4)[1:2])

    (embedding, options), *rest = lean_towards(
        conditioning(edit.target, pooled_output=pooled), edit.target, [((2,), 2.0)], encode
    )
    assert not rest and torch.allclose(options["pooled_output"], torch.tensor([[2.0, -1, 0, 0]]) / 5**0.5)
    assert text_without(edit.target, (2,)) == "a of a jeep"
    assert text_without(edit.target, range(edit.target.length)) == ""


def test_attention_then_stays_as_it_is():
    emphasised = {
        kind: prompt_edit("a red jeep", "a red jeep", emphasis="red:3", emphasis_acts_on=kind)
        for kind in (ATTENTION, MEANING)
    }
    weights = {kind: cross_weights(edit, Window(0, 1), 0, 4)[0] for kind, edit in emphasised.items()}
    assert float(weights[ATTENTION].max()) == 3 and float(weights[MEANING].max()) == 1
    for kind, edit in emphasised.items():
        assert f"emphasis acts on: {kind}" in edit.summary()
        assert "x3" in edit.summary() and "gives the source back" not in edit.summary()


def test_automatic_leans_towards_looks_and_looks_more_at_things(clip):
    """A style by its meaning, a colour by its attention, both in one field."""
    _, plain, _, _ = node(clip, "", ATTENTION)
    _, leaning, edit, table = node(clip, "mosaic:3, red:2", BY_WORD)
    assert torch.equal(leaning[0][0], node(clip, "mosaic:3", MEANING)[1][0][0])
    assert torch.equal(edit.attention_emphasis, node(clip, "red:2", ATTENTION)[2].attention_emphasis)
    assert "emphasis acts on: attention of the word (red), meaning of the prompt (mosaic)" in table
    _, same, edit, table = node(clip, "circle:2", BY_WORD)
    assert torch.equal(same[0][0], plain[0][0]) and float(edit.attention_emphasis.max()) == 2
    assert "emphasis acts on: attention of the word (circle)" in table
    assert "acts on" not in node(clip, "", BY_WORD)[3]  # the default is no choice of a person's


@pytest.mark.parametrize(
    "before, prompt, words, are_meant",
    [
        ("a cat, cinematic lighting", "a dog, cinematic lighting", "lighting:2", True),
        ("a cat at night, 35mm, 8k", "a cat at night, 35mm, 8k", "night:2, 8k:3", True),
        ("a swan in the style of Makoto Shinkai", "a swan in the style of Makoto Shinkai", "shinkai:2", True),
        ("a dog", "a watercolor of a dog", "watercolor:10", False),  # new, as in the papers' edits
        ("a swan", "a swarovski crystal swan", "crystal:5, swarovski:3", False),
        ("a man rides a horse", "a man rides a horse", "rides:2", False),
    ],
)
def test_what_automatic_takes_for_a_look_that_stays(before, prompt, words, are_meant):
    for acts_on, all_are in ((BY_WORD, are_meant), (MEANING, True), (ATTENTION, False)):
        edit = prompt_edit(before, prompt, emphasis=words, emphasis_acts_on=acts_on)
        factors = read_factors(edit.target, words, "emphasis")
        assert meant(edit, factors) == (factors if all_are else [])
        assert bool((edit.attention_emphasis != 1).any()) != all_are


def test_of_the_meaning_no_window_is_told():
    never = BlendSettings(cross_window=Window(0, 0))
    told = {
        kind: _of_the_emphasis(prompt_edit("a red jeep", "a red jeep", emphasis="red:3", emphasis_acts_on=kind), never)
        for kind in (ATTENTION, MEANING)
    }
    assert "acts in no step" in told[ATTENTION][0] and told[MEANING] == []
