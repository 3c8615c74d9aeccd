"""What kind of edit two prompts ask for, and the preset that *automatic* takes for it."""

import pytest
import torch

from benchmarks.quality import methods
from benchmarks.quality.cases import FOURTH_LIST, HARD_LIST, LIST, THIRD_LIST, load_cases
from edit_cases import clip_latent, conditioning, inverted, negative, prompt_edit, small_model
from fatezero_pack.fatezero.edit.automatic import AUTOMATIC, automatic_preset, changes_in_words, lacks_place
from fatezero_pack.fatezero.edit.edit_check import kept_things
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.prompts import phrase_pairs
from fatezero_pack.fatezero.prompts.edit_kind import changes_of, things_that_stay
from fatezero_pack.fatezero.prompts.phrases import phrase_text
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.shared.blend_inputs import taken_preset
from fatezero_pack.nodes.shared.made_by import read_mark

EDIT = prompt_edit()
JEEP = "a silver jeep driving down a curvy road in the countryside"
# of FateZero, Video-P2P and their like, as a person would write them
KINDS = {
    (JEEP, f"watercolor painting of {JEEP}"): ["look"],
    (JEEP, "a Porsche car driving down a curvy road in the countryside"): ["thing"],
    (JEEP, "a rusty jeep driving down a curvy road in the countryside"): ["property"],
    (JEEP, "a silver jeep driving down a snowy road in the countryside"): ["ground"],
    (JEEP, "a silver jeep driving down a curvy road in the desert"): ["ground"],
    (JEEP, f"{JEEP}, Makoto Shinkai style"): ["look"],
    (JEEP, f"{JEEP}, best quality, 8k"): [],
    (JEEP, f"masterpiece, best quality, a red {JEEP[9:]}"): ["property"],
    (
        "a black swan with a red beak swimming in a river near a wall and bushes",
        "a Swarovski crystal swan with a red beak swimming in a river near a wall and bushes",
    ): ["property"],
    ("a black swan with a red beak swimming in a river", "a white duck with a yellow beak swimming in a river"): [
        "thing",
        "property",
    ],
    (
        "a black swan with a red beak swimming in a river",
        "cartoon photo of a black swan with a red beak swimming in a river",
    ): ["look"],
    ("a rabbit is eating a watermelon on the table", "a cat is eating a watermelon on the table"): ["thing"],
    ("a rabbit is eating a watermelon on the table", "a rabbit is eating an orange on the table"): ["thing"],
    ("a squirrel is eating a carrot", "a rabbit is eating an eggplant"): ["thing", "thing"],
    (
        "a man is surfing inside the barrel of a wave",
        "a Ukiyo-e style painting of a man is surfing inside the barrel of a wave",
    ): ["look"],
    ("a dog walks on the grass", "a tiger walks on the grass"): ["thing"],
    ("a dog walks on the grass", "a robotic dog walks on the grass"): ["property"],
    ("a man sitting on a bench", "a man standing on a bench"): ["pose"],
    ("a cat", "a cat with a red hat"): ["added"],
    ("a cat and a dog on a sofa", "a cat on a sofa"): ["removed"],
    ("a cat", "a cat on the beach"): ["ground"],
    ("a woman with a wall behind her", "a woman with a forest behind her"): ["ground"],
    ("a woman with a wall behind her", "a tall woman with a wall behind her"): ["property"],
    ("a woman with a wall behind her back", "a woman with a sword behind her back"): ["thing"],
    ("a dog with a chain around it", "a dog with a rope around it"): ["thing"],
    # what is behind may be a thing of its own: its name decides
    ("a woman with a boy behind her", "a woman with a girl behind her"): ["thing"],
    ("a woman with a cape behind her", "a woman with wings behind her"): ["thing"],
    ("a dog in the background", "a cat in the background"): ["thing"],
    ("a dog, hills in the background", "a dog, mountains in the background"): ["ground"],
    ("a dog in the garden", "a cat in the garden"): ["thing"],
    ("a cat in the style of Van Gogh", "a cat in the style of Monet"): ["look"],
    ("a man", "a man, smiling"): ["property"],
    ("a dog", "a dog wearing a hat"): ["added"],
    ("a dog wearing sunglasses", "a dog"): ["removed"],
    ("a bird on a branch", "a bird made of glass on a branch"): ["property"],
    ("a car drives down a road", "a boat drives down a river"): ["thing", "ground"],
    ("a man walks", "a man walks on the side of a road"): ["ground"],
    ("red cars", "blue cars"): ["property"],
    ("a cup of tea", "a cup of coffee"): ["thing"],
    ("two white cats", "two black cats"): ["property"],
    ("a red bus", "a green bus"): ["property"],
    ("a red circle on green grass", "a blue star on white snow"): ["thing", "ground"],
    ("a red circle and a blue star on grass", "a blue star on grass"): ["removed"],
    ("a red circle and a blue star on grass", "a red circle on grass"): ["removed"],
    ("a (silver:1.2) jeep on a road", "a (silver:0.5) jeep on a road"): [],
    ("赤い円と草", "青い円と草"): ["property"],
    # light, time of day and camera
    ("a cat on grass, cinematic lighting", "a cat on grass, neon lighting"): ["look"],
    ("a cat on grass, sunny day", "a cat on grass, rainy day"): ["look"],
    ("a cat on grass", "a cat on grass at night"): ["look"],
    ("a cat in daylight", "a cat in moonlight"): ["look"],
    ("a cat on grass", "a cat on grass, shot on 35mm film, shallow depth of field"): ["look"] * 4,
    ("a cat on grass", "a cat on grass, by Greg Rutkowski"): ["look"],
    ("a red circle", "a blue circle, trending on artstation, 8k"): ["property"],
    ("a red light on a pole", "a green light on a pole"): ["property"],
    ("a cat and a painting", "a cat and a mirror"): ["thing"],
    ("a man holding a photo", "a man holding a book"): ["thing"],
    # a look and a thing at once
    (JEEP, f"a pencil sketch of a red {JEEP[9:]}"): ["look", "property"],
    ("a blue cross on green grass", "a mosaic of a yellow cross on green grass"): ["look", "property"],
    ("a man walking on the beach", "a watercolor painting of a woman walking on the beach"): ["look", "thing"],
    ("a man on the beach", "an oil painting of a woman on the beach"): ["look", "thing"],
    ("a photo of a cat on grass", "a watercolor of a dog on grass"): ["look", "thing"],
    ("a cat on grass", "a cartoon of a cat on snow"): ["look", "ground"],
    ("a cat", "a cartoon"): ["look"],
    # what is worn is no ground
    ("a woman in a red dress", "a woman in a blue dress"): ["property"],
    ("a woman in a red dress on the beach", "a woman in a red kimono on the beach"): ["thing"],
    ("a man in a suit walking", "a man in a spacesuit walking"): ["thing"],
    ("a man in black", "a man in white"): ["thing"],
    ("a woman", "a woman in a red hat"): ["added"],
    ("a woman in a red dress on the beach", "a woman in a red dress in the snow"): ["ground"],
    ("a cat sitting on a sofa", "a cat wearing sunglasses sitting on a sofa"): ["added"],
    ("a man playing guitar", "Iron Man playing guitar"): ["property"],
    ("a girl in a yellow raincoat", "a girl in a red raincoat"): ["property"],
    ("a man sitting in a chair", "a man sitting in a throne"): ["thing"],
    ("a knight on a horse", "a knight on a dragon"): ["thing"],
    ("a city", "a city on fire"): ["property"],
    ("the man is running", "the man is dancing"): ["pose"],
    ("the sky is blue", "the sky is red"): ["property"],
    ("there are cats on a bed", "there are dogs on a bed"): ["thing"],
    ("a street with cars", "a street"): ["removed"],
    ("a woman", "a woman with sunglasses"): ["added"],
    ("a girl with brown hair", "a girl"): ["property"],
    ("close up of a tiger", "close up of a lion"): ["thing"],
    ("a close up of a tiger", "an extreme close up of a tiger"): ["look"],
    # grounds that no preposition of place names
    ("red circle, green grass", "red circle, white snow"): ["ground"],
    ("green grass with a red circle", "white snow with a red circle"): ["ground"],
    ("1girl, blue eyes, city background", "1girl, blue eyes, beach background"): ["ground"],
    ("a cat in front of a brick wall", "a cat in front of a fence"): ["ground"],
    ("a cat on the other side of a road", "a cat on the other side of a river"): ["ground"],
    ("a cat and a white wall", "a cat and a blue wall"): ["property"],
    ("a glass of water", "a glass of sand"): ["thing"],
    ("a cat", "a cat, forest"): ["ground"],
    ("a cat by a lake", "a cat by a tree"): ["thing"],
    # small words are in no phrase
    ("a man on a street", "a man on a street as a watercolor painting"): ["look"],
    ("two dogs that sit on a sofa", "two lions that sit on a sofa"): ["thing"],
    ("a man who is surfing", "a robot who is surfing"): ["thing"],
    ("a cat on a sofa", "a cat on a sofa next to a plant"): ["added"],
    ("a sofa", "a sofa with a cat on it"): ["added"],
    # plural verbs
    ("dogs run on a beach", "wolves run on a beach"): ["thing"],
    ("people walk quickly", "zombies walk quickly"): ["thing"],
    ("children play", "robots play"): ["thing"],
    ("blue sports car", "red sports car"): ["property"],
    ("a Christmas tree", "a palm tree"): ["property"],
    ("a girl's hat", "a boy's hat"): ["property"],
    ("an old man walks slowly", "an old woman walks slowly"): ["thing"],
    ("a paper butterfly", "a glass butterfly"): ["property"],
    # material behind the noun
    ("a car made of metal", "a car made of chocolate"): ["property"],
    ("a statue made from bronze", "a statue made from ice"): ["property"],
    ("a balloon over hills", "a balloon shaped like a cat over hills"): ["property"],
    ("a cat", "a cat dressed as a pirate"): ["property"],
    # a part of the change before
    ("a ship in the ocean", "a ship on a field of lava"): ["ground"],
    ("a cat on a field of grass", "a cat on a field of lava"): ["ground"],
    ("a man with a cup of coffee", "a man with a glass of wine"): ["thing"],
    ("a glass of wine on a table", "a cup on a table"): ["thing"],
    ("a group of people", "a large group of robots"): ["property", "thing"],
    ("a photo of a cat", "a statue of a dog"): ["look", "thing"],
    ("masterpiece of a cat", "a masterpiece, statue of a dog"): ["look", "thing"],
    # what a new thing brings
    ("a rabbit on grass", "a cat with sunglasses on grass"): ["thing"],
    ("a photo of Emma Watson", "a photo of Hermione with a wand"): ["thing"],
    ("a man is skiing", "Wonder Woman, wearing a cowboy hat, is skiing"): ["thing"],
    ("a rabbit", "a cat in a hat"): ["thing"],
    ("a rabbit", "a white rabbit with a hat"): ["property", "added"],
    # what is there, and what is not
    ("a horse with a rider", "a horse without a rider"): ["removed"],
    ("a man with glasses talking", "a man with no glasses talking"): ["removed"],
    ("a man without a hat", "a man with a hat"): ["added"],
    ("a tower with no clouds in the sky", "a tower with clouds in the sky"): ["added"],
    ("a dog, no people", "a dog, no cars"): [],
    ("a cat in the spring", "a cat in the fall"): ["look"],
    ("um gato preto, no jardim", "um gato preto, no deserto"): ["thing"],
    ("a wall", "a wall with a no smoking sign"): ["added"],
    ("a cat without a hat", "a dog without a hat"): ["thing"],
    # without an article
    ("a beach with umbrellas and chairs", "a beach with umbrellas"): ["removed"],
    ("umbrellas and chairs", "chairs"): ["removed"],
    ("a woman with a handbag and sunglasses", "a woman with a handbag"): ["removed"],
    ("a boy, wearing a cap and carrying a bag, walks", "a boy, wearing a cap, walks"): ["removed"],
    ("a girl in a garden", "a girl in a garden, (wearing glasses:1.2)"): ["added"],
    ("a cat, low-poly style", "a cat, low-poly style, cyan and white"): ["property", "property"],
    # the same thing below another
    ("a cat on an orange rug", "a cat on a blue rug"): ["property"],
    ("a cup on a wooden table", "a cup on a marble table"): ["property"],
    ("a cat on tall grass", "a cat on short grass"): ["ground"],
    ("a swan in a pond", "a swan in a frozen pond"): ["ground"],
    ("a girl in a white tutu", "a girl in a black tutu"): ["property"],
    # numbers
    ("5 ducks in a lake", "2 ducks in a lake"): ["pose"],
    ("three cats", "five cats"): ["pose"],
    # more looks
    ("a cat", "a cat, in the style of a Japanese woodblock print"): ["look", "look"],
    ("a street in spring", "a street in fall"): ["look"],
    ("a metal spring", "a golden spring"): ["property"],
    # lines end phrases
    ("a cat on grass\nhighly detailed fur", "a cat on snow\nhighly detailed fur"): ["ground"],
}


