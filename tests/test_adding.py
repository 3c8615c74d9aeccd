"""Adding a thing, or replacing one: the new words alone in the mask, and fresh noise there for what is added."""

from dataclasses import replace

import pytest
import torch
from comfy_extras.nodes_custom_sampler import SplitSigmas

from edit_cases import clip_latent, edited, inverted, inverted_noise, prompt_edit, sampled, small_model
from fatezero_pack.fatezero.edit.edit_check import check_settings
from fatezero_pack.fatezero.edit.fusion import see_alone
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import (
    AUTO_CACHE,
    CACHE,
    CLIP_NOISE,
    FAST_RECONSTRUCTION,
    FRESH_NOISE,
    INPUT_MASK,
    INVERSION,
    NO_MASK,
    OUTLINE,
    RECONSTRUCTION,
    WORDS,
    BlendSettings,
)
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.edit.unet.fresh_noise import moving_noise
from fatezero_pack.fatezero.network.unet.attention import plain_attention
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.shared.blend_inputs import blend_inputs, notes_on, read_settings
from golden_unet import relative

EDIT = prompt_edit("a jeep on a road", "a jeep and a red cow on a road")
FRAMES = 3
MASK = torch.zeros(FRAMES, 128, 128)
for frame in range(FRAMES):
    MASK[frame, 40:88, 24 + 16 * frame : 72 + 16 * frame] = 1
ADD = replace(PRESETS["add"], mask=MASK)
INSIDE = ADD.mask[:, ::8, ::8] > 0  # the mask's edges lie on cells


@pytest.fixture(scope="module")
def source():
    return inverted(small_model(), EDIT, clip_latent(FRAMES), steps=4)


def test_only_the_mask_changes_and_the_seed_says_how(source):
    model = small_model()
    one, again, other = (edited(model, source, EDIT, replace(ADD, noise_seed=seed)) for seed in (0, 0, 1))
    outside = ~INSIDE[:, None].expand_as(one)
    assert torch.equal(one, again)
    assert relative(one[~outside], other[~outside]) > 0.1
    assert relative(one[outside], other[outside]) < 1e-5
    clip = source.trajectory[0]
    assert relative(model.model.process_latent_in(one)[outside], clip[outside]) < 1e-3  # sigmas end above 0


@pytest.mark.parametrize("changes", [dict(new_words_until=0.0), dict(fresh_noise=0.0)])
def test_new_words_alone_and_fresh_noise_both_act(source, changes):
    model = small_model()
    assert relative(edited(model, source, EDIT, replace(ADD, **changes)), edited(model, source, EDIT, ADD)) > 1e-2


def test_no_share_of_fresh_noise_is_none_and_its_variance_stays(source):
    model, settings = small_model(), BlendSettings(mask_from=INPUT_MASK, mask=MASK, self_window=Window(0, 0.5))
    assert torch.equal(
        edited(model, source, EDIT, replace(settings, noise_seed=3)), edited(model, source, EDIT, settings)
    )
    half = edited(model, source, EDIT, replace(settings, fresh_noise=0.5))
    assert relative(half, edited(model, source, EDIT, settings)) > 1e-2


def test_the_new_words_alone_are_seen_in_the_mask():
    query, key, value = torch.randn(3, 1, 4, 64).unbind()
    mask = torch.tensor([[1.0, 0.0, 0.5, 0.0]])

    def attention(query, key, value):
        return plain_attention(query, key, value, {"n_heads": 2})

    fused = torch.zeros(1, 4, 64)
    seen = see_alone(attention, (query, key, value), fused, (2,), mask)
    assert torch.allclose(seen, value[:, 2:3] * mask[..., None], atol=1e-6)  # one token has all the attention


def test_noise_goes_along_with_the_mask():
    mask = torch.zeros(3, 16, 16)
    for frame, (row, column) in enumerate([(2, 3), (5, 5), (9, 4)]):
        mask[frame, row : row + 4, column : column + 4] = 1
    noise = moving_noise(mask, 4, seed=1)
    for frame, (row, column) in enumerate([(2, 3), (5, 5), (9, 4)]):
        assert torch.equal(noise[frame, :, row : row + 4, column : column + 4], noise[1, :, 5:9, 5:9])
        assert abs(float(noise[frame].std()) - 1) < 0.1
    assert torch.equal(moving_noise(mask, 4, seed=1), noise)
    still = moving_noise(mask[:1].expand(3, -1, -1), 4, seed=1)
    assert torch.equal(still[0], still[2])
    assert torch.isfinite(moving_noise(torch.zeros(2, 4, 4), 4, seed=0)).all()


