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
        ("a house", "an old, crumbling house", ("property", "attribute", "house", "")),
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


@pytest.mark.parametrize(
    "source, target, expected",
    [
        (
            "a woman in a red coat, walking slowly on a street",
            "a woman in a yellow coat, walking slowly on a street",
            ("property", "attribute", "red coat", ""),
        ),
        (
            "a woman in a red dress, walking down the street",
            "a woman in a blue dress, walking down the street",
            ("property", "attribute", "red dress", ""),
        ),
        (
            "a man in a red shirt, looking at the camera",
            "a man in a blue shirt, looking at the camera",
            ("property", "attribute", "red shirt", ""),
        ),
        ("a red car, driving fast", "a blue car, driving fast", ("property", "attribute", "red car", "")),
        # what is a thing beside
        ("a red car, a sleeping dog", "a blue car, a sleeping dog", ("property", "replace", "red car", "sleeping dog")),
        ("smiling woman, red ball", "smiling woman, blue ball", ("property", "replace", "red ball", "smiling woman")),
        (
            "a red car and people walking",
            "a blue car and people walking",
            ("property", "replace", "red car", "people walking"),
        ),
        ("a cat on a rug, a red ball", "a cat on a rug, a blue ball", ("property", "replace", "red ball", "rug")),
    ],
)
def test_what_somebody_does_is_no_thing_beside(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("a person in a red boat", "a person in a blue boat", ("property", "attribute", "red boat", "")),
        ("a woman under an umbrella", "a woman under a red umbrella", ("property", "attribute", "umbrella", "")),
        ("a bird in a cage", "a bird in a golden cage", ("property", "attribute", "cage", "")),
        ("a cat behind a vase", "a cat behind a red vase", ("property", "attribute", "vase", "")),
        ("a man in a kilt", "a man in a red kilt", ("property", "attribute", "kilt", "")),
        ("a woman in a hijab", "a woman in a veil", ("thing", "replace", "hijab", "")),
        ("a dog", "a dog in a bandana", ("added", "background", "", "")),
        # what is a ground
        ("a swan in a pond", "a swan in a frozen pond", ("ground", "new background", "pond", "")),
        ("a man in a cave", "a man in a dark cave", ("ground", "new background", "cave", "")),
        ("a cow in a farmyard", "a cow in a snowy farmyard", ("ground", "new background", "farmyard", "")),
        ("a castle on a hill", "a tower on a hill", ("thing", "replace", "castle", "")),
        ("a boy in a car", "a boy in a boat", ("ground", "new background", "car", "")),
    ],
)
def test_the_same_thing_around_another_is_no_ground(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("1girl, hat, park", "1girl, park", ("removed", "remove", "hat")),
        ("1girl, park, dog", "1girl, park", ("removed", "remove", "dog")),
        ("red circle, blue star, grass", "red circle, grass", ("removed", "remove", "blue star")),
        ("1girl, park", "1girl, park, glasses", ("added", "background", "")),
        ("red circle, grass", "red circle, blue star, grass", ("added", "background", "")),
        # what is no thing, or may be a style
        ("a man, smiling", "a man", ("property", "attribute", "smiling")),
        ("a man, happy", "a man", ("property", "attribute", "man happy")),
        ("1girl, blue eyes", "1girl", ("property", "attribute", "blue eyes")),
        ("1girl, park", "1girl, red hair, park", ("property", "style", "")),
        ("a cat on a sofa", "a cat on a sofa, minecraft", ("property", "style", "")),
        ("1girl, forest", "1girl", ("ground", "new background", "forest")),
    ],
)
def test_things_come_and_go_in_lists(source, target, expected):
    assert reading(source, target)[:3] == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("wine on a table", "a bottle of wine on a table", ("property", "attribute", "wine", "")),
        ("a cake on a table", "a slice of cake on a table", ("property", "attribute", "cake", "")),
        ("a man dancing", "a lego figure of a man dancing", ("property", "attribute", "man dancing", "")),
        ("a car on a road", "a toy version of a car on a road", ("property", "attribute", "car", "")),
        # what is a picture
        ("a cat on a sofa", "a linocut of a cat on a sofa", ("look", "style", "", "")),
        ("a cat on a sofa", "a stained glass window of a cat on a sofa", ("look", "style", "", "")),
        ("a photo of a cat", "a statue of a dog", ("look thing", "background", "photo cat", "")),
        # another part or measure in the place of one
        ("a cup of coffee", "a glass of coffee", ("thing", "replace", "cup", "")),
        ("a bottle of wine", "a bottle of beer", ("thing", "replace", "wine", "")),
    ],
)
def test_parts_and_measures_are_no_looks(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("a jeep on a road", "a jeep turned into a tank on a road", ("thing", "replace", "jeep", "")),
        ("a cat in a park", "a cat becoming a tiger in a park", ("thing", "replace", "cat", "")),
        ("a car on a road", "a car covered in flowers on a road", ("property", "attribute", "car", "")),
        ("a bear on grass", "a bear wrapped in paper on grass", ("property", "attribute", "bear", "")),
        ("a car on a street", "a car made out of chocolate on a street", ("property", "attribute", "car", "")),
        ("a horse in a field", "a horse made entirely of glass in a field", ("property", "attribute", "horse", "")),
        ("a house on a hill", "a house built out of lego on a hill", ("property", "attribute", "house", "")),
        ("a dog on grass", "a dog, made of glass, on grass", ("property", "attribute", "dog", "")),
        ("a woman", "a woman as a zombie", ("property", "attribute", "woman", "")),
        ("a car on a road", "a car like a spaceship on a road", ("property", "attribute", "car", "")),
        ("a cat on a sofa", "a cat on a sofa painted by Monet", ("look look", "style", "", "")),
        ("a cat on a sofa", "a cat on a sofa rendered in Unreal Engine", ("look look", "style", "", "")),
        ("a woman wearing glasses", "a woman not wearing glasses", ("removed", "remove", "glasses", "")),
        # grounds and looks
        ("a car parked in a forest", "a car parked in a desert", ("ground", "new background", "forest", "")),
        ("a horse in a field", "a horse in a field covered in snow", ("ground", "new background", "field", "")),
        ("a man walking into a bar", "a man walking into a shop", ("ground", "new background", "bar", "")),
        ("a man on a street", "a man on a street as a watercolor painting", ("look", "style", "", "")),
        ("a boat", "a boat painted in red", ("property", "attribute", "boat", "")),
        ("a man with a hat", "a man wearing a hat", ("", "enhance", "", "")),
    ],
)
def test_what_a_thing_is_made_of_or_turns_into(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("a woman playing guitar", "a woman playing violin", ("thing", "replace", "guitar", "")),
        ("a man drinking coffee", "a man drinking tea", ("thing", "replace", "coffee", "")),
        ("a girl eating ice cream", "a girl eating a hamburger", ("thing", "replace", "ice cream", "")),
        ("the man is eating soup", "the man is eating pasta", ("thing", "replace", "soup", "")),
        ("1girl, playing guitar, park", "1girl, playing piano, park", ("thing", "replace", "guitar", "")),
        ("a man in black, playing guitar", "a man in black, playing piano", ("thing", "replace", "guitar", "")),
        ("a man wearing black, smiling", "a man wearing white, smiling", ("thing", "replace", "black", "")),
        ("a dog wearing a hat", "a dog", ("removed", "remove", "hat", "")),
        # no object of a verb
        ("a man sitting on a bench", "a man standing on a bench", ("pose", "shape", "man sitting", "")),
        ("a big barking dog", "a small barking dog", ("property", "attribute", "big barking dog", "")),
        ("two chasing dogs", "two chasing cats", ("thing", "replace", "two chasing dogs", "")),
        ("1girl, living room", "1girl, dining room", ("ground", "new background", "living room", "")),
        ("a man looking happy", "a man looking sad", ("pose", "shape", "man looking happy", "")),
        ("a bowl of boiling water", "a bowl of boiling milk", ("thing", "replace", "boiling water", "")),
    ],
)
def test_the_object_of_a_verb_is_a_thing(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("on the beach a dog runs", "a cat runs on the beach", ("thing", "replace", "dog runs", "")),
        ("in a forest, a red car", "a blue car in a forest", ("property", "attribute", "red car", "")),
        ("1girl, red hair, street", "red hair, 1girl, beach", ("ground", "new background", "street", "")),
        ("a dog on grass, sunny day", "sunny day, a cat on grass", ("thing", "replace", "dog", "")),
        ("a man and a dog on a beach", "a wolf and a man on a beach", ("thing", "replace", "dog", "man")),
        ("a dog on the grass", "a cat instead of a dog on the grass", ("thing", "replace", "dog", "")),
        ("a car on a road in the mountains", "in the mountains, a car on a road", ("", "enhance", "", "")),
        ("a man and a dog", "a dog and a man", ("", "enhance", "", "")),
        # what changes places
        (
            "a black cat on a red sofa",
            "a red cat on a black sofa",
            ("property property", "attribute", "black cat red sofa", ""),
        ),
        ("car, red, sky, blue", "car, blue, sky, red", ("property property", "attribute", "car red sky blue", "")),
        (
            "a cat on a sofa and a dog on a rug",
            "a dog on a sofa and a cat on a rug",
            ("thing thing", "shape", "cat dog", "sofa"),
        ),
        ("a dog chasing a cat", "a cat chasing a dog", ("thing thing", "shape", "dog chasing cat", "")),
        ("a cat and a dog on a sofa", "a cat on a sofa, a lamp", ("added removed", "background", "dog", "cat")),
    ],
)
def test_what_only_moves_in_the_text_stays(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("a horse in a field, static camera", "a horse in a field, handheld camera", ("look", "style")),
        ("a horse in a field. The camera pans left.", "a horse in a field. The camera zooms in.", ("look", "style")),
        ("a horse in a field", "a horse in a field. The camera slowly zooms in.", ("look", "style")),
        (
            "a horse. The lighting is soft and natural.",
            "a horse. The lighting is dramatic and red.",
            ("look look", "style"),
        ),
        ("a horse in a field, sunny", "a horse in a field, rainy", ("look", "style")),
        ("a horse in a field", "a horse in a field during a thunderstorm", ("look", "style")),
        ("a horse in a field", "a horse in a field, slow motion", ("look", "style")),
        ("a horse in a field", "a horse in a field, rain", ("look", "style")),
        # a camera as a thing, and what is seen
        ("a man holding a camera", "a man holding a phone", ("thing", "replace")),
        ("a camera on a table", "a phone on a table", ("thing", "replace")),
        ("a dog. The camera follows a dog.", "a dog. The camera follows a cat.", ("thing", "replace")),
        ("The video shows a man in a park.", "The video shows a robot in a park.", ("thing", "replace")),
        ("grass in the sun", "grass in the rain", ("ground", "new background")),
        ("a cloud of rain", "a cloud of dust", ("thing", "replace")),
    ],
)
def test_camera_light_and_weather_are_looks(source, target, expected):
    assert reading(source, target)[:2] == expected