@pytest.mark.parametrize("prompts", KINDS, ids=[after or "nothing" for _, after in KINDS])
def test_the_kind_of_each_change(prompts):
    assert [change.kind for change in changes_of(prompt_edit(*prompts))] == KINDS[prompts]


@pytest.mark.parametrize(
    "target, named",
    [
        ("a cat wearing sunglasses on a sofa", ["sunglasses"]),
        ("a cat wearing a red hat on a sofa", ["red hat"]),
        ("a cat with an umbrella walking down a sofa", ["umbrella"]),
    ],
)
def test_what_has_no_place_is_named_alone(target, named):
    assert lacks_place(prompt_edit("a cat on a sofa", target), has_mask=False) == named


@pytest.mark.parametrize(
    "prompts, without_mask, with_mask",
    [
        ((JEEP, f"watercolor painting of {JEEP}"), "style", "style"),
        ((JEEP, JEEP), "enhance", "enhance"),
        ((JEEP, "a Porsche car driving down a curvy road in the countryside"), "replace", "replace"),
        (("a cat", "a cat with a red hat"), "background", "add"),
        (("a dog", "a dog wearing a hat"), "background", "add"),
        (("a cat and a dog", "a cat and a black dog"), "replace", "replace"),
        (("a cat and a black dog", "a cat and a dog"), "shape", "shape"),  # no new word for replace
        (("a squirrel is eating a carrot", "a rabbit is eating an eggplant"), "shape", "shape"),
        (("a red circle on grass", "a blue circle on snow"), "background", "background"),
        (("a red circle on grass", "a red circle on snow"), "new background", "new background"),
        ((JEEP, "a silver jeep driving down a snowy road in the desert"), "new background", "new background"),
        (("grass in the sun", "grass in the rain"), "new background", "new background"),
        (("on grass", "on snow"), "background", "new background"),  # nothing stays that could be told from the ground
        (("a red circle on grass", "watercolor of a blue circle on grass"), "style", "style"),
        (("a red circle on grass", "a watercolor of a blue circle on grass"), "style", "style"),
        (("a man", "a man, smiling"), "style", "attribute"),  # no word of the source says where
        (("a man sitting on a bench", "a man standing on a bench"), "shape", "shape"),
        (("a swan", "a swan made of paper"), "attribute", "attribute"),
        (("black car, city street, night", "white car, city street, night"), "attribute", "attribute"),
        (("a dog on grass", "a dog on grass with a UFO in the sky"), "background", "add"),
        (("a dog on grass", "a dog on snow with a hat"), "background", "background"),
    ],
)
def test_the_preset_of_an_edit(prompts, without_mask, with_mask):
    edit = prompt_edit(*prompts)
    assert [automatic_preset(edit, has_mask) for has_mask in (False, True)] == [without_mask, with_mask]


