"""Prompts as CLIP reads them: which positions belong to which word, in every syntax that ComfyUI knows."""

import random

import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders.sd2_clip
import comfy.text_encoders.sd3_clip
import pytest
import torch
from safetensors.torch import save_file

from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.word_fields import find_words

SD1 = comfy.sd1_clip.SD1Tokenizer()
BEGIN, END = 49406, 49407


def words_of(text, tokenizer=SD1):
    return [(word.text, word.indices) for word in tokenize_prompt(tokenizer, text).words]


def official_word_positions(text, wanted):
    """The official code's rule: words between single spaces, tokens counted off by the letters they decode to."""
    entries = SD1.tokenize_with_weights(text)["l"][0]
    tokens = [token for token, _ in entries[1:]]
    pieces = [SD1.clip_l.inv_vocab[token].removesuffix("</w>") for token in tokens[: tokens.index(END)]]
    found, position = [], 0
    for word in text.split(" "):
        letters = 0
        while letters < len(word):
            letters += len(pieces[position])
            position += 1
            if word == wanted:
                found.append(position)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "a silver jeep driving down a curvy road in the countryside",
        "a red porsche driving down a curvy road in the countryside",
        "watercolor painting of a silver jeep driving down a curvy road in the countryside",
        "a spider-man rides a wooden motorbike past swarovski crystals",
    ],
)
def test_words_own_the_positions_that_the_official_code_gives_them(text):
    tokens = tokenize_prompt(SD1, text)
    for word in text.split(" "):
        assert [index for found in find_words(tokens, word) for index in found] == official_word_positions(text, word)


def test_golden_positions():
    assert find_words(tokenize_prompt(SD1, "a silver jeep driving down a curvy road"), "silver jeep") == [(2,), (3,)]
    assert find_words(tokenize_prompt(SD1, "a red porsche driving down a curvy road"), "red porsche") == [(2,), (3,)]
    assert find_words(tokenize_prompt(SD1, "watercolor painting of a silver jeep"), "watercolor") == [(1,)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a man, riding", ["a", "man", ",", "riding"]),
        ("Spider-Man and Ukiyo-e", ["Spider-Man", "and", "Ukiyo-e"]),
        ("A  car\n on   a\troad", ["A", "car", "on", "a", "road"]),
        ("red,blue 3d 16:9", ["red", ",", "blue", "3d", "16", ":", "9"]),
        ("a man's hat!!", ["a", "man's", "hat", "!!"]),
        ("'tis (silver:1.2)", ["'tis", "silver"]),
        ("a (silver jeep:1.3), ((shiny))", ["a", "silver", "jeep", ",", "shiny"]),
        (r"a jeep \(silver\) \(\)", ["a", "jeep", "(", "silver", ")", "()"]),
        ("(silver:1.3)jeep", ["silver", "jeep"]),
        ("café 中文 हिन्दी", ["café", "中", "文", "हिन्दी"]),
        ("“quoted” — dash…", ["“", "quoted", "”", "—", "dash", "…"]),
    ],
)
def test_words(text, expected):
    assert [word for word, _ in words_of(text)] == expected


def test_weights_do_not_move_tokens():
    plain = tokenize_prompt(SD1, "a silver jeep, driving")
    weighted = tokenize_prompt(SD1, "a (silver:1.4) (jeep), driving")
    assert plain.ids == weighted.ids
    assert [word.indices for word in plain.words] == [word.indices for word in weighted.words]


def test_begin_end_and_padding():
    tokens = tokenize_prompt(SD1, "a Spider-Man rides")
    (chunk,) = tokens.chunks
    assert (tokens.length, chunk.begin, chunk.end, list(chunk.padding), tokens.end) == (77, 0, 6, list(range(7, 77)), 6)
    assert tokens.ids[0] == BEGIN and set(tokens.ids[6:]) == {END}


def test_a_full_chunk_has_no_padding():
    tokens = tokenize_prompt(SD1, " ".join(["jeep"] * 75))
    assert tokens.length == 77 and tokens.end == 76 and len(tokens.chunks[0].padding) == 0


def test_long_prompts_go_on_in_the_next_chunk():
    tokens = tokenize_prompt(SD1, " ".join(["jeep"] * 74 + ["Spider-Man", "road"]))
    assert tokens.length == 154
    assert tokens.words[74].indices == (75, 78, 79)
    assert tokens.words[75].indices == (80,)
    assert [(chunk.begin, chunk.end) for chunk in tokens.chunks] == [(0, 76), (77, 81)]


def test_a_weighted_group_that_is_moved_to_the_next_chunk():
    tokens = tokenize_prompt(SD1, " ".join(["jeep"] * 73) + " (a big red road:1.2)")
    assert tokens.words[73].indices == (78,)
    assert [(chunk.end, len(chunk.padding)) for chunk in tokens.chunks] == [(74, 2), (82, 71)]


@pytest.mark.parametrize("tokenizer", [comfy.sdxl_clip.SDXLTokenizer(), comfy.text_encoders.sd2_clip.SD2Tokenizer()])
def test_other_clip_encoders_have_the_same_positions(tokenizer):
    text = "a (silver:1.2) Spider-Man, driving " + "down a curvy road " * 20
    assert words_of(text, tokenizer) == words_of(text)


