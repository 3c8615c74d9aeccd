"""Prompts in scripts without spaces between words, as Wan's and CLIP's tokenizers read them."""

import random

import comfy.sd1_clip
import pytest
import sentencepiece
import torch
from comfy.text_encoders.wan import WanT5Tokenizer

from fatezero_pack.fatezero.prompts.edit_kind import changes_of
from fatezero_pack.fatezero.prompts.meaning import text_without
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.word_fields import find_words, read_factors
from fatezero_pack.fatezero.refusal import Refusal

CLIP = comfy.sd1_clip.SD1Tokenizer()
JEEP, PORSCHE = "一辆银色的吉普车在山路上行驶", "一辆保时捷在山路上行驶"
KNOWN = "一辆 银色 的 吉普车 保时捷 在 山路 上 行驶 红色 圆形 方形 草地 雪地 ， 和".split()


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """Wan's tokenizer with a vocabulary of whole Chinese words, and of bytes for all others."""
    folder = tmp_path_factory.mktemp("vocabulary")
    draw = random.Random(0)
    (folder / "text.txt").write_text(
        "\n".join(" ".join(draw.choices([*KNOWN, *"a red circle".split()], k=6)) for _ in range(500)), encoding="utf-8"
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "words"),
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        user_defined_symbols=KNOWN,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    vocabulary = torch.frombuffer(bytearray((folder / "words.model").read_bytes()), dtype=torch.uint8)
    return WanT5Tokenizer(tokenizer_data={"spiece_model": vocabulary})


def words_of(tokenizer, text):
    return [word.text for word in tokenize_prompt(tokenizer, text).words]


def named(prompt, tokens):
    return [word.text for word in prompt.words if set(word.indices) & set(tokens)]


def test_words_end_where_tokens_of_wan_do(t5):
    assert words_of(t5, JEEP) == ["一辆", "银色", "的", "吉普车", "在", "山路", "上", "行驶"]
    assert words_of(t5, "红色圆形，iPhone和(方形:1.2)") == ["红色", "圆形", "，", "iPhone", "和", "方形"]


def test_letters_that_are_several_tokens_stay_whole(t5):
    assert words_of(t5, "驫3只猫") == ["驫", "3", "只", "猫"]
    assert words_of(CLIP, "红色的猫 and 3只狗") == ["红", "色", "的", "猫", "and", "3", "只", "狗"]
    assert words_of(CLIP, "คนขี่ม้า") == ["ค", "น", "ขี่", "ม้", "า"]  # marks stay with their letter


@pytest.mark.parametrize("text", [JEEP, "3只猫iPhone手机，(狗:1.2)", "ｶﾞ猫㍿", "猫が草の上にいる。", "คนขี่ม้า"])
@pytest.mark.parametrize("name", ["t5", "clip"])
def test_every_token_belongs_to_one_word_in_order(text, name, t5):
    prompt = tokenize_prompt(t5 if name == "t5" else CLIP, text)
    owned = [index for word in prompt.words for index in word.indices]
    assert owned == list(range(owned[0], owned[0] + len(owned)))
    assert "".join(word.text for word in prompt.words) == text.replace("(", "").replace(":1.2)", "").replace(" ", "")


def test_a_swap_leaves_all_other_words(t5):
    edit = make_prompt_edit(tokenize_prompt(t5, JEEP), tokenize_prompt(t5, PORSCHE))
    kept = ["".join(word.text for word in row.target) for row in edit.rows if row.kind == "kept"]
    assert kept == ["一辆", "在", "山路", "上", "行驶"]
    assert named(edit.source, edit.source_mask_tokens) == ["银色", "吉普车"]
    assert named(edit.target, edit.target_mask_tokens) == ["保时捷"]
    assert list(map(str, changes_of(edit))) == ["银色吉普车 -> 保时捷"]


def test_the_same_letters_are_the_same_word_whatever_their_tokens_are():
    source, target = tokenize_prompt(CLIP, JEEP), tokenize_prompt(CLIP, PORSCHE)
    ids = [[prompt.ids[index] for index in prompt.words[1].indices] for prompt in (source, target)]
    assert ids[0] != ids[1]
    assert [row.kind for row in make_prompt_edit(source, target).rows][:2] == ["kept", "kept"]


def test_words_are_found_as_a_person_writes_them(t5):
    prompt = tokenize_prompt(t5, f"{JEEP}，红色圆形")
    assert [named(prompt, found) for found in find_words(prompt, "银色的吉普车，圆形")] == [
        ["银色"],
        ["的"],
        ["吉普车"],
        ["圆形"],
    ]
    assert [named(prompt, found) for found in find_words(prompt, "普车")] == [["吉普车"]]
    assert [factor for _, factor in read_factors(prompt, "吉普车：3，山路：2", "emphasis")] == [3, 2]
    with pytest.raises(Refusal, match="names '马', which is not in"):
        find_words(prompt, "马")


def test_a_prompt_without_some_words_is_written_without_spaces(t5):
    prompt = tokenize_prompt(t5, JEEP)
    assert text_without(prompt, tuple(token for found in find_words(prompt, "银色的") for token in found)) == (
        "一辆吉普车在山路上行驶"
    )
