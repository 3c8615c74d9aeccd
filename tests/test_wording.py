"""Prompts that artists bring from other tools are recognised, and plain descriptions are left alone."""

import pytest

from fatezero_pack.fatezero.prompts.wording import described, wording_notes

CIRCLE = "a red circle on green grass"


@pytest.mark.parametrize(
    "source, target, expected",
    [
        (CIRCLE, "make the circle purple", "a purple circle on green grass"),
        (CIRCLE, "Please change the red circle to a blue square.", "a blue square on green grass"),
        (CIRCLE, "make the red circle orange", "an orange circle on green grass"),
        ("a silver jeep on a road", "turn the jeep into an orange tiger", "an orange tiger on a road"),
        ("a man by the sea", "replace the man with a robot", "a robot by the sea"),
        (CIRCLE, "add a hat to the circle", None),
        (CIRCLE, "remove the circle", None),
        (CIRCLE, "make the square purple", None),
    ],
)
def test_an_instruction_is_answered_with_a_description(source, target, expected):
    assert described(source, target) == expected
    answer = expected or "write 'source prompt' again with the words changed"
    note = f"'target prompt' is an instruction; describe the clip, not the change: {answer}"
    assert wording_notes(source, target) == [note]


def test_an_instruction_in_the_source_prompt():
    (note,) = wording_notes("make the circle red", CIRCLE)
    assert note == (
        "'source prompt' is an instruction; describe the clip, not the change: say what it shows before the edit"
    )


@pytest.mark.parametrize(
    "source, target, part",
    [
        ("a cat", "a cat, masterpiece, Best Quality, 8k", "quality tags that 'source prompt' lacks (masterpiece, best"),
        ("a cat, masterpiece", "a dog", "'source prompt' has quality tags that 'target prompt' lacks (masterpiece)"),
        ("a man in a hat", "a man without a hat", "what should not be there (without a hat)"),
        ("a cat", "a cat, no collar", "(no collar), and the model reads it as being there"),
        ("a cat", "a dog, ugly, worst quality", "(ugly, worst quality)"),
        ("a cat", "a dog BREAK on a road", "BREAK is no syntax of ComfyUI"),
        ("a cat", "a dog AND a road", "AND is no syntax of ComfyUI"),
        ("a cat", "a dog <lora:paint:0.8>", "<lora:paint:0.8> is no syntax of ComfyUI"),
        (
            "a cat",
            "a [red:blue:0.5] dog",
            "[red:blue:0.5] is no syntax of ComfyUI, which reads it as words; an edit has",
        ),
        ("a cat", "a [grey] dog", "[grey] is no syntax of ComfyUI, which reads it as words; write weights as"),
        ("a cat", "a __color/dark__ dog", "__color/dark__ is no syntax of ComfyUI"),
        ("a cat", "a {red|blue} dog", "page chooses among the words in {red|blue}, so that all of them are read here"),
        ("a {black} cat", "a dog", "among the words in {black}, so"),
        ("a {big|small} cat", "a {big|small} dog on {grass|{snow|sand}}", "in {big|small}, {snow|sand}, so that all"),
        ("a cat", "一只狗在草地上", "'target prompt' is not in Latin letters"),
        ("a cat", "a dog // my favourite", "leaves out comments such as // my favourite, so that they are read here"),
        ("a cat /* not\nthis */ on grass", "a dog on grass", "comments such as /* not\nthis */, so"),
        ("a cat", "un chien sur l'herbe", "'target prompt' seems not to be English"),
        ("ein Hund auf dem Gras", "a dog", "'source prompt' seems not to be English"),
        ("a dog", "un gato en una playa", "'target prompt' seems not to be English"),
        ("a dog", "um gato na praia", "'target prompt' seems not to be English"),
    ],
)
def test_what_another_tool_would_read_is_told(source, target, part):
    (note,) = wording_notes(source, target)
    assert part in note


@pytest.mark.parametrize(
    "source, target",
    [
        (CIRCLE, "a blue circle on green grass"),
        ("a man paints the wall", "a robot paints the wall"),
        ("make-up on a face", "gold make-up on a face"),
        ("a can of paint", "paint splashes on a can"),
        ("a cat, masterpiece", "a dog, masterpiece"),
        ("a dog, no collar", "a cat, no collar"),
        ("a café in Zürich", "a café in Kraków, watercolor"),
        ("bread and butter", "(bread:1.2) and honey"),
        ("a notebook on a table", "a knotted rope on a table"),
        ("a face like :{", r"a sign that says \{yes\}"),
        ("a sign https://example.com", "a cat and/or a dog"),
        ("Playa de la Concha", "a chair by Mies van der Rohe, Le Mans"),
        ("a snake_case_sign", "a sign that says __ on_a_line"),
    ],
)
def test_plain_descriptions_are_left_alone(source, target):
    assert wording_notes(source, target) == []


def test_an_encoder_of_many_languages_reads_them_all():
    assert wording_notes("一只猫", "un chien sur l'herbe", any_language=True) == []
