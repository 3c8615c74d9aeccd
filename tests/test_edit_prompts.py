"""Prompt edits from what a person writes, and the Edit Prompts node on a small CLIP of ComfyUI's own classes."""

import string
from contextlib import suppress

import comfy.sampler_helpers
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import pytest
import torch

from costs import lines_run, seconds
from fatezero_pack.fatezero.prompts.prompt_edit import PromptEdit, make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.word_fields import MEANING
from fatezero_pack.nodes.edit_prompts import EditPrompts

SD1 = comfy.sd1_clip.SD1Tokenizer()
SOURCE = "a silver jeep driving down a curvy road, a silver sky"
TARGET = "a red porsche driving down a curvy road, a red sky"
NODE = {"mode": "auto", "emphasis": "", "mask_words": "", "target_mask_words": "", "windows": ""}


def edit_of(source, target, **words):
    return make_prompt_edit(tokenize_prompt(SD1, source), tokenize_prompt(SD1, target), **words)


@pytest.fixture(scope="module")
def clip():
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    config = {"num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    cpu = torch.device("cpu")
    clip = comfy.sd.CLIP(
        target,
        model_options={
            "clip_l_model_config": config,
            "dtype": torch.float32,
            "load_device": cpu,
            "offload_device": cpu,
        },
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in clip.cond_stage_model.parameters():
        parameter.data.normal_(0, 0.05, generator=generator)
    return clip


def test_an_edit_without_wishes():
    edit = edit_of(SOURCE, TARGET)
    assert isinstance(edit, PromptEdit) and edit.version == 1 and edit.mode == "swap"
    assert (edit.source.text, edit.target.text) == (SOURCE, TARGET)
    assert edit.emphasis.dtype == torch.float32 and torch.equal(edit.emphasis, torch.ones(77))
    assert edit.windows == ()
    assert edit.source_mask_tokens == edit.target_mask_tokens == (2, 3, 11)


def test_emphasis():
    emphasis = edit_of(SOURCE, TARGET, emphasis="red:5, Porsche : -2.5\n curvy road:0;").emphasis
    assert {index: value for index, value in enumerate(emphasis.tolist()) if value != 1} == {
        2: 5,
        11: 5,
        3: -2.5,
        7: 0,
        8: 0,
    }
    emphasis = edit_of("a man rides", "a Spider-Man rides", emphasis="spider-man:3").emphasis
    assert emphasis[:7].tolist() == [1, 1, 3, 3, 3, 1, 1]


def test_windows():
    assert edit_of(SOURCE, TARGET, windows="porsche:0.8, red:.2-0.9, sky:0, road:0.5 – 1").windows == (
        ((3,), 0.0, 0.8),
        ((2, 11), 0.2, 0.9),
        ((12,), 0.0, 0.0),
        ((8,), 0.5, 1.0),
    )


def test_masks():
    edit = edit_of(SOURCE, TARGET, mask_words="jeep", target_mask_words="red sky, porsche")
    assert edit.source_mask_tokens == (3,) and edit.target_mask_tokens == (3, 11, 12)
    assert edit_of("a man", "an old Spider-Man").target_mask_tokens == (2, 3, 4, 5)
    assert edit_of("a jeep on the road", "the porsche under a road").source_mask_tokens == (2,)
    assert edit_of("a jeep,", "watercolor of a jeep").source_mask_tokens == ()


JEEP = "a jeep on a road"


@pytest.mark.parametrize(
    "source, target, masked",
    [
        (JEEP, "a silver jeep on a road", "jeep"),
        (JEEP, "a big silver jeep on a new road", "jeep road"),
        (JEEP, "a pencil sketch of a jeep on a road", ""),
        (JEEP, "a jeep on a road, high quality", ""),
        (JEEP, "a silver bus on a road", "jeep"),
        # also where other words change
        ("a swan with a red beak", "a crystal swan with a yellow beak", "swan red"),
        ("a cat and a red ball", "a black cat and a blue ball", "cat red"),
        ("a black swan with a red beak", "a crystal swan with a red beak", "black"),  # its colour shows where it is
        # by its noun, and no verb
        ("a sports car", "a red sports car", "car"),
        ("a woman's face", "an elf woman's face", "face"),
        ("a cow walking in a field", "a cow with a crown walking in a field", "cow"),
        ("a cat sitting on a chair", "a black cat running on a chair", "cat sitting"),
        # by what it is made of
        ("a swan on a lake", "a swan made of paper on a lake", "swan"),
        ("a car made of metal", "a car made of chocolate", "car metal"),
        ("a balloon over hills", "a balloon shaped like a cat over hills", "balloon"),
        # where it goes, and not where it comes
        ("a man with a red hat", "a man without a red hat", "red hat"),
        ("a man with glasses talking", "a man with no glasses talking", "glasses"),
        ("a man without a red hat", "a man with a blue hat", ""),
    ],
)
def test_a_thing_that_is_described_anew_is_masked(source, target, masked):
    """Nothing of the source changed in the text, but the thing does in the picture."""
    edit = edit_of(source, target)
    words = [word.text for word in edit.source.words if word.indices[0] in edit.source_mask_tokens]
    assert " ".join(words) == masked


def test_a_word_that_comes_from_behind_without_is_masked_in_the_target():
    edit = edit_of("a man without a red hat", "a man with a red hat")
    assert edit.target_mask_tokens == tuple(index for word in edit.target.words[-2:] for index in word.indices)
    assert edit_of("a red hat", "no red hat").target_mask_tokens == ()


@pytest.mark.parametrize(
    "words, sentence",
    [
        ({"mode": "replace"}, "'mode' is 'replace'; choose one of auto, swap, refine."),
        (
            {"emphasis": "bus:2"},
            "'emphasis' names 'bus', which is not in \"a red porsche driving down a curvy road, a red "
            'sky"; choose from: a, red, porsche, driving, down, curvy, road, sky.',
        ),
        ({"emphasis": "silver:2"}, "'emphasis' names 'silver', which is not in"),
        (
            {"emphasis": "red"},
            "'emphasis' has 'red' where a word and its factor are expected; write it like crystal:5.",
        ),
        (
            {"emphasis": "red:"},
            "'emphasis' has 'red:' where a word and its factor are expected; write it like crystal:5.",
        ),
        ({"emphasis": "red:much"}, "'emphasis' has 'red:much' where"),
        ({"emphasis": "red:20.5"}, "'emphasis' has 'red:20.5'; choose a factor from -20 to 20."),
        ({"emphasis": "red:nan"}, "'emphasis' has 'red:nan'; choose a factor from -20 to 20."),
        ({"emphasis": ":5"}, "'emphasis' has ':5', which names no word; give each word one value."),
        ({"emphasis": "red:5, red sky:2"}, "'emphasis' has 'red sky:2', which names a word that has a value already"),
        ({"windows": "red:1.1"}, "'windows' has 'red:1.1'; choose a start below the end, both from 0 to 1."),
        ({"windows": "red:0.5-0.5"}, "'windows' has 'red:0.5-0.5'; choose a start below the end"),
        ({"windows": "red:0.9-0.2"}, "'windows' has 'red:0.9-0.2'; choose a start below the end"),
        ({"windows": "red:-0.2"}, "'windows' has 'red:-0.2' where a word and its share of the steps are expected"),
        ({"windows": "red:half"}, "'windows' has 'red:half' where"),
        ({"windows": "jeep:0.5"}, "'windows' names 'jeep', which is not in"),
        (
            {"windows": "sky:0.5, red sky:0.2"},
            "'windows' has 'red sky:0.2', which names a word that has a value already",
        ),
        ({"mask_words": "porsche"}, "'mask words' names 'porsche', which is not in \"a silver jeep"),
        ({"mask_words": "!"}, "'mask words' names '!', which is not in"),
        ({"target_mask_words": "jeep"}, "'target mask words' names 'jeep', which is not in \"a red porsche"),
    ],
)
def test_refused_wishes(words, sentence):
    with pytest.raises(ValueError) as refusal:
        edit_of(SOURCE, TARGET, **words)
    message = str(refusal.value)
    assert message.startswith(sentence)
    assert message.endswith(".") and "\n" not in message


def test_the_table_of_a_swap():
    road = "driving down a curvy road in the woods"
    edit = edit_of(
        f"a silver jeep {road},", f"an old photo: a red porsche {road}", emphasis="red:5", windows="porsche:0.2-0.9"
    )
    assert str(edit).splitlines() == [
        "mode: swap",
        "+ an old photo: (new)",
        "= a",
        "silver -> red (swapped, x5)",
        "jeep -> porsche (swapped, steps 0.2-0.9)",
        "= driving down a curvy road in the woods",
        "- , (removed)",
        "emphasis acts on: attention of the word",
        "mask: silver, jeep",
        "target mask: old, photo, red, porsche",
    ]


def test_the_table_of_a_refinement():
    edit = edit_of("a very silver jeep", "watercolor of a jeep", emphasis="watercolor:10, jeep:2", windows="jeep:0")
    assert str(edit).splitlines() == [
        "mode: refine",
        "+ watercolor (new, x10)",
        "+ of (new)",
        "= a",
        "- very silver (removed)",
        "= jeep (x2, no steps)",
        "emphasis acts on: attention of the word",
        "mask: very, silver",
        "target mask: watercolor",
        "! The emphasis of 'jeep' acts only in its window: no steps.",
    ]


def test_long_prompts_make_short_tables():
    lines = str(edit_of("jeep " + "road " * 60, "jeep " + "road " * 60 + "sky " * 60)).splitlines()
    assert "= jeep road road road … road road road road" in lines
    assert "+ sky sky sky sky … sky sky sky sky (new)" in lines
    assert max(map(len, lines)) < 110


@pytest.mark.parametrize(
    "source, target, note",
    [
        ("a jeep", "a jeep", "The prompts are the same, so the edit gives the source back."),
        ("a jeep,", "a jeep", "Only punctuation differs, so the edit gives nearly the source back."),
        ("silver jeep", "red porsche", "The prompts have no word in common, so little of the source will be kept."),
        (
            "a jeep",
            "a jeep on snow",
            "No source word is masked; to edit only a part, name its source words in 'mask words' or draw a mask.",
        ),
        (
            "a spiderman",
            "a Spider-Man",
            "'spiderman' and 'Spider-Man' differ only in their marks, yet count as different.",
        ),
        (
            "a jeep",
            "a " * 80 + "jeep",
            "The prompts take 1 and 2 blocks of 77 tokens; prompts of equal blocks edit more faithfully.",
        ),
    ],
)
def test_notes(source, target, note):
    assert f"! {note}" in str(edit_of(source, target)).splitlines()


@pytest.mark.parametrize("target", ["sketch of a jeep", "a jeep and a red dog"])
def test_what_has_no_place_in_the_clip_asks_for_no_mask_words(target):
    """A style is everywhere, and where to add a thing the clip does not say."""
    assert "No source word is masked" not in str(edit_of("a jeep", target))


def test_prompts_that_share_an_article_alone_have_no_word_in_common():
    told = "! The prompts have no word in common, so little of the source will be kept."
    assert told in str(edit_of("a blue star on white snow", "a dragon over a burning city")).splitlines()
    assert told not in str(edit_of("a blue star on white snow", "a dragon on snow")).splitlines()


@pytest.mark.parametrize("emphasis, is_told", [("", True), ("red:1", True), ("red:3", False)])
def test_a_way_for_emphasis_to_act_is_told_where_there_is_none(emphasis, is_told):
    table = edit_of("a red jeep", "a red car", emphasis=emphasis, emphasis_acts_on=MEANING).summary()
    assert ("! 'emphasis acts on' has no effect" in table) == is_told
    assert "'emphasis acts on'" not in edit_of("a red jeep", "a red car", emphasis=emphasis).summary()


def test_an_ordinary_edit_has_no_notes():
    assert "!" not in str(edit_of(SOURCE, TARGET, emphasis="red:3"))
    assert "!" not in str(edit_of(SOURCE, SOURCE, emphasis="jeep:-2"))


def test_the_node(clip):
    output = EditPrompts.execute(clip=clip, source_prompt=SOURCE, target_prompt=TARGET, **NODE)
    source, target, edit, table = output.args
    for conditioning, prompt, tokens in ((source, SOURCE, edit.source), (target, TARGET, edit.target)):
        ((embedding, options),) = conditioning
        assert torch.equal(embedding, clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0])
        assert options["fatezero_tokens"] == tokens and tokens.text == prompt and tokens.length == embedding.shape[1]
        assert comfy.sampler_helpers.convert_cond(conditioning)[0]["fatezero_tokens"] is tokens
    assert table == str(edit) and "jeep -> porsche (swapped)" in table
    assert output.ui.as_dict() == {"text": (table,)}


def test_the_node_with_a_long_and_a_weighted_prompt(clip):
    long = "a silver jeep, " * 30
    output = EditPrompts.execute(clip=clip, source_prompt=long, target_prompt="a (red:1.3) jeep", **NODE)
    source, target, edit, _ = output.args
    assert source[0][0].shape[1] == edit.source.length == 154 and target[0][0].shape[1] == edit.target.length == 77
    (plain,) = EditPrompts.execute(clip=clip, source_prompt=long, target_prompt="a red jeep", **NODE).args[1]
    assert plain[1]["fatezero_tokens"].ids == edit.target.ids and not torch.equal(plain[0], target[0][0])


def test_the_node_refuses(clip):
    def run(**inputs):
        EditPrompts.execute(**{"clip": clip, "source_prompt": SOURCE, "target_prompt": TARGET, **NODE, **inputs})

    with pytest.raises(ValueError, match="^Edit Prompts: 'source prompt' is empty; describe the picture"):
        run(source_prompt=" ")
    with pytest.raises(ValueError, match="^Edit Prompts: 'target prompt' is empty; describe the picture"):
        run(target_prompt="")
    with pytest.raises(ValueError, match="^Edit Prompts: 'clip' is empty; connect"):
        run(clip=None)
    with pytest.raises(ValueError, match="^Edit Prompts: 'emphasis' names 'jeep', which is not in"):
        run(emphasis="jeep:2")

    class RepeatingClip(type(clip)):
        """A CLIP of a pack that changes what is encoded."""

        def __init__(self):
            self.__dict__.update(clip.__dict__)

        def encode_from_tokens_scheduled(self, tokens, **options):
            return [
                [torch.cat([embedding, embedding], dim=1), extra]
                for embedding, extra in clip.encode_from_tokens_scheduled(tokens, **options)
            ]

    with pytest.raises(ValueError, match="^Edit Prompts: 'clip' encodes 77 tokens as 154; connect"):
        run(clip=RepeatingClip())


def test_every_socket_says_what_it_is():
    described = EditPrompts.define_schema()
    assert described.node_id == "FateZeroEditPrompts" and described.description and described.is_output_node
    assert all(socket.tooltip for socket in [*described.inputs, *described.outputs])


# What other keyboards write, and what is left out.


@pytest.mark.parametrize(
    "text, factors",
    [
        ("porsche：3", {"porsche": 3}),
        ("porsche：3，road：２．５", {"porsche": 3, "road": 2.5}),
        ("porsche：−3；road：－2、sky:+4", {"porsche": -3, "road": -2, "sky": 4}),
        ("porsche:1,5", {"porsche": 1.5}),
        ("porsche:1,5, road:0,25;sky:2", {"porsche": 1.5, "road": 0.25, "sky": 2}),
        ("porsche:3 road:2", {"porsche": 3, "road": 2}),
        ("porsche: 3 curvy road:-2  sky :.5", {"porsche": 3, "curvy": -2, "road": -2, "sky": 0.5}),
    ],
)
def test_factors_of_other_keyboards(text, factors):
    edit = edit_of(SOURCE, TARGET, emphasis=text)
    found = {word.text: edit.emphasis[word.indices[0]].item() for word in edit.target.words}
    assert {word: factor for word, factor in found.items() if factor != 1} == factors


@pytest.mark.parametrize("text", ["porsche:0.2-0.8", "porsche:0.2～0.8", "porsche：０．２〜0.8", "porsche:0,2-0,8"])
def test_windows_of_other_keyboards(text):
    assert edit_of(SOURCE, TARGET, windows=text + ",road:0,5,sky:0.5").windows == (
        ((3,), 0.2, 0.8),
        ((8,), 0.0, 0.5),
        ((12,), 0.0, 0.5),
    )


def test_a_colon_within_the_words_is_no_missing_comma():
    edit = edit_of("a 16:9 photo", "a 16:9 3 photo", emphasis="16:9 photo:2", windows="9:0.5")
    assert [edit.emphasis[word.indices[0]].item() for word in edit.target.words] == [1, 2, 1, 2, 1, 2]
    assert [word.text for word in edit.target.words if edit.own_window(word.indices[0])] == ["9"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        ({"emphasis": "porsche=3"}, "'emphasis' has 'porsche=3' with '=' (equals sign) where a word and its factor"),
        ({"emphasis": "porsche∶3"}, "'emphasis' has 'porsche∶3' with '∶' (ratio) where a word and its factor"),
        ({"emphasis": "porsche:3×"}, "'emphasis' has 'porsche:3×' with '×' (multiplication sign) where a word"),
        ({"windows": "porsche:0.2→0.8"}, "'windows' has 'porsche:0.2→0.8' with '→' (rightwards arrow) where a word"),
        ({"emphasis": "porsche:1, 5"}, "'emphasis' has '5' where a word and its factor are expected"),
    ],
)
def test_a_wrong_character_is_shown(words, sentence):
    with pytest.raises(ValueError) as refusal:
        edit_of(SOURCE, TARGET, **words)
    assert str(refusal.value).startswith(sentence)


