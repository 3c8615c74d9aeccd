"""Nodes that people put on the same model: what they do stays theirs, and the edit stays an edit."""

from dataclasses import replace
from types import SimpleNamespace

import comfy.hooks
import comfy.lora
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.patcher_extension import PatcherInjection
from comfy_extras import (
    nodes_easycache,
    nodes_freelunch,
    nodes_hypertile,
    nodes_model_advanced,
    nodes_model_downscale,
    nodes_nag,
    nodes_pag,
    nodes_sag,
    nodes_tomesd,
)
from comfy_extras.nodes_custom_sampler import (
    SamplerDPMPP_2S_Ancestral,
    SamplerEulerAncestral,
    SamplerEulerAncestralCFGPP,
)

from edit_cases import (
    clip_latent,
    conditioning,
    deterministic_samplers,
    edited,
    inverted,
    inverted_noise,
    lora_hook,
    negative,
    prompt_edit,
    random_controlnet,
    sampled,
    small_model,
)
from fatezero_pack.fatezero.edit.edit_check import check_sampler
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.settings import AUTO_CACHE, CACHE, NO_MASK, REPLAY, BlendSettings
from fatezero_pack.fatezero.edit.unet import source_branch
from fatezero_pack.fatezero.edit.unet.chunk_fusion import ChunkFusion
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.edit.unet.strangers import what_changed
from fatezero_pack.fatezero.network.inspection import model_identity
from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint, has_fingerprint
from fatezero_pack.fatezero.network.inspection.other_nodes import ALL_DIGITS, nodes_on
from fatezero_pack.fatezero.network.unet.attention import plain_attention
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.network.unet.walk import transformers
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.fatezero.voice import Voice
from fatezero_pack.nodes.inflate import InflateUNet
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative

EDIT = prompt_edit()
SETTINGS = BlendSettings(Window(0, 1), Window(0, 1), mask_from=NO_MASK, source_attention=REPLAY)
SHUT = BlendSettings(Window(0, 0), Window(0, 0), mask_from=NO_MASK, source_attention=REPLAY)
KEY_FRAMES = [("current", "middle"), ("middle",), ("-1", "first")]


def inflated(model, key_frames=("current", "middle"), at_once=0):
    return sampled_in_chunks(inflate(model, Inflation(key_frames)), at_once)


def pag(model):
    return nodes_pag.PerturbedAttentionGuidance.execute(model, 2.0).result[0]


def sag(model):
    return nodes_sag.SelfAttentionGuidance.execute(model, 0.8, 2.0).result[0]


@pytest.fixture(scope="module")
def clip():
    return clip_latent(frames=3)


@pytest.fixture(scope="module")
def source(clip):
    return inverted(inflated(small_model()), EDIT, clip, schedule="normal")


# Guidance by another self-attention.


@pytest.mark.parametrize("node", [pag, sag])
@pytest.mark.parametrize("key_frames", KEY_FRAMES)
def test_replaced_self_attention_is_each_frames_own(node, key_frames, source):
    """In any order of the nodes, in plain sampling and in an edit."""
    model = small_model()
    plain = sampled(node(inflated(model, key_frames)), source, EDIT)
    assert torch.isfinite(plain).all() and relative(plain, sampled(inflated(model, key_frames), source, EDIT)) > 1e-3
    assert torch.equal(sampled(inflated(node(model), key_frames), source, EDIT), plain)

    base = inflated(model, key_frames)
    run = inverted(base, EDIT, clip_latent(frames=3), schedule="normal")
    blended = sampled(node(blend_attention(base, run, EDIT, SETTINGS)), run, EDIT)
    assert torch.equal(sampled(blend_attention(node(base), run, EDIT, SETTINGS), run, EDIT), blended)
    shut = sampled(node(blend_attention(base, run, EDIT, SHUT)), run, EDIT)
    assert relative(shut, sampled(node(base), run, EDIT)) < 1e-6