def test_random_prompts_leave_no_position_unaccounted_for():
    pick = random.Random(0)
    vocabulary = ["a", "jeep", "Spider-Man", "swarovski", ",", "man,", "(red:1.2)", "(big road)", "3d", "...", "8k!"]
    for _ in range(60):
        text = " ".join(pick.choices(vocabulary, k=pick.randint(1, 120)))
        tokens = tokenize_prompt(SD1, text)
        owned = [index for word in tokens.words for index in word.indices]
        special = [index for chunk in tokens.chunks for index in (chunk.begin, chunk.end, *chunk.padding)]
        assert sorted(owned + special) == list(range(tokens.length)) and owned == sorted(owned)
        assert all(tokens.ids[index] in (BEGIN, END) for index in special)
        assert all(tokens.ids[index] not in (BEGIN, END) for index in owned)


def save_embedding(folder, name, **tensors):
    save_file(tensors, folder / f"{name}.safetensors")


def test_embeddings_are_one_word_of_several_vectors(tmp_path):
    save_embedding(tmp_path, "Shiny", emb_params=torch.zeros(3, 768))
    tokenizer = comfy.sd1_clip.SD1Tokenizer(embedding_directory=str(tmp_path))
    tokens = tokenize_prompt(tokenizer, "a (embedding:Shiny:1.2) jeep, embedding:Shiny, red")
    assert [word.text for word in tokens.words] == ["a", "embedding:Shiny", "jeep", ",", "embedding:Shiny", ",", "red"]
    assert tokens.words[1].indices == (2, 3, 4)
    assert tokens.ids[2:5] == ("embedding:Shiny#0", "embedding:Shiny#1", "embedding:Shiny#2")
    assert tokens.word_ids(tokens.words[1]) == tokens.word_ids(tokens.words[4])
    assert find_words(tokens, "embedding:shiny") == [(2, 3, 4), (7, 8, 9)]


def test_embeddings_of_sdxl(tmp_path):
    save_embedding(tmp_path, "both", clip_l=torch.zeros(2, 768), clip_g=torch.zeros(2, 1280))
    save_embedding(tmp_path, "uneven", clip_l=torch.zeros(1, 768), clip_g=torch.zeros(2, 1280))
    save_embedding(tmp_path, "sd1", emb_params=torch.zeros(2, 768))
    tokenizer = comfy.sdxl_clip.SDXLTokenizer(embedding_directory=str(tmp_path))
    assert tokenize_prompt(tokenizer, "a embedding:both jeep").words[1].indices == (2, 3)
    with pytest.raises(ValueError, match="^'prompt' has an embedding of another width than the 1280"):
        tokenize_prompt(tokenizer, "a embedding:sd1 jeep")
    with pytest.raises(ValueError, match="^'prompt' has an embedding of different lengths"):
        tokenize_prompt(tokenizer, "a embedding:uneven jeep")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "'x' is empty"),
        (" \n", "'x' is empty"),
        ("()", "'x' is empty"),
        ("a embedding: cat", "'x' has 'embedding:' without a name"),
        ("a embedding:missing cat", "'x' names embedding:missing, which ComfyUI does not find"),
        ("a embedding:missing, cat", "'x' names embedding:missing, which ComfyUI does not find"),
    ],
)
def test_refused_prompts(tmp_path, text, sentence):
    tokenizer = comfy.sd1_clip.SD1Tokenizer(embedding_directory=str(tmp_path))
    with pytest.raises(ValueError, match=f"^{sentence}"):
        tokenize_prompt(tokenizer, text, "x")


def test_other_text_encoders_are_refused():
    with pytest.raises(ValueError, match="^'clip' has the text encoders g, l, t5xxl"):
        tokenize_prompt(comfy.text_encoders.sd3_clip.SD3Tokenizer(), "a jeep")


def test_find_words():
    tokens = tokenize_prompt(SD1, "a red house, and a Red car, a man's Spider-Man")
    assert find_words(tokens, "red") == [(2,), (7,)]
    assert find_words(tokens, "RED, Car!") == [(2,), (7,), (8,)]
    assert find_words(tokens, "red car") == [(7,), (8,)]
    assert find_words(tokens, "car red") == [(2,), (7,), (8,)]
    assert find_words(tokens, "spider-man; man's") == [(13, 14, 15), (11, 12)]
    assert find_words(tokens, " ") == []


@pytest.mark.parametrize("text", ["bus", "red bus", "red, bus", "re", "red car bus"])
def test_words_that_are_not_there(text):
    tokens = tokenize_prompt(SD1, "a red house, a red car")
    with pytest.raises(
        ValueError,
        match=r"^'y' names '(bus|re)', which is not in \"a red house, a red car\"; choose "
        r"from: a, red, house, car\.$",
    ):
        find_words(tokens, text, "y")
    with pytest.raises(ValueError, match="^'y' names '!!', which is not in"):
        find_words(tokens, "!!", "y")
