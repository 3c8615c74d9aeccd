"""Phrases: the words of a prompt that describe one thing."""

import pytest
import torch

from edit_cases import prompt_edit
from fatezero_pack.fatezero.edit.edit_check import crowded_mask
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.masks.word_masks import words_mask
from fatezero_pack.fatezero.prompts.phrases import neighbour_tokens, phrase_tokens, side_by_side


@pytest.mark.parametrize(
    "prompt, word, phrase",
    [
        ("a red square and a red star on green grass", "square", "red square"),
        ("a red square and a red star on green grass", "grass", "green grass"),
        ("a red square, a red star", "star", "red star"),
        ("jeep", "jeep", "jeep"),
        ("a cat and a dog", "and", ""),
    ],
)
def test_the_words_around_a_word(prompt, word, phrase):
    tokens = prompt_edit(prompt, prompt).source
    asked = next(each.indices for each in tokens.words if each.text == word)
    found = phrase_tokens(tokens, asked)
    assert " ".join(each.text for each in tokens.words if set(each.indices) <= set(found)) == phrase


@pytest.mark.parametrize(
    "target, things",
    [
        ("a purple star and a red heart on yellow sand", ["purple star", "red heart"]),
        ("a purple star and a blue circle on yellow sand", []),
        ("a purple star and a blue circle on green grass", []),
        ("a purple star, masterpiece, best quality, 8k", []),
        ("a purple star, highly detailed, a red heart", ["purple star", "red heart"]),
        ("a purple star, cinematic lighting, film grain", []),
        ("a purple star\na red heart", ["purple star", "red heart"]),
        ("a red heart and a red heart", []),
        ("a red heart and a red heart and a purple star", ["red heart", "purple star"]),
    ],
)
def test_new_things_that_stand_side_by_side(target, things):
    edit = prompt_edit("a yellow circle and a blue circle on yellow sand", target)
    assert side_by_side(edit.target, edit.target_mask_tokens) == things


@pytest.mark.parametrize("preset, told", [("replace", False), ("add", True), ("shape", False)])
def test_several_new_things_in_one_mask_are_told(preset, told):
    edit = prompt_edit("a red circle and a blue circle", "a purple star and a red heart")
    notes = crowded_mask(edit, PRESETS[preset])
    assert bool(notes) == told and all("purple star, red heart are seen together" in note for note in notes)


def test_words_of_several_phrases_bring_them_all():
    edit = prompt_edit("a red cat and a dog in a park", "a red fox and a big wolf in a park")
    assert [word.text for word in edit.target.words if word.indices[0] in edit.new_phrases] == [
        "red",
        "fox",
        "big",
        "wolf",
    ]


@pytest.mark.parametrize(
    "prompt, word, beside",
    [
        ("a red square and a red star on green grass", "square", "red star"),
        ("a red square and a red star on green grass", "grass", ""),
        ("a cat, a dog and a big cow in a park", "dog", "cat big cow"),
        ("a red square on a table and a star", "square", ""),  # the star is linked to the table
        ("black car, red bus, city street, night", "car", "red bus"),
        ("a girl, dancing, white cat", "cat", "girl"),
        ("a girl, dancing, white dress", "dress", ""),
        ("1girl, red hair, white dress", "dress", "red hair"),
        ("a girl and a white hat", "hat", "girl"),
        ("jeep", "jeep", ""),
    ],
)
def test_the_things_beside_a_thing(prompt, word, beside):
    tokens = prompt_edit(prompt, prompt).source
    asked = next(each.indices for each in tokens.words if each.text == word)
    found = neighbour_tokens(tokens, asked)
    assert " ".join(each.text for each in tokens.words if set(each.indices) <= set(found)) == beside


def test_a_mask_away_from_the_thing_beside():
    """Two places look at "red", one of them at "square"; by words alone the mask would hold both."""
    edit = prompt_edit("a red square and a red star", "a blue square and a red star")
    maps = torch.zeros(1, edit.source.length, 16, 16)
    red, square, other_red, star = (word.indices[0] for word in edit.source.words if word.names_something)
    maps[0, [red, other_red], 2:5, 2:5] = 0.4
    maps[0, [red, other_red], 10:13, 10:13] = 0.4
    maps[0, square, 2:5, 2:5] = maps[0, star, 10:13, 10:13] = 0.3
    masks = {}
    for by_phrase in (False, True):
        place, _ = edit.places(by_phrase)
        masks[by_phrase] = words_mask(maps, place.tokens, (16, 16), 0.3, without=place.without)[0] > 0
    assert masks[False][3, 3] and masks[False][11, 11]
    assert masks[True][3, 3] and not masks[True][10:13, 10:13].any()