@pytest.mark.parametrize(
    "prompts, things",
    [
        (
            ("a red circle and a blue star on grass", "a red circle and a blue star on snow"),
            ["red circle", "blue star"],
        ),
        (
            (JEEP, "a silver jeep driving down a curvy road in the desert"),
            ["silver jeep"],
        ),  # the road may be everywhere
        (("a watercolor of a cat on a sofa, 4k", "a watercolor of a cat on the beach, 4k"), ["cat"]),
        (("a man with a red hat in a river", "a man with a red hat in the snow"), ["man", "red hat"]),
        (("a cat", "a cat on the beach"), ["cat"]),
        (("a red cat on grass", "a blue cat on snow"), []),
        (("a street in summer", "a street in winter"), ["street"]),
        (
            (
                "a cat and a dog on grass, soft light, film grain, 35mm",
                "a cat and a dog on snow, soft light, film grain, 35mm",
            ),
            ["cat", "dog"],
        ),
        (
            (
                "RAW photo, (a cat:1.2) on grass, 8k uhd, dslr, cinematic lighting, golden hour, Fujifilm XT3, f/1.8",
                "RAW photo, (a cat:1.2) on snow, 8k uhd, dslr, cinematic lighting, golden hour, Fujifilm XT3, f/1.8",
            ),
            ["cat"],
        ),
        (
            (
                "a wide shot of a cat on grass from above, by Greg Rutkowski, shallow depth of field",
                "a wide shot of a cat on snow from above, by Greg Rutkowski, shallow depth of field",
            ),
            ["cat"],
        ),
        (("woman, red hair, standing, city, night", "woman, red hair, standing, forest, night"), ["woman", "red hair"]),
        (("a cat. It sits on grass. There is no dog.", "a cat. It sits on snow. There is no dog."), ["cat"]),
        (("a man without a hat on grass", "a man without a hat on snow"), ["man"]),
        (("a cat near a tree on grass", "a cat near a tree on snow"), ["cat", "tree"]),
        (("a cat BREAK on grass", "a cat BREAK on snow"), ["cat"]),
        (("a man that lies down on grass", "a man that lies down on snow"), ["man"]),
        (("a fox on grass, looking around", "a fox on snow, looking around"), ["fox"]),
        (("a cat on grass, looking up", "a cat on snow, looking up"), ["cat"]),
        (("a cat on grass, rendered as pixel art", "a cat on snow, rendered as pixel art"), ["cat"]),
        (("a moped on grass", "a moped on snow"), ["moped"]),
        (("a horse with a rider", "a horse without a rider"), ["horse"]),
        (("a cat and a car made of metal", "a cat and a car made of chocolate"), ["cat"]),
        (("a cat, blue sky, grass", "a cat, blue sky, snow"), ["cat"]),
        (("a red cat\na blue dog\non grass", "a red cat\na blue dog\non snow"), ["red cat", "blue dog"]),
    ],
)
def test_the_things_that_stay(prompts, things):
    assert [phrase_text(thing) for thing in things_that_stay(prompt_edit(*prompts))] == things