def test_what_is_said_of_the_picture_is_no_thing_that_stays():
    scene = "The video shows a man. The lighting is soft and natural, static camera. The camera follows from the side."
    edit = prompt_edit(f"{scene} He sits in an office.", f"{scene} He sits in a castle.")
    assert [phrase_text(thing) for thing in things_that_stay(edit)] == ["man"]


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("1girl, red hair, street", "1girl, blue hair, street", ("property", "attribute", "red hair", "")),
        ("cat, red collar, grass", "cat, blue collar, grass", ("property", "attribute", "red collar", "")),
        ("1girl, red hair, street", "1boy, red hair, street", ("thing", "replace", "1girl", "")),
        ("car, red, street", "car, blue, street", ("property", "attribute", "car red", "")),
        (
            "The left cat is black and the right cat is orange.",
            "The left cat is white and the right cat is orange.",
            ("property", "replace", "left cat black", "right cat orange"),
        ),
        ("a 20 year old woman", "an 80 year old woman", ("property", "attribute", "20 year old woman", "")),
        # things beside, other kinds
        (
            "a man in jeans and a white t-shirt",
            "a man in jeans and a black t-shirt",
            ("property", "replace", "white t-shirt", "jeans"),
        ),
        ("a cat, a red hat", "a cat, a blue hat", ("property", "replace", "red hat", "cat")),
        ("a man in black", "a man in white", ("thing", "replace", "black", "")),
        ("there is red and a cat", "there is blue and a cat", ("thing", "replace", "red", "cat")),
        ("5 ducks in a lake", "2 ducks in a lake", ("pose", "shape", "5 ducks", "")),
    ],
)
def test_what_belongs_to_a_thing_is_not_beside_it(source, target, expected):
    assert reading(source, target) == expected


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("a dog on the beach", "a wolf on the beach <lora:wolf_v2:0.8>", ("thing", "replace", "dog", "")),
        ("<lora:a:1>, 1girl, street", "<lora:b:1>, 1girl, street", ("", "enhance", "", "")),
        ("<lora:a:1>, a red car", "<lora:a:1>, a blue car", ("property", "attribute", "red car", "")),
    ],
)
def test_files_are_no_things(source, target, expected):
    assert reading(source, target) == expected