def test_pag_keeps_frames_apart_with_one_key_frame(source):
    """PAG's pass gives every place its own value; with the values of a key frame all frames would be alike."""
    seen = []
    model = inflated(small_model(), ("middle",))

    def record(query, key, value, extra):
        seen.append(value)
        return value

    model.set_model_attn1_replace(record, "middle", 0)
    sampled(model, source, EDIT)
    assert not torch.allclose(seen[0][0], seen[0][1], atol=1e-3)
    assert seen[0].shape[0] == 6 and seen[0].shape[1] == 64  # as many values as there are queries


def test_pag_acts_on_transformers_of_several_blocks(source):
    """Where ComfyUI would prefer our hooks on single transformers."""
    deep = small_model(transformer_depth=[1, 2], transformer_depth_middle=2, transformer_depth_output=[1, 1, 2, 2])
    run = inverted(inflated(deep), EDIT, clip_latent(frames=3), schedule="normal")
    shut = sampled(pag(blend_attention(inflated(deep), run, EDIT, SHUT)), run, EDIT)
    assert relative(shut, sampled(pag(deep), run, EDIT)) > 1e-3  # inflated or not
    assert relative(shut, sampled(pag(inflated(deep)), run, EDIT)) < 1e-6
    assert relative(shut, sampled(inflated(deep), run, EDIT)) > 1e-3


def test_chunks_with_pag(source):
    whole = sampled(pag(blend_attention(inflated(small_model()), source, EDIT, SETTINGS)), source, EDIT)
    cut = sampled(pag(blend_attention(inflated(small_model(), at_once=1), source, EDIT, SETTINGS)), source, EDIT)
    assert relative(cut, whole) < 1e-5


def easycache(model):
    return nodes_easycache.EasyCacheNode.execute(model, 0.5, 0.0, 1.0, False).result[0]


@pytest.mark.parametrize("node, name", [(sag, "Self-Attention Guidance"), (easycache, "EasyCache")])
def test_what_remembers_whole_calls_keeps_the_clip_whole(node, name, source, monkeypatch):
    """In chunks it would hold the last chunk's memory for the next one's."""
    expected = sampled(node(inflated(small_model())), source, EDIT)
    monkeypatch.setattr("fatezero_pack.fatezero.network.unet.chunk_size.AUTOMATIC_CELLS", 256)  # one frame at once
    assert relative(sampled(node(inflated(small_model())), source, EDIT), expected) < 1e-6
    with pytest.raises(ValueError, match=f"'frames at once' .* is 1, but {name} .* remembers"):
        sampled(node(inflated(small_model(), at_once=1)), source, EDIT)
    with pytest.raises(ValueError, match=f"{name} .* remembers"):
        sampled(node(blend_attention(inflated(small_model(), at_once=1), source, EDIT, SETTINGS)), source, EDIT)


# Who is the picture's own positive.


def nag(model):
    return nodes_nag.NAGuidance.execute(model, 5.0, 0.5, 1.5).result[0]


def test_nag_acts_on_the_edit(source, monkeypatch):
    """Joined or apart, from a cache or not."""
    model = inflated(small_model())
    joined = sampled(nag(blend_attention(model, source, EDIT, SETTINGS)), source, EDIT)
    assert relative(joined, sampled(blend_attention(model, source, EDIT, SETTINGS), source, EDIT)) > 1e-2
    kept = BlendSettings(Window(0, 1), Window(0, 1), mask_from=NO_MASK, source_attention=AUTO_CACHE)
    for _ in range(2):
        assert relative(sampled(nag(blend_attention(model, source, EDIT, kept)), source, EDIT), joined) < 1e-5
    monkeypatch.setattr(source_branch, "can_join", lambda *_: False)
    assert relative(sampled(nag(blend_attention(model, source, EDIT, SETTINGS)), source, EDIT), joined) < 1e-5


def with_area(conds):
    return [[embedding, {**options, "area": (16, 16, 0, 0), "strength": 1.0}] for embedding, options in conds]


