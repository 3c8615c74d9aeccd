"""Inverted clips of video models, edited beside what other nodes put on the model, and by the models' other kinds."""

import pytest
import torch
from comfy_extras import nodes_slg

from beside_video_models import (
    CONTROL,
    KINDS,
    QUANTISED,
    easycache,
    given_of,
    kind,
    lazycache,
    nag_of_other_nodes,
    noise,
)
from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative
from tiny_video_models import wan

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
FUSED = {"preset": "attribute", "self_until": 1.0, "cross_until": 1.0, "mask_from": "off", "latent_blend": False}
FREE = {**FUSED, "self_until": 0.0, "cross_until": 0.0}


@pytest.fixture
def inverted(t5_prompt):
    """inverted(model, given): the source run; given: what every conditioning carries beside its prompt."""

    def make(model, given=None):
        wires = model, with_given(t5_prompt(SOURCE), given), {"samples": noise(*CONTROL)}
        return Invert.execute(*wires, 4, "simple", reuse=False).args[1]

    return make


@pytest.fixture
def edited(t5_tokens, t5_prompt):
    """edited(model, run, target, given, cfg, preset, **options): the latent of Attention Blend Sampler."""

    def make(model, run, target=TARGET, given=None, cfg=1.0, preset=FUSED, **options):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        prompts = [with_given(t5_prompt(text), given) for text in (target, "snow")]
        return AttentionBlendSampler.execute(model, run, edit, *prompts, cfg, preset, **options).args[0]["samples"]

    return make


def with_given(prompt, given):
    return [[embedding, {**options, **(given or {})}] for embedding, options in prompt]


def check_edit(model, run, edited, given=None):
    """The same prompt is the reconstruction, another one is not, and attention is fused."""
    drawn = reconstruct(model, run, disable_pbar=True)
    assert relative(edited(model, run, SOURCE, given, attention_from=FAST_RECONSTRUCTION), drawn) < 1e-5
    fused = edited(model, run, TARGET, given)
    assert relative(fused, drawn) > 1e-3 and relative(edited(model, run, TARGET, given, preset=FREE), fused) > 1e-3
    return fused


@pytest.mark.parametrize("name", KINDS)
def test_models_that_are_controlled_invert_and_edit(name, inverted, edited):
    build, shapes = KINDS[name]
    try:
        model = build()
    except AttributeError:
        pytest.skip("this ComfyUI does not know it")
    given = given_of(shapes, seed=4)
    if name in ("SCAIL", "S2V"):  # references are further tokens, so that no token's place is known
        with pytest.raises(Refusal, match="'model' looks at more than the clip"):
            inverted(model, given)
        given = {name: value for name, value in given.items() if name in ("control_video", "audio_embed")}
    check_edit(model, inverted(model, given), edited, given)


@pytest.mark.parametrize("held", QUANTISED.values(), ids=QUANTISED.keys())
def test_quantised_weights_invert_and_edit(held, inverted, edited):
    model, exact = wan(**held), wan()
    fused = check_edit(model, inverted(model), edited)
    assert 1e-5 < relative(fused, edited(exact, inverted(exact))) < 0.3


def test_a_lora_inverts_and_edits(inverted, edited):
    model = wan()
    changed = model.clone()
    changed.add_patches({"diffusion_model.blocks.1.self_attn.q.weight": ("diff", (noise(96, 96),))}, 0.3)
    run = inverted(model)
    fused = check_edit(changed, inverted(changed), edited)
    assert relative(fused, edited(model, run)) > 1e-4
    with pytest.raises(Refusal, match="'model' is not the one the source was inverted with"):
        edited(changed, run)


def test_what_skips_steps_inverts_as_without_and_edits(inverted, edited):
    """An inversion needs every step, and asks for them in the wrong order for EasyCache."""
    model = wan()
    plain, skipping = inverted(model), easycache(model)
    run = inverted(skipping)
    assert torch.equal(run.trajectory, plain.trajectory)
    first = edited(skipping, run)
    assert relative(first, edited(model, plain)) > 1e-6 and torch.equal(edited(skipping, run), first)
    with pytest.raises(Refusal, match="Attention Blend Sampler: 'model' has LazyCache"):
        edited(lazycache(model), run)


def test_guidance_of_other_nodes_works(inverted, edited, t5_prompt):
    model, context = wan(), t5_prompt("white snow")[0][0]
    run = inverted(model)
    skipping = nodes_slg.SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "1", "", 0.0).result[0]
    plain = edited(model, run, cfg=2.0)
    assert relative(edited(skipping, run, cfg=2.0), plain) > 1e-4
    guided = nag_of_other_nodes(model, context)
    assert relative(check_edit(guided, inverted(guided), edited), edited(model, run)) > 1e-4
    with pytest.raises(Refusal, match="DDIM Invert .*: 'model' has attention that another node has put in the place"):
        inverted(nag_of_other_nodes(model, context, hands_on=False))
    assert torch.equal(edited(model, run, cfg=2.0), plain), "the next edit without them is as before"


@pytest.mark.parametrize(
    "option, told", [("rel_l1_thresh", "'model' has TeaCache"), ("context_handler", "'model' has context windows")]
)
def test_what_cannot_be_followed_is_refused(option, told, inverted, edited):
    model = wan()
    run, patched = inverted(model), model.clone()
    held = patched.model_options if option == "context_handler" else patched.model_options["transformer_options"]
    held[option] = 0.2
    for refused in (lambda: inverted(patched), lambda: edited(patched, run)):
        with pytest.raises(Refusal, match=told):
            refused()


def test_humo_is_refused_by_name(inverted):
    with pytest.raises(Refusal, match="DDIM Invert .*: 'model' is a WAN21_HuMo, but these nodes edit with SD 1.x"):
        inverted(kind("WAN21_HuMo", "humo")())


def test_a_first_frame_for_some_conditionings_only_is_refused(inverted, edited):
    model = wan("i2v", in_dim=36)
    picture = {"concat_latent_image": noise(*CONTROL)}
    check_edit(model, inverted(model, picture), edited, picture)
    with pytest.raises(Refusal, match="'positive' was not given the picture, clip or sound that 'source conditioning'"):
        edited(model, inverted(model, picture))
    with pytest.raises(Refusal, match="'source conditioning' was not given the picture, clip or sound that 'positive'"):
        edited(model, inverted(model), given=picture)