def test_long_prompts_are_read_at_once(monkeypatch):
    """What belongs together was looked for anew for each phrase: minutes for some hundred of them."""
    asked, links = [], phrase_pairs._links
    monkeypatch.setattr(phrase_pairs, "_links", lambda edit: asked.append(1) or links(edit))
    source = ", ".join(f"a cat number {number} on grass" for number in range(40))
    assert len(things_that_stay(prompt_edit(source, source.replace("grass", "snow")))) == 40
    assert len(asked) == 1


def test_a_long_list_of_things_is_told_in_short():
    things = ", ".join(f"a {number} cat" for number in "one two three four five six seven eight nine ten".split())
    edit = prompt_edit(f"{things} on grass", f"{things} on snow")
    (note,) = kept_things(edit, PRESETS["new background"])
    assert note.startswith("things that stay: one cat, two cat, ") and note.endswith(", eight cat, …")


def test_words_to_mask_do_not_stay():
    edit = prompt_edit("a cat and a wall on grass", "a cat and a wall on snow", mask_words="wall, grass")
    assert [phrase_text(thing) for thing in things_that_stay(edit)] == ["cat"]


def test_what_automatic_tells():
    edit = prompt_edit("a red circle on grass", "a blue star on grass and a heart")
    assert changes_in_words(edit) == "red circle -> blue star, heart"
    assert (lacks_place(edit, False), lacks_place(edit, True)) == (["heart"], [])
    assert changes_in_words(prompt_edit()) == "silver jeep -> red jeep"
    parts = prompt_edit("a man with a glass of wine", "Wonder Woman, wearing a cap, with a cup of tea")
    assert changes_in_words(parts) == "man -> Wonder Woman wearing a cap, glass of wine -> cup of tea"