def test_an_area_on_the_negative(source):
    model = inflated(small_model())

    def run(positive, negatives):
        guider = comfy.samplers.CFGGuider(blend_attention(model, source, EDIT, SETTINGS))
        guider.set_conds(positive, negatives)
        guider.set_cfg(5.0)
        noise = inverted_noise(model, source)
        return guider.sample(
            torch.zeros_like(noise),
            noise,
            comfy.samplers.sampler_object("euler"),
            source.sigmas.flip(0),
            disable_pbar=True,
        )

    expected = run(conditioning(EDIT.target), negative())
    assert relative(run(conditioning(EDIT.target), with_area(negative())), expected) < 1e-5

    beyond = (16, 16, 0, 40)  # begins outside the picture
    for half in ((8, 16, 0, 0), ("percentage", 0.5, 1.0, 0.0, 0.0), ("percentage", 1.0, 1.0, 0.5, 0.0), beyond):
        with pytest.raises(ValueError, match="negative is limited to an area"):
            run(conditioning(EDIT.target), [[negative()[0][0], {"area": half}]])


# LoRAs for one prompt.


def hooked(conds, hooks):
    return comfy.hooks.set_hooks_for_conditioning(conds, hooks)


def queries(model, source, positive, negatives=None):
    """The source's queries of each fused layer and step, as an edit reads them."""
    seen = []
    read = ChunkFusion.read_layer

    def record(self, layer, query, key, extra):
        row = self.source_row(query, extra)
        if row is not None:
            seen.append(row.clone())
        return read(self, layer, query, key, extra)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkFusion, "read_layer", record)
        guider = comfy.samplers.CFGGuider(blend_attention(model, source, EDIT, SETTINGS))
        guider.set_conds(positive, negatives or negative())
        guider.set_cfg(5.0)
        noise = inverted_noise(model, source)
        sampler = comfy.samplers.sampler_object("euler")
        guider.sample(torch.zeros_like(noise), noise, sampler, source.sigmas.flip(0), disable_pbar=True)
    return seen


def test_the_source_keeps_its_own_lora(clip):
    """Whatever LoRA the target has: none, the same file's, another's."""
    model = inflated(small_model())
    source = inverted(
        model, EDIT, clip, schedule="normal", conditioning=hooked(conditioning(EDIT.source), lora_hook(model))
    )
    shared = source.conditioning[0][1]["hooks"]
    target = conditioning(EDIT.target)
    expected = queries(model, source, hooked(target, shared), hooked(negative(), shared))
    plain = inverted(model, EDIT, clip, schedule="normal")
    assert relative(queries(model, plain, target)[-1], expected[-1]) > 1e-2  # the LoRA does something
    for positive in (target, hooked(target, lora_hook(model)), hooked(target, lora_hook(model, seed=1))):
        seen = queries(model, source, positive)
        assert len(seen) == len(expected)
        assert max(relative(one, other) for one, other in zip(seen, expected)) < 1e-5


def test_a_lora_for_the_target_is_never_read_from_the_cache(source):
    model = inflated(small_model())
    positive = hooked(conditioning(EDIT.target), lora_hook(model))
    kept = BlendSettings(Window(0, 1), Window(0, 1), mask_from=NO_MASK, source_attention=AUTO_CACHE)

    def run(settings):
        return sampled(blend_attention(model, source, EDIT, settings), source, EDIT, positive=positive)

    expected = run(SETTINGS)
    for _ in range(2):
        assert relative(run(kept), expected) < 1e-5
    edited(model, source, EDIT, kept)  # without the LoRA, which fills the cache
    assert relative(run(kept), expected) < 1e-5
    with pytest.raises(ValueError, match="'keep attention' is cache, but a conditioning has hooks"):
        run(BlendSettings(Window(0, 1), Window(0, 1), mask_from=NO_MASK, source_attention=CACHE))


