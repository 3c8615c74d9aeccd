"""Phrases: the words of a prompt that describe one thing."""

import pytest

from edit_cases import prompt_edit
from fatezero_pack.fatezero.prompts.phrases import phrase_tokens


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


def test_words_of_several_phrases_bring_them_all():
    edit = prompt_edit("a red cat and a dog in a park", "a red fox and a big wolf in a park")
    assert [word.text for word in edit.target.words if word.indices[0] in edit.new_phrases] == [
        "red",
        "fox",
        "big",
        "wolf",
    ]