ONLY_SMALL_WORDS = "Only small words such as 'on', or the order of words, differ"


@pytest.mark.parametrize(
    "source, target, is_told",
    [
        ("a bird above a house", "a bird below a house", True),
        ("a cat on the left of a dog", "a cat on the right of a dog", True),
        ("a man in front of a car", "a man behind a car", True),
        ("a cat and a dog", "a dog and a cat", True),
        ("a cat on grass", "a cat on grass", False),
        ("a cat on grass.", "a cat on grass", False),
        ("a man with a hat", "a man without a hat", False),
        ("a man with a beard", "the back of a man with a beard", False),
        ("a cat", "a cat, 8k", False),
    ],
)
def test_small_words_alone_edit_nothing(source, target, is_told):
    edit = prompt_edit(source, target)
    assert (ONLY_SMALL_WORDS in edit.summary()) == is_told
    assert not is_told or automatic_preset(edit, has_mask=False) == "enhance"


@pytest.mark.parametrize(
    "source, target, expected",
    [
        ("nothing on green grass", "a red circle on green grass", ("added", "background", "", "")),
        ("nobody on the beach", "a man on the beach", ("added", "background", "", "")),
        ("no one on a bench", "a man on a bench", ("added", "background", "", "")),
        ("a plate with nothing on it", "a plate with a cake on it", ("added", "background", "", "")),
        ("a man on a bench", "nobody on a bench", ("removed", "remove", "man", "")),
        ("a red circle on green grass", "nothing on green grass", ("removed", "remove", "red circle", "")),
    ],
)
def test_words_of_absence_are_no_things(source, target, expected):
    assert reading(source, target) == expected