def test_keyframes_at_inversion_are_refused():
    """ComfyUI's and Advanced-ControlNet's expect falling sigmas."""
    model = small_model()
    hooks = lora_hook(model)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for start in (0.0, 0.5):
        keyframes.add(comfy.hooks.HookKeyframe(strength=1.0 - start, start_percent=start))
    hooks.set_keyframes_on_hooks(keyframes)
    control = random_controlnet(1.0)
    control.timestep_keyframes = keyframes
    for conds in (
        hooked(conditioning(EDIT.source), hooks),
        conditioning(EDIT.source, control=control, control_apply_to_uncond=False),
    ):
        with pytest.raises(ValueError, match="^DDIM Invert .*'source conditioning' has keyframes"):
            Invert.execute(model, conds, {"samples": clip_latent()}, 2, OFFICIAL)


def test_a_range_of_all_steps_at_inversion_is_no_range(clip):
    """As prompt-control gives out every prompt."""

    def run(**options):
        return Invert.execute(
            small_model(), conditioning(EDIT.source, **options), {"samples": clip}, 2, OFFICIAL, reuse=False
        ).result[0]["samples"]

    assert torch.equal(run(start_percent=0.0, end_percent=1.0), run())
    for part in ({"start_percent": 0.1, "end_percent": 1.0}, {"start_percent": 0.0, "end_percent": 0.9}):
        with pytest.raises(ValueError, match="^DDIM Invert .*limited to a part of the steps"):
            run(**part)


def with_bypassed_lora(model, seed=0, strength=1.0):
    """As Load LoRA (Bypass) hangs it into the network."""
    draw, weights = torch.Generator().manual_seed(seed), {}
    for layer in ("attn1.to_q", "attn2.to_v"):
        name = f"diffusion_model.middle_block.1.transformer_blocks.0.{layer}"
        height, width = model.model.state_dict()[f"{name}.weight"].shape
        weights[f"{name}.lora_up.weight"] = torch.randn(height, 4, generator=draw)
        weights[f"{name}.lora_down.weight"] = torch.randn(4, width, generator=draw)
    return comfy.sd.load_bypass_lora_for_models(model, None, weights, strength, 0.0)[0]


def test_another_bypassed_lora_is_told():
    model = small_model()
    source = inverted(with_bypassed_lora(model), EDIT)
    assert what_changed(with_bypassed_lora(model), source) == []
    for other in (with_bypassed_lora(model, strength=0.1), with_bypassed_lora(model, seed=1)):
        assert what_changed(other, source) == [
            "Load LoRA (Bypass) has other values than at the inversion: the source is replayed with those of now"
        ]


# Samplers.