def test_the_noise_of_a_ground_stands_still():
    """Around a thing that moves, where the middle of the ground's mask moves the other way."""
    mask = torch.ones(3, 8, 24)
    for frame in range(3):
        mask[frame, 2:8, 6 * frame : 6 * frame + 6] = 0
    noise = moving_noise(mask, 4, seed=1, moves=False)
    assert torch.equal(noise[0], noise[1]) and torch.equal(noise[0], noise[2])
    assert not torch.equal(*moving_noise(mask, 4, seed=1)[:2])
    assert {name for name, preset in PRESETS.items() if preset.mask_is_ground} == {"new background"}


def test_stages_chunks_and_a_cache_are_one_run(source):
    """Fresh noise belongs to the start of the edit, not to every stage of it."""
    model = small_model()
    whole = edited(model, source, EDIT, ADD)
    assert relative(edited(sampled_in_chunks(model, 1), source, EDIT, ADD), whole) < 1e-5
    kept = replace(ADD, source_attention=CACHE)
    assert relative(edited(model, source, EDIT, kept), whole) < 1e-5
    assert relative(edited(model, source, EDIT, kept), whole) < 1e-5  # which now reads what was kept
    blended = blend_attention(model, source, EDIT, ADD)
    high, low = SplitSigmas.execute(source.sigmas.flip(0), 2).result
    middle = sampled(blended, source, EDIT, sigmas=high)
    assert relative(stage(blended, middle, low), sampled(blended, source, EDIT)) < 1e-5


def stage(model, latent, sigmas):
    """A second stage, as `sampled` samples the first."""
    import comfy.samplers

    from edit_cases import conditioning, negative

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(EDIT.target), negative())
    guider.set_cfg(5.0)
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(torch.zeros_like(latent), latent, sampler, sigmas, disable_pbar=True, seed=0)


def chosen(source, edit=EDIT, **given):
    return read_settings(source, edit, **given)


def test_the_node_has_the_layers_of_the_preset_unless_it_is_told(source):
    """Workflows of before the choice have "all"."""
    until = {"style": 0.5, "background": 1.0, "style (Video-P2P)": 1.0}
    for name, share in until.items():
        style = {"preset": {"preset": name}}
        assert chosen(source, **style).finest_until == share
        assert chosen(source, **style, layers="all").finest_until == 1
        assert chosen(source, **style, layers="all but the finest (official code)").finest_until == 0


def test_the_node_has_fresh_noise_for_every_preset_with_a_mask(source):
    drawn = {"preset": {"preset": "attribute", "mask_from": INPUT_MASK}, "mask": MASK}
    assert chosen(source, **drawn).fresh_noise == 0
    fresh = chosen(source, **drawn, mask_noise=FRESH_NOISE, fresh_noise_seed=7)
    assert (fresh.fresh_noise, fresh.noise_seed) == (1, 7)
    adding = {"preset": {"preset": "add"}, "mask": MASK}
    assert chosen(source, **adding) == replace(ADD, source_attention=AUTO_CACHE, mask=MASK)
    assert chosen(source, **adding, mask_noise=CLIP_NOISE).fresh_noise == 0
    seeded = chosen(source, **drawn, mask_noise=CLIP_NOISE, fresh_noise_seed=7)
    assert notes_on(seeded, drawn["preset"], EDIT, source) == [
        "! 'fresh noise seed' has no effect, since 'noise inside the mask' is the clip's"
    ]
    empty = chosen(source, **{**adding, "mask": 0 * MASK})
    assert notes_on(empty, adding["preset"], EDIT, source) == [
        "! 'mask' is black everywhere; paint white where the edit belongs"
    ]