@pytest.mark.parametrize("path", [LIST, HARD_LIST, THIRD_LIST, FOURTH_LIST], ids=lambda path: path.stem)
def test_the_benchmark_knows_what_automatic_takes(path):
    """On every edit of every list; its row "preset automatic" is that of the node."""
    for case in load_cases(path):
        edit = prompt_edit(case.source_prompt, case.target_prompt, emphasis=case.emphasis)
        assert automatic_preset(edit, has_mask=case.kind == "addition") == methods.automatic_preset(case), case.name


@pytest.fixture(scope="module")
def run():
    return inverted(small_model(), EDIT, clip_latent(2), steps=2)


@pytest.mark.parametrize("mask", [None, torch.eye(16)[None]], ids=["words", "mask"])
def test_both_nodes_edit_as_with_the_preset_that_they_name(run, mask):
    place = {} if mask is None else {"mask_from": "mask input"}
    prompts = conditioning(EDIT.target), negative(), 5.0
    latents, settings = [], []
    for preset in ({"preset": AUTOMATIC}, {"preset": "attribute", **place}):
        latents += AttentionBlendSampler.execute(small_model(), run, EDIT, *prompts, preset, mask=mask).result
        settings.append(read_mark(AttentionBlend.execute(small_model(), run, EDIT, preset, mask=mask).result[0])[0])
    # On some processors no two runs are equal to the last bit.
    assert torch.allclose(*(latent["samples"] for latent in latents), atol=1e-3)
    assert repr(settings[0]) == repr(settings[1])


