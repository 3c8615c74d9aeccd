"""Coupled edits of video models beside what other nodes put on the model, and of the models' other kinds."""

import pytest
import torch
from comfy_extras import nodes_nag, nodes_slg

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
from fatezero_pack.fatezero.edit.transformer import source_row
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from golden_unet import relative
from tiny_video_models import conditioning, ltx, wan

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
FUSED = {"cross_until": 1.0, "self_until": 1.0}


@pytest.fixture(scope="module")
def latent():
    return 3 * torch.nn.functional.avg_pool3d(noise(1, 16, 3, 8, 10), 3, 1, 1)


@pytest.fixture
def edited(t5_tokens, latent):
    """edited(model, target, given, **settings): the edited latent; given: what every conditioning carries as well."""

    def run(model, target=TARGET, given=None, latent=latent, **settings):
        source, aimed = t5_tokens(SOURCE), t5_tokens(target)
        prompts = [conditioning(each) for each in (source, aimed, source)]
        for prompt in prompts:
            prompt[0][1].update(given or {})
        options = {"steps": 6, "cfg": 1.0, "scheduler": "simple", "seed": 0, "cross_until": 0.0, "self_until": 0.0}
        options |= {"skip": 0.0, "drift": 0.0, **settings}
        clip = {"samples": latent}
        return CoupledEditSampler.execute(model, make_prompt_edit(source, aimed), *prompts, clip, **options).args[0][
            "samples"
        ]

    return run


def test_what_skips_rows_works(edited, latent):
    """EasyCache acts, leaves nothing behind, and the same prompt still gives the clip back."""
    model = wan()
    plain, skipping = edited(model, **FUSED), easycache(model)
    first = edited(skipping, **FUSED)
    assert 1e-6 < relative(first, plain) < 1
    assert torch.equal(edited(skipping, **FUSED), first) and torch.equal(edited(model, **FUSED), plain)
    assert relative(edited(skipping, SOURCE, **FUSED), latent) < 1e-5


def test_what_skips_the_clips_own_steps_is_refused(edited):
    """LazyCache answers for both rows, but with what the edit's was: an edit would be off by six times its size."""
    with pytest.raises(Refusal, match="Coupled Edit Sampler: 'model' has LazyCache, .* use EasyCache, or remove it"):
        edited(lazycache(wan()))
    with pytest.raises(Refusal, match="'low noise model' has LazyCache"):
        edited(wan(), low_noise_model=lazycache(wan()))


def test_skip_layer_guidance_works(edited, latent):
    def guided(scale):
        skipping = nodes_slg.SkipLayerGuidanceDiT.execute(model, scale, 0.0, 1.0, "1", "", 0.0).result[0]
        return edited(skipping, cfg=2.0, **FUSED)

    model = wan()
    plain = edited(model, cfg=2.0, **FUSED)
    assert torch.isfinite(guided(3.0)).all() and relative(guided(3.0), plain) > 1e-4
    assert torch.equal(edited(model, cfg=2.0, **FUSED), plain)


def test_a_block_that_another_node_skips_is_skipped_in_every_row(edited):
    """Of LTX-Video too, whose other rows run within the source's last attention: here there is none."""
    model, clip = ltx(), 3 * torch.nn.functional.avg_pool3d(noise(1, 128, 3, 8, 10), 3, 1, 1)
    skipping = model.clone()
    skipping.set_model_patch_replace(lambda args, _: {"img": args["img"]}, "dit", "double_block", 1)
    settings = {"latent": clip, **FUSED}
    assert relative(edited(skipping, SOURCE, **settings), clip) < 1e-5
    assert relative(edited(skipping, **settings), edited(model, **settings)) > 1e-4


def test_a_lora_works(edited, latent):
    model = wan()
    weight = "diffusion_model.blocks.1.self_attn.q.weight"
    changed = model.clone()
    changed.add_patches({weight: ("diff", (noise(96, 96),))}, 0.3)
    plain = edited(model, **FUSED)
    assert relative(edited(changed, **FUSED), plain) > 1e-4
    assert relative(edited(changed, SOURCE, **FUSED), latent) < 1e-5
    assert torch.equal(edited(model, **FUSED), plain), "the next edit without it is as before"


def test_nag_of_comfyui_reaches_no_video_model(edited):
    """Its patch is one that Wan's blocks do not call, with or without an edit."""
    model = wan()
    guided = nodes_nag.NAGuidance.execute(model, 5.0, 0.5, 1.5).result[0]
    assert relative(edited(guided, **FUSED), edited(model, **FUSED)) < 1e-4  # on some processors no two runs are equal


