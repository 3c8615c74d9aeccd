"""Pairs of prompts as people write them: what changes, the preset that automatic takes, and where the mask lies."""

import pytest

from edit_cases import prompt_edit
from fatezero_pack.fatezero.edit.automatic import automatic_preset
from fatezero_pack.fatezero.prompts.edit_kind import changes_of, things_that_stay
from fatezero_pack.fatezero.prompts.phrases import phrase_text


def words_of(prompt, tokens):
    return " ".join(word.text for word in prompt.words if word.indices[0] in tokens)


def reading(source, target):
    """The kinds of what changes, the preset, the source's words in the mask, and those that it is kept away from."""
    edit = prompt_edit(source, target)
    place, _ = edit.places(by_phrase=True)
    kinds = " ".join(change.kind for change in changes_of(edit))
    words = words_of(edit.source, place.tokens), words_of(edit.source, place.without)
    return (kinds, automatic_preset(edit, has_mask=False), *words)


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("a car on a road", "a shiny, red car on a road", ("property", "attribute", "car", "")),
        ("a dog on grass", "a black and white dog on grass", ("property", "attribute", "dog", "")),
        (
            "a young, beautiful woman in a park",
            "an old, beautiful woman in a park",
            ("property", "attribute", "young beautiful woman", ""),
        ),
        ("a big, red car", "a small, red car", ("property", "attribute", "big red car", "")),
        ("a dog", "a cute, small, white dog", ("property", "attribute", "dog", "")),
        ("a man with long, grey hair", "a man with long, black hair", ("property", "attribute", "long grey hair", "")),
        (
            "two young, happy dogs on grass",
            "two young, sad dogs on grass",
            ("property", "attribute", "two young happy dogs", ""),
        ),
        ("a house", "a black and white photo of a house", ("look", "style", "", "")),
        (
            "an orange star on blue water",
            "a big, purple star on blue water",
            ("property", "attribute", "orange star", ""),
        ),
        # what is no such list
        ("a big dog and a small cat", "a big wolf and a small cat", ("thing", "replace", "big dog", "small cat")),
        ("a man in black, walking", "a man in white, walking", ("thing", "replace", "black", "")),
        ("a cat, low-poly style", "a cat, low-poly style, cyan and white", ("property property", "style", "", "")),
        ("an orange and an apple", "an orange and a pear", ("thing", "replace", "apple", "orange")),
    ],
)
def test_adjectives_in_a_list_belong_to_one_thing(source, target, expected):
    assert reading(source, target) == expected