def test_what_the_nodes_tell(run):
    preset = {"preset": AUTOMATIC}
    told = [
        ((), 'preset automatic is attribute here, for "silver jeep -> red jeep"'),
        (("a jeep", "a jeep and a dog"), '! "dog" has no place; connect a MASK'),
        (("a jeep", "a jeep"), "preset automatic is enhance here, since no word changes"),
    ]
    for prompts, text in told:
        assert text in "\n".join(taken_preset(run, prompt_edit(*prompts), preset)[1])
    assert taken_preset(run, EDIT, {"preset": "style"}) == ({"preset": "style"}, [])


def test_the_report_repeats_which_preset_was_taken_and_what_stays(run):
    edit = prompt_edit(EDIT.source.text, "a silver jeep on a beach")
    prompts = conditioning(edit.target), negative(), 5.0
    (latent,) = AttentionBlendSampler.execute(small_model(), run, edit, *prompts, {"preset": AUTOMATIC}).result
    told = read_mark(latent)[2].splitlines()
    assert told[0].startswith("Time: ")
    assert told[-2:] == [
        'preset automatic is new background here, for "road -> beach"',
        "things that stay: silver jeep",
    ]
    mask = torch.eye(16)[None]
    (latent,) = AttentionBlendSampler.execute(
        small_model(), run, edit, *prompts, {"preset": AUTOMATIC}, mask=mask
    ).result
    assert "things that stay" not in read_mark(latent)[2]