def test_nag_in_the_place_of_text_attention_works_or_is_refused(edited, latent, t5_tokens):
    model, context = wan(), conditioning(t5_tokens("white snow"))[0][0]
    plain, guided = edited(model, **FUSED), nag_of_other_nodes(model, context)
    assert relative(edited(guided, SOURCE, **FUSED), latent) < 1e-5
    fused = edited(guided, **FUSED)
    assert relative(fused, plain) > 1e-3 and relative(edited(guided), fused) > 1e-3, "NAG acts, and so does fusion"
    assert torch.equal(edited(model, **FUSED), plain), "the next edit without it is as before"
    with pytest.raises(
        Refusal, match="Coupled Edit Sampler: 'model' has attention that another node has put in the pl"
    ):
        edited(nag_of_other_nodes(model, context, hands_on=False), **FUSED)


def test_rows_stay_on_one_card(edited):
    """MultiGPU CFG Split leaves clones of the model here; rows on them would not see the clip's row."""
    model, plain = wan(), wan()
    model.model_options["multigpu_clones"] = {}
    assert torch.equal(edited(model, **FUSED), edited(plain, **FUSED))


@pytest.mark.parametrize("name", KINDS)
def test_models_that_are_controlled_work(name, edited, latent, monkeypatch):
    """Run row by row they are as ComfyUI runs them, rows side by side."""
    build, shapes = KINDS[name]
    try:
        model = build()
    except AttributeError:
        pytest.skip("this ComfyUI does not know it")
    control = given_of(shapes, seed=4)
    assert relative(edited(model, SOURCE, control, **FUSED), latent) < 1e-5
    free, fused = edited(model, TARGET, control, cfg=2.0), edited(model, TARGET, control, cfg=2.0, **FUSED)
    assert relative(free, latent) > 1e-3 and relative(fused, free) > 1e-3
    assert relative(edited(model, TARGET, given_of(shapes, seed=5), cfg=2.0), free) > 1e-4, "the control takes part"
    monkeypatch.setattr(source_row, "install", lambda *_: None)
    assert relative(edited(model, TARGET, control, cfg=2.0), free) < 1e-5


def test_humo_whose_sound_cannot_be_cut_is_refused_by_name(edited):
    with pytest.raises(
        Refusal, match="Coupled Edit Sampler: 'model' is a WAN21_HuMo, but this node edits with Wan 2.1"
    ):
        edited(kind("WAN21_HuMo", "humo")(), given={"audio_embed": noise(1, 3, 8, 5, 1280)})


@pytest.mark.parametrize("left_out", ["source conditioning", "positive", "negative"])
def test_a_first_frame_for_some_conditionings_only_is_refused(left_out, t5_tokens, latent):
    """Each of them passes WanImageToVideo; of two nodes for three conditionings one is easily forgotten."""
    model, source, target = wan("i2v", in_dim=36), t5_tokens(SOURCE), t5_tokens(TARGET)
    names = ("source conditioning", "positive", "negative")
    prompts = dict(zip(names, map(conditioning, (source, target, source))))
    for name, prompt in prompts.items():
        if name != left_out:
            prompt[0][1]["concat_latent_image"] = noise(*CONTROL)
    wires = model, make_prompt_edit(source, target), *prompts.values(), {"samples": latent}
    settings = {
        "steps": 2,
        "scheduler": "simple",
        "seed": 0,
        "cross_until": 0.4,
        "self_until": 0,
        "skip": 0,
        "drift": 0,
    }
    told = f"Coupled Edit Sampler: '{left_out}' was not given the picture, clip or sound that '.*' was; pass source"
    with pytest.raises(Refusal, match=told):
        CoupledEditSampler.execute(*wires, cfg=2.0, **settings)
    if left_out == "negative":  # which is not used without guidance
        CoupledEditSampler.execute(*wires, cfg=1.0, **settings)


@pytest.mark.parametrize("held", QUANTISED.values(), ids=QUANTISED.keys())
def test_quantised_weights_work(held, edited, latent):
    """Only what passes through the model is read and fused, never a weight."""
    model, exact = wan(**held), wan()
    assert relative(edited(model, SOURCE, **FUSED), latent) < 1e-5
    quantised, expected = edited(model, **FUSED), edited(exact, **FUSED)
    assert 1e-5 < relative(quantised, expected) < 0.3
    assert relative(edited(model), quantised) > 1e-3, "fusion acts"