def test_samplers_that_add_noise_are_refused_by_name():
    """Also those of RES4LYF, which keep their `eta` to themselves."""

    def sample_rk_beta(model, x, sigmas, extra_args=None, callback=None, disable=None, rk_type="res_2m", eta=0.5):
        return x

    module = SimpleNamespace(sample_rk_beta=sample_rk_beta)

    def hands_on(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return module.sample_rk_beta(model, x, sigmas, extra_args, callback, disable, rk_type="res_2m")

    hands_on.__name__ = "sample_res_2m"
    silent = {"eta": 0.0, "eta_substep": 0.0, "etas": torch.zeros(9), "etas_substep": torch.zeros(9)}
    for function, options in (
        (sample_rk_beta, {}),
        (sample_rk_beta, {"eta": 0.2}),
        (sample_rk_beta, {"eta": 0.0, "eta_substep": 0.5}),
        (sample_rk_beta, {**silent, "etas": torch.tensor([0.0, 0.5, 0.0])}),
        (sample_rk_beta, {**silent, "etas_substep": torch.tensor([0.0, 0.5, 0.0])}),
        (hands_on, {}),
    ):
        with pytest.raises(ValueError, match=f"the sampler {function.__name__[7:]} adds random noise .*choose euler"):
            check_sampler(comfy.samplers.KSAMPLER(function, options))
    hands_on.__name__ = "sample_res_2m_ode"
    for function, options in ((sample_rk_beta, {"eta": 0.0}), (sample_rk_beta, silent), (hands_on, {})):
        check_sampler(comfy.samplers.KSAMPLER(function, options))
    for node in (SamplerEulerAncestral, SamplerEulerAncestralCFGPP, SamplerDPMPP_2S_Ancestral):
        check_sampler(node.execute(eta=0.0, s_noise=1.0).result[0])
        with pytest.raises(ValueError, match=r"choose euler \(or set its 'eta' and 'eta_substep' to 0\)\.$"):
            check_sampler(node.execute(eta=0.5, s_noise=1.0).result[0])
    for name in ("er_sde", "sa_solver"):  # which have no eta
        with pytest.raises(ValueError, match=rf"the sampler {name} adds random noise .*; choose euler\.$"):
            check_sampler(comfy.samplers.sampler_object(name))
    passing = deterministic_samplers()
    assert {"euler", "ddim", "heun", "dpm_2", "dpm_fast", "dpm_adaptive", "dpmpp_2m", "res_multistep"} <= set(passing)
    assert not {"er_sde", "seeds_2", "sa_solver", "euler_ancestral", "dpmpp_sde"} & set(passing)


# The edit's positive.


def told(run):
    """What a run shows on its node."""
    texts = []
    voice = Voice("Attention Blend", texts.append)
    run(voice)
    return texts[-1]


def test_a_positive_of_other_words_is_told(source):
    model = inflated(small_model())

    def run(positive):
        return told(
            lambda voice: sampled(
                blend_attention(model, source, EDIT, SETTINGS, voice), source, EDIT, positive=positive
            )
        )

    plain = [[conditioning(EDIT.target)[0][0], {}]]
    assert "the positive is not from Edit Prompts: its words are taken to be" in run(plain)
    assert "Edit Prompts" not in run(conditioning(EDIT.target))
    with pytest.raises(ValueError, match="154 tokens .* has 77"):
        run([[torch.cat([plain[0][0]] * 2, dim=1), {}]])


def test_a_negative_that_takes_the_guidance_away_is_told(source):
    model, target = inflated(small_model()), conditioning(EDIT.target)

    def run(negative, cfg=4.0):
        return told(
            lambda voice: sampled(
                blend_attention(model, source, EDIT, SETTINGS, voice), source, EDIT, avoided=negative, cfg=cfg
            )
        )

    assert "! positive and negative are both the target prompt, so that 'cfg' does nothing" in run(target)
    assert "both the target" not in run(conditioning(EDIT.source))
    assert "both the target" not in run(target, cfg=1.0), "where it is not used"


def test_every_run_tells_also_what_the_run_before_has_told(source):
    """The page forgets what was told when it is opened anew, and another client has never heard it."""
    texts = []
    blended = blend_attention(inflated(small_model()), source, EDIT, SETTINGS, Voice("Attention Blend", texts.append))
    for runs in (1, 2, 3):
        sampled(blended, source, EDIT)
        assert len(texts) == runs
    assert texts[1] == texts[2]


# What is told apart before work starts.


def tome(model):
    return nodes_tomesd.TomePatchModel.execute(model, 0.3).result[0]


def hypertile(model):
    found = nodes_hypertile.HyperTile.execute(model, 32, 2, 0, False)
    return found[0] if isinstance(found, tuple) else found.result[0]


@pytest.mark.parametrize("node, name", [(tome, "ToMe"), (hypertile, "HyperTile")])
def test_what_merges_queries_is_refused_at_the_first_node(node, name, source, clip):
    model = node(small_model())
    with pytest.raises(ValueError, match=f"^Inflate UNet .* carries {name}.*remove {name}"):
        InflateUNet.execute(model, "all")
    with pytest.raises(ValueError, match=f"^DDIM Invert .* carries {name}"):
        Invert.execute(model, conditioning(EDIT.source), {"samples": clip}, 2, OFFICIAL)
    with pytest.raises(ValueError, match=f"carries {name}"):
        sampled(node(blend_attention(inflated(small_model()), source, EDIT, SETTINGS)), source, EDIT)


class SharedAttentionProcessor:
    """Of the name of StyleAligned's patch."""

    def __call__(self, query, key, value, extra):
        return query, key, value


class HyperTileInspire:
    """Of the name of the Inspire Pack's node."""

    def patch(self):
        return lambda query, key, value, extra: (query, key, value)


@pytest.mark.parametrize(
    "patch, name", [(SharedAttentionProcessor(), "StyleAligned"), (HyperTileInspire().patch(), "HyperTile")]
)
def test_other_packs_nodes_that_do_are_known(patch, name):
    model = small_model()
    model.set_model_attn1_patch(patch)
    with pytest.raises(ValueError, match=f"^Inflate UNet .* carries {name}.*remove {name}"):
        InflateUNet.execute(model, "all")


class OtherTransformer(BasicTransformerBlock):
    """As packs put over a checkpoint's own transformers (Veevee)."""


def test_a_unet_with_another_packs_attention_is_refused(clip):
    model = small_model()
    for transformer in transformers(model.model.diffusion_model):
        transformer.__class__ = OtherTransformer
    for run in (
        lambda: InflateUNet.execute(model, "all"),
        lambda: Invert.execute(model, conditioning(EDIT.source), {"samples": clip}, 2, OFFICIAL),
    ):
        with pytest.raises(ValueError, match=r"attention layers of 'model' are another pack's \(OtherTransformer\)"):
            run()


@pytest.mark.parametrize("kind", ["SVD_img2vid", "SDXLRefiner", "SD_X4Upscaler", "Stable_Zero123"])
def test_other_unets_are_named(kind, clip):
    """By the class that ComfyUI gives the model."""
    model = small_model()
    model.model.__class__ = type(kind, (type(model.model),), {})
    for run in (
        lambda: InflateUNet.execute(model, "all"),
        lambda: Invert.execute(model, conditioning(EDIT.source), {"samples": clip}, 2, OFFICIAL),
    ):
        with pytest.raises(ValueError, match="'model' is (Stable|the).*; load an SD 1.x"):
            run()


def test_unknown_input_channels_are_refused():
    with pytest.raises(ValueError, match="'model' reads 7 channels instead of 4"):
        InflateUNet.execute(small_model(in_channels=7), "all")


# Model sampling.


def model_sampling(model, kind="eps", zsnr=False):
    found = nodes_model_advanced.ModelSamplingDiscrete().patch(model, kind, zsnr)
    return found[0]


def test_a_model_sampling_that_changes_nothing_is_accepted(source):
    model = inflated(small_model())
    expected = sampled(blend_attention(model, source, EDIT, SETTINGS), source, EDIT)
    same = sampled(blend_attention(model_sampling(model), source, EDIT, SETTINGS), source, EDIT)
    assert relative(same, expected) < 1e-6
    for kind, zsnr in (("v_prediction", False), ("eps", True), ("lcm", False)):
        with pytest.raises(ValueError, match="is not the one the source was inverted with"):
            sampled(blend_attention(model_sampling(model, kind, zsnr), source, EDIT, SETTINGS), source, EDIT)


def test_a_file_written_with_the_sampling_node_still_matches():
    """Version 0.1.0 took the node's class into the fingerprint."""
    model = model_sampling(small_model())
    before = model_identity._fingerprint(model, model.get_model_object("model_sampling"))
    assert before != fingerprint(model) == fingerprint(small_model())
    assert has_fingerprint(model, before) and not has_fingerprint(small_model(seed=1), before)


# Sizes that change on the way.


def deep_shrink(model, factor):
    arguments = (1, factor, 0.0, 0.6, True, "bicubic", "bicubic")
    return nodes_model_downscale.PatchModelAddDownscale.execute(model, *arguments).result[0]


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_deep_shrink_at_inversion_and_edit(factor, clip):
    """Its word maps are smaller in some steps, and the mask layers are the same in all."""
    model = inflated(deep_shrink(small_model(), factor))
    source = inverted(model, EDIT, clip, schedule="normal")
    plain = inverted(inflated(small_model()), EDIT, clip, schedule="normal")
    assert source.word_maps.shape == plain.word_maps.shape
    assert relative(source.trajectory[-1], plain.trajectory[-1]) > 1e-3
    blended = sampled(blend_attention(model, source, EDIT, PRESETS["attribute"]), source, EDIT)
    assert torch.isfinite(blended).all()
    assert (
        relative(sampled(blend_attention(model, source, EDIT, SHUT), source, EDIT), sampled(model, source, EDIT)) < 1e-6
    )


# Motion modules, as AnimateDiff-Evolved puts them on a model.


def with_motion(model, context_length=None):
    model = model.clone()
    model.set_injections("ADE", [PatcherInjection(inject=lambda patcher: None, eject=lambda patcher: None)])
    options = SimpleNamespace(context_length=context_length)
    model.set_attachments("ADE_params", SimpleNamespace(context_options=options))
    return model


def test_a_motion_module_keeps_the_clip_whole(source, clip):
    model = with_motion(inflated(small_model(), at_once=2))
    with pytest.raises(ValueError, match="^DDIM Invert .*'frames at once' .* is 2, but a motion module"):
        Invert.execute(model, conditioning(EDIT.source), {"samples": clip}, 2, OFFICIAL)
    with pytest.raises(ValueError, match="'frames at once' .* is 2, but a motion module"):
        sampled(blend_attention(model, source, EDIT, SETTINGS), source, EDIT)
    whole = with_motion(inflated(small_model()), context_length=16)
    assert torch.isfinite(sampled(blend_attention(whole, source, EDIT, SETTINGS), source, EDIT)).all()


def test_animatediffs_context_options_are_refused(source, clip):
    model = with_motion(small_model(), context_length=2)
    with pytest.raises(ValueError, match="^DDIM Invert .*context options of 2 frames, which cut the clip of 3"):
        Invert.execute(model, conditioning(EDIT.source), {"samples": clip}, 2, OFFICIAL)
    model = with_motion(inflated(small_model()), context_length=2)
    with pytest.raises(ValueError, match="context options of 2 frames"):
        sampled(blend_attention(model, source, EDIT, SETTINGS), source, EDIT)


# What is on the model at the edit alone.


def freeu(model):
    return nodes_freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2).result[0]