def test_weights_that_changed_are_told():
    lines = str(edit_of("a (red:1.6) jeep on (a road:1.1)", "a (red:0.2) jeep on (a road:1.1)")).splitlines()
    assert "= red (weight 1.6 to 0.2)" in lines
    assert (
        "! Only weights differ: red (1.6 to 0.2). They change little here; to strengthen or weaken a word, write it in "
        "'emphasis'." in lines
    )
    assert not any("are the same" in line for line in lines)
    swapped = str(edit_of("a (red:1.6) jeep", "a red porsche"))
    assert "= red (weight 1.6 to 1)" in swapped and "Only weights" not in swapped
    assert "weight" not in str(edit_of("a (red:1.6) jeep", "a (red:1.6) jeep"))


@pytest.mark.parametrize("weight", ["nan", "inf"])
def test_weights_that_are_no_numbers_are_refused(weight):
    with pytest.raises(ValueError, match="^'prompt' has a weight that is not a finite number; write"):
        edit_of(f"a (red:{weight}) jeep", "a jeep")


def test_endless_parentheses_are_refused():
    with pytest.raises(ValueError, match="^'prompt' has too many parentheses inside each other; remove"):
        edit_of("(" * 3000 + "a jeep" + ")" * 3000, "a jeep")


def long_edit(words):
    """Every word of a long prompt swapped, with an emphasis and a window of its own."""
    names = [f"{first}{second}" for first in string.ascii_lowercase for second in string.ascii_lowercase][:words]
    target = tokenize_prompt(SD1, " ".join(f"{name}x" for name in names))
    source = tokenize_prompt(SD1, " ".join(names))
    return lambda: make_prompt_edit(
        source,
        target,
        emphasis=", ".join(f"{name}x:2" for name in names),
        windows=" ".join(f"{name}x:0.5" for name in names),
    ).summary()


def test_long_prompts_cost_in_proportion():
    shorter, longer = long_edit(150), long_edit(300)
    assert lines_run(longer) < 2.5 * lines_run(shorter)


@pytest.mark.parametrize("form", ["porsche:{}", "porsche:{}x", "{}", "porsche:0.2-{}", "porsche:" + "{} " * 3])
@pytest.mark.parametrize("letter", ["9", "-", ",", ":", " ", "a"])
def test_long_fields_cost_in_proportion(form, letter):
    """In a pattern that goes back on itself eight times the text costs 64 times as much."""

    def read(count):
        with suppress(ValueError):
            edit_of_target(form.format(*[letter * count] * 3))

    target = tokenize_prompt(SD1, TARGET)

    def edit_of_target(windows):
        make_prompt_edit(target, target, windows=windows)

    read(1)
    assert seconds(lambda: read(160_000)) < 30 * seconds(lambda: read(20_000))


def test_half_a_character_is_refused():
    """What a program that cuts texts leaves of an emoji."""
    with pytest.raises(ValueError, match=r"^'source prompt' has the character \\ud83d, which is half of one; "):
        tokenize_prompt(SD1, "a red \ud83d circle", "source prompt")
