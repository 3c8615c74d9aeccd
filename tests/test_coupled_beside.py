"""Coupled edits of video models beside what other nodes put on the model, and of the models' other kinds."""

import comfy.ops
import comfy.supported_models
import pytest
import torch
from comfy_extras import nodes_easycache, nodes_slg

from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from tiny_video_models import conditioning, wan

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
FUSED = {"cross_until": 1.0, "self_until": 1.0}


@pytest.fixture(scope="module")
def latent():
    return 3 * torch.nn.functional.avg_pool3d(noise(1, 16, 3, 8, 10), 3, 1, 1)


def noise(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def difference(a, b):
    return float((a - b).norm() / b.norm())


@pytest.fixture
def edited(t5_tokens, latent):
    """edited(model, target, given, **settings): the edited latent; given: what every conditioning carries as well."""

    def run(model, target=TARGET, given=None, **settings):
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


def easycache(model):
    return nodes_easycache.EasyCacheNode.execute(model, 3.0, 0.0, 1.0, False).result[0]


def lazycache(model):
    return nodes_easycache.LazyCacheNode.execute(model, 3.0, 0.0, 1.0, False).result[0]


def test_what_skips_rows_works(edited, latent):
    """EasyCache acts, leaves nothing behind, and the same prompt still gives the clip back."""
    model = wan()
    plain, skipping = edited(model, **FUSED), easycache(model)
    first = edited(skipping, **FUSED)
    assert 1e-6 < difference(first, plain) < 1
    assert torch.equal(edited(skipping, **FUSED), first) and torch.equal(edited(model, **FUSED), plain)
    assert difference(edited(skipping, SOURCE, **FUSED), latent) < 1e-5


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
    assert torch.isfinite(guided(3.0)).all() and difference(guided(3.0), plain) > 1e-4
    assert torch.equal(edited(model, cfg=2.0, **FUSED), plain)


def test_a_lora_works(edited, latent):
    model = wan()
    weight = "diffusion_model.blocks.1.self_attn.q.weight"
    changed = model.clone()
    changed.add_patches({weight: ("diff", (noise(96, 96),))}, 0.3)
    plain = edited(model, **FUSED)
    assert difference(edited(changed, **FUSED), plain) > 1e-4
    assert difference(edited(changed, SOURCE, **FUSED), latent) < 1e-5
    assert torch.equal(edited(model, **FUSED), plain), "the next edit without it is as before"


def test_rows_stay_on_one_card(edited):
    """MultiGPU CFG Split leaves clones of the model here; rows on them would not see the clip's row."""
    model, plain = wan(), wan()
    model.model_options["multigpu_clones"] = {}
    assert torch.equal(edited(model, **FUSED), edited(plain, **FUSED))


def as_vace():
    """VACE's own blocks run beside those that we hook."""
    return wan("vace", comfy.supported_models.WAN21_Vace, vace_layers=3, vace_in_dim=96)


def as_fun_control():
    """Wan Fun Control: the control clip comes in as further channels, and a first frame as a picture."""
    return wan("i2v", comfy.supported_models.WAN21_FunControl2V, in_dim=48)


def as_camera():
    return wan("camera", comfy.supported_models.WAN21_Camera, in_dim=32)


def vace(control):
    return {"vace_frames": [torch.cat([control, control], 1)], "vace_mask": [torch.ones(1, 64, 3, 8, 10)]}


def fun_control(control):
    return {"concat_latent_image": torch.cat([control, control], 1)}


def camera(control):
    return {"camera_conditions": control.mean(1, keepdim=True).repeat(1, 24, 1, 8, 8)}


@pytest.mark.parametrize("build, given", [(as_vace, vace), (as_fun_control, fun_control), (as_camera, camera)])
def test_models_that_are_controlled_work(build, given, edited, latent):
    model = build()
    control = given(noise(1, 16, 3, 8, 10, seed=4))
    assert difference(edited(model, SOURCE, control, **FUSED), latent) < 1e-5
    free, fused = edited(model, TARGET, control), edited(model, TARGET, control, **FUSED)
    assert difference(free, latent) > 1e-3 and difference(fused, free) > 1e-3
    other = edited(model, TARGET, given(noise(1, 16, 3, 8, 10, seed=5)))
    assert difference(other, free) > 1e-4, "the control takes part"


class AsGGUF(comfy.ops.manual_cast):
    """Layers that make their weights anew for every call, from eight bits, as those of GGUF files do."""

    class Linear(comfy.ops.manual_cast.Linear):
        def forward(self, x):
            step = self.weight.abs().amax(dim=1, keepdim=True) / 127
            return torch.nn.functional.linear(x, (self.weight / step).round() * step, self.bias)


@pytest.mark.parametrize("held", [{"stored": torch.float8_e4m3fn}, {"operations": AsGGUF}], ids=["fp8", "as GGUF"])
def test_quantised_weights_work(held, edited, latent):
    """Only what passes through the model is read and fused, never a weight."""
    model, exact = wan(**held), wan()
    assert difference(edited(model, SOURCE, **FUSED), latent) < 1e-5
    quantised, expected = edited(model, **FUSED), edited(exact, **FUSED)
    assert 1e-5 < difference(quantised, expected) < 0.3
    assert difference(edited(model), quantised) > 1e-3, "fusion acts"