class Attn2Replace:
    """Adds to cross-attention's output, as IPAdapter does."""

    def __init__(self, **settings):
        self.kwargs = [settings]

    def __call__(self, query, key, value, extra):
        return plain_attention(query, key, value, extra) + query.mean(dim=1, keepdim=True)


def ipadapter(model):
    model = model.clone()
    for block in (("middle", 0), ("output", 1)):
        model.set_model_attn2_replace(Attn2Replace(), *block)
    return model


@pytest.mark.parametrize("node, name", [(freeu, "FreeU_V2"), (ipadapter, "IPAdapter")])
@pytest.mark.parametrize("at_once", [0, 1])
def test_the_source_is_free_of_what_is_new(node, name, at_once, source):
    """Its queries are those of its inversion, the edit has the node, and the person is told."""
    model = inflated(small_model(), at_once=at_once)
    positive = conditioning(EDIT.target)
    expected, seen = queries(model, source, positive), queries(node(model), source, positive)
    assert len(seen) == len(expected) and max(map(relative, seen, expected)) < 1e-5
    told_now = told(lambda voice: sampled(blend_attention(node(model), source, EDIT, SETTINGS, voice), source, EDIT))
    assert f"{name} was not on the model at the inversion: the source is replayed without it" in told_now
    edits = [sampled(blend_attention(one, source, EDIT, SETTINGS), source, EDIT) for one in (model, node(model))]
    assert relative(*edits) > 1e-3
    after = sampled(node(blend_attention(model, source, EDIT, SETTINGS)), source, EDIT)
    assert torch.equal(after, edits[1])


