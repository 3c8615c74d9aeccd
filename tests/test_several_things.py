"""Several things that change at once: each in its own place sees its own new words alone."""

from dataclasses import replace

import pytest
import torch

from edit_cases import clip_latent, edited, inverted, prompt_edit, small_model
from fatezero_pack.fatezero.edit.automatic import automatic_preset
from fatezero_pack.fatezero.edit.edit_check import crowded_mask
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import CACHE, INPUT_MASK, WORDS
from fatezero_pack.fatezero.edit.unet.outline_mask import on_outline, things_to_place
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.prompts.edit_kind import own_words
from fatezero_pack.fatezero.prompts.phrases import phrase_tokens
from golden_unet import relative

SOURCE, TARGET = "a red jeep and a blue bus on a road", "a green cow and a white horse on a road"
EDIT = prompt_edit(SOURCE, TARGET)
FRAMES = 3
LEFT, RIGHT = torch.zeros(2, FRAMES, 16, 16)
LEFT[..., :8], RIGHT[..., 8:] = 1, 1
REPLACE = replace(PRESETS["replace"], mask_from=INPUT_MASK, mask=torch.ones(FRAMES, 16, 16), agree_until=0.0)


@pytest.fixture(scope="module")
def source():
    """Of a clip with two things."""
    return inverted(small_model(), EDIT, clip_latent(FRAMES), steps=4)


def words(prompt, tokens):
    return [word.text for word in prompt.words if set(word.indices) <= set(tokens)]


@pytest.mark.parametrize(
    "prompts, expected",
    [
        ((SOURCE, TARGET), [["green", "cow"], ["white", "horse"]]),
        ((SOURCE, "a green jeep and a blue horse on a road"), [["green", "jeep"], ["blue", "horse"]]),
        (("red circle, blue star, grass", "pink circle, white star, grass"), [["pink", "circle"], ["white", "star"]]),
        ((SOURCE, "a red cow and a blue bus on a road"), []),  # one thing
        ((SOURCE, "a white horse on a road"), []),  # one goes
        (("a red cat and a red cat", "a dog and a cow"), []),  # which is which
        (("a swan with a red beak", "a duck with a yellow beak"), []),  # a part of the other
        (("a squirrel eating a carrot", "a rabbit eating an eggplant"), []),
        ((SOURCE, SOURCE), []),
        (("a red jeep on a road", "a green cow in the snow"), [["green", "cow"]]),  # on a ground that changes, too
        ((SOURCE, "a red jeep and a white horse in the snow"), [["white", "horse"]]),
        (("a red jeep on a field of grass", "a red cow on a field of snow"), [["red", "cow"]]),
        (("a red jeep on a road", "a red jeep in the snow"), []),
    ],
)
def test_what_comes_in_the_place_of_each(prompts, expected):
    edit = prompt_edit(*prompts)
    assert [words(edit.target, tokens) for tokens in own_words(edit)] == expected
    assert not expected or len(things_to_place(edit, PRESETS["replace"])) == len(expected)


@pytest.mark.parametrize(
    "target, preset",
    [
        (TARGET, "replace"),
        ("a green jeep and a white horse on a road", "replace"),
        ("a red cow and a blue bus on a road", "replace"),
        ("a green jeep and a white bus on a road", "attribute"),
        ("a green cow and a white horse in the snow", "replace"),
        ("a red jeep and a white horse in the snow", "replace"),
        ("a green cow and a white horse", "background"),  # the ground goes
        ("a green jeep and a white bus in the snow", "background"),
        ("a red jeep and a blue bus in the snow", "new background"),
        ("a green cow on a road", "shape"),
    ],
)
def test_automatic(target, preset):
    assert automatic_preset(prompt_edit(SOURCE, target), has_mask=False) == preset


def test_in_a_mask_of_one_place_several_things_are_not_replaced():
    assert automatic_preset(EDIT, has_mask=True) == "shape"


def test_a_thing_that_has_all_of_the_place_is_edited_as_if_it_were_alone(source):
    """With the other's place empty, in every layer."""
    nowhere = torch.zeros_like(LEFT)
    for number, masks in enumerate([(REPLACE.mask, nowhere), (nowhere, REPLACE.mask)]):
        several = edited(small_model(), source, EDIT, replace(REPLACE, thing_masks=torch.stack(masks)))
        own = own_words(EDIT)[number]
        alone = replace(EDIT, target_mask_tokens=own)
        assert phrase_tokens(EDIT.target, own) == own
        assert relative(several, edited(small_model(), source, alone, REPLACE)) < 1e-5


def test_each_sees_its_own_words(source):
    apart = replace(REPLACE, thing_masks=torch.stack([LEFT, RIGHT]))
    whole = edited(small_model(), source, EDIT, apart)
    assert relative(whole, edited(small_model(), source, EDIT, REPLACE)) > 1e-2  # all words in one place
    swapped = replace(REPLACE, thing_masks=torch.stack([RIGHT, LEFT]))
    assert relative(whole, edited(small_model(), source, EDIT, swapped)) > 1e-2
    assert relative(edited(sampled_in_chunks(small_model(), 1), source, EDIT, apart), whole) < 1e-5
    kept = replace(apart, source_attention=CACHE)
    for _ in range(2):
        assert relative(edited(small_model(), source, EDIT, kept), whole) < 1e-5


def test_a_mask_to_the_edges_has_a_place_for_each(source):
    fitting = on_outline(PRESETS["replace"], source, EDIT)
    assert fitting.thing_masks.shape == (2, FRAMES, 16, 16)
    assert torch.equal(fitting.mask, fitting.thing_masks.amax(dim=0))
    one = prompt_edit(SOURCE, "a red cow and a blue bus on a road")
    assert on_outline(PRESETS["replace"], source, one).thing_masks is None
    assert on_outline(PRESETS["shape"], source, EDIT).thing_masks is None


def test_beside_a_new_ground_a_thing_has_its_place_and_nothing_is_put_back(source):
    edit = prompt_edit(SOURCE, "a green cow and a blue bus in the snow")
    fitting = on_outline(PRESETS["replace"], source, edit)
    assert fitting.latent_window is None and fitting.thing_masks.shape == (1, FRAMES, 16, 16)
    same_ground = on_outline(PRESETS["replace"], source, prompt_edit(SOURCE, "a green cow and a blue bus on a road"))
    assert same_ground.latent_window and torch.equal(same_ground.mask, fitting.mask), "the ground's words mark nothing"
    shape = on_outline(PRESETS["shape"], source, edit)
    assert shape.latent_window and shape.mask.sum() > fitting.mask.sum(), "another preset does as it did"
    of_thing = prompt_edit(SOURCE, "a green cow and a blue bus in the snow", mask_words="jeep")
    assert on_outline(PRESETS["replace"], source, of_thing).latent_window, "a person's mask words leave the ground out"
    comes = prompt_edit("a red jeep and a blue bus", "a green cow and a white horse in the snow")
    assert automatic_preset(comes, has_mask=False) == "background", "what no word of the clip names is nowhere"
    assert automatic_preset(edit, has_mask=True) == "background", "the person's place is all that may change"


def test_what_is_told():
    assert not crowded_mask(EDIT, PRESETS["replace"])
    assert "are seen together" in crowded_mask(EDIT, replace(PRESETS["replace"], mask_from=WORDS))[0]
    assert "are seen together" in crowded_mask(EDIT, REPLACE)[0]