def test_presets_of_before_have_the_clips_noise(source):
    """And no widget among those whose values a saved workflow has in their order."""
    for node in (AttentionBlend, AttentionBlendSampler):
        widgets = [item.id for item in node.define_schema().inputs if item.io_type != "MODEL"]
        assert widgets[-2:] == ["mask_noise", "fresh_noise_seed"]
    nested = {option.key: [item.id for item in option.inputs] for option in blend_inputs()[0].options}
    assert {name for name, items in nested.items() if "new_words_until" in items} == {"add", "replace"}
    assert {name for name, preset in PRESETS.items() if preset.whole_cells} == {"add", "replace"}
    assert {name for name, preset in PRESETS.items() if preset.fresh_noise} == {"add", "new background"}


def test_what_is_given_stays_as_it_was(source):
    model, start = small_model(), source.trajectory.clone()
    latent = inverted_noise(model, source)
    before = latent.clone()
    sampled(blend_attention(model, source, EDIT, ADD), source, EDIT)
    assert torch.equal(source.trajectory, start) and torch.equal(latent, before)
    assert float(MASK.unique().numel()) == 2


@pytest.mark.parametrize(
    "changes, edit, words",
    [
        (dict(mask=None), EDIT, "need to know where, but 'mask from' is mask input and shows no place"),
        ({}, prompt_edit("a jeep on a road", "a jeep on a road"), "but the target prompt has none"),
        (dict(mask_from=NO_MASK), EDIT, "need to know where, but 'mask from' is off"),
        (dict(mask_from=WORDS), EDIT, "need to know where, but 'mask from' is words"),
        (
            dict(mask_from=NO_MASK, latent_window=None, new_words_until=0.0),
            EDIT,
            "'noise inside the mask' is fresh but 'mask from' is off",
        ),
    ],
)
def test_what_cannot_be_added_is_refused(source, changes, edit, words):
    with pytest.raises(Refusal, match=words):
        check_settings(source, edit, replace(ADD, **changes))


SWAP = prompt_edit("a red jeep and a red cow on a road", "a red truck and a red cow on a road")
REPLACE = replace(PRESETS["replace"], mask_from=INPUT_MASK, mask=MASK)


@pytest.fixture(scope="module")
def two_things():
    return inverted(small_model(), SWAP, clip_latent(FRAMES), steps=4)


def test_replacing_changes_the_mask_alone(two_things):
    model, outside = small_model(), ~INSIDE
    replaced = model.model.process_latent_in(edited(model, two_things, SWAP, REPLACE)).movedim(1, -1)
    clip = two_things.trajectory[0].movedim(1, -1)
    assert relative(replaced[outside], clip[outside]) < 1e-3 < relative(replaced[~outside], clip[~outside])


def test_in_the_mask_the_whole_phrase_is_seen(two_things, monkeypatch):
    """With the word alone, "truck", the thing would lose its colour."""
    seen = set()

    def see(attention, edit_qkv, fused, tokens, mask):
        seen.add(tokens)
        return see_alone(attention, edit_qkv, fused, tokens, mask)

    monkeypatch.setattr("fatezero_pack.fatezero.edit.unet.chunk_fusion.see_alone", see)
    edited(small_model(), two_things, SWAP, REPLACE)
    assert seen == {SWAP.new_phrases}
    assert [word.text for word in SWAP.target.words if word.indices[0] in SWAP.new_phrases] == ["red", "truck"]


@pytest.mark.parametrize("mask_from", [WORDS, OUTLINE])
def test_replacing_may_take_its_place_from_words(two_things, mask_from):
    settings = replace(REPLACE, mask=None, mask_from=mask_from)
    check_settings(two_things, SWAP, settings)
    assert bool(torch.isfinite(edited(small_model(), two_things, SWAP, settings)).all())


@pytest.mark.parametrize("attention_from", [INVERSION, RECONSTRUCTION, FAST_RECONSTRUCTION])
def test_the_words_place_is_known_for_as_long_as_new_words_are_seen_there(two_things, attention_from):
    """Also where nothing else of the source is needed any more."""
    short = dict(self_window=Window(0, 0.3), cross_window=Window(0, 0.3), latent_window=None)
    settings = replace(PRESETS["replace"], mask_from=WORDS, attention_from=attention_from, **short)
    assert torch.isfinite(edited(small_model(), two_things, SWAP, settings)).all()