@pytest.mark.parametrize("node, name", [(freeu, "FreeU_V2"), (ipadapter, "IPAdapter")])
def test_the_source_keeps_what_was_there(node, name, clip, tmp_path):
    """Also from a file; and what has gone is told."""
    model = inflated(node(small_model()))
    run = inverted(model, EDIT, clip, schedule="normal")
    write_source(str(tmp_path / "run.safetensors"), run)
    for source in (run, read_source(str(tmp_path / "run.safetensors"))):
        assert list(source.made_with) == [name] and what_changed(model, source) == []
        gone = what_changed(inflated(small_model()), source)
        assert gone == [f"{name} was on the model at the inversion, and is not now: the source is replayed without it"]


def other_freeu(model):
    return nodes_freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.3).result[0]


def weighted_ipadapter(weight, picture=1.0):
    def node(model):
        model = model.clone()
        model.set_model_attn2_replace(Attn2Replace(weight=weight, cond=torch.full((4, 8), picture)), "middle", 0)
        return model

    return node


@pytest.mark.parametrize(
    "before, now, name",
    [
        (freeu, other_freeu, "FreeU_V2"),
        (lambda model: deep_shrink(model, 2.0), lambda model: deep_shrink(model, 1.5), "Kohya Deep Shrink"),
        (weighted_ipadapter(0.5), weighted_ipadapter(0.6), "IPAdapter"),
        (weighted_ipadapter(0.5), weighted_ipadapter(0.5, picture=0.9), "IPAdapter"),
    ],
)
def test_other_values_than_at_the_inversion_are_told(before, now, name, clip, tmp_path):
    model = inflated(small_model())
    source = inverted(before(model), EDIT, clip, schedule="normal")
    write_source(str(tmp_path / "run.safetensors"), source)
    for run in (source, read_source(str(tmp_path / "run.safetensors"))):
        assert what_changed(before(model), run) == []
        told_now = f"{name} has other values than at the inversion: the source is replayed with those of now"
        assert what_changed(now(model), run) == [told_now]


def test_the_last_digits_of_values_do_not_count(clip):
    """A GPU computes others than a CPU. Files of before hold all digits."""
    model = weighted_ipadapter(1 / 3)(inflated(small_model()))
    source = inverted(model, EDIT, clip, schedule="normal")
    assert what_changed(weighted_ipadapter(1 / 3 + 3e-8, picture=1 - 6e-8)(inflated(small_model())), source) == []
    exactly = nodes_on(model, ALL_DIGITS)
    assert exactly != source.made_with and what_changed(model, replace(source, made_with=exactly)) == []


def test_deep_shrink_at_the_edit_alone_is_told(source):
    model = deep_shrink(inflated(small_model()), 2.0)
    told_now = told(lambda voice: sampled(blend_attention(model, source, EDIT, SETTINGS, voice), source, EDIT))
    assert "Kohya Deep Shrink was not on the model at the inversion, and changes sizes: the source is" in told_now
    assert "replayed through it" in told_now


def test_files_of_before_do_not_say_what_was_there(source):
    assert what_changed(freeu(small_model()), replace(source, made_with=None)) == []
    for guidance in (nag, pag, sag):
        assert what_changed(guidance(inflated(small_model())), source) == []


def test_a_model_is_known_while_motion_modules_stand_in_it():
    """AnimateDiff puts its modules among the UNet's own layers while it samples, which moves their numbers."""
    model = small_model()
    known = fingerprint(model)

    def inject(patcher):
        patcher.model.diffusion_model.middle_block.insert(1, torch.nn.Identity())

    def eject(patcher):
        del patcher.model.diffusion_model.middle_block[1]

    model.set_injections("motion", [PatcherInjection(inject, eject)])
    model.inject_model()
    layers = len(model.model.diffusion_model.middle_block)
    assert fingerprint(model) == known
    assert len(model.model.diffusion_model.middle_block) == layers and model.is_injected
    model.eject_model()
