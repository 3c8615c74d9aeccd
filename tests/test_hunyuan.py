"""HunyuanVideo in small, with random weights: prompt and clip in one attention, prompts of their own lengths."""

from dataclasses import replace

import comfy.samplers
import comfy.supported_models
import pytest
import torch

from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, INPUT_MASK
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
)
from fatezero_pack.fatezero.edit.transformer.video_check import unlike_guidance_note
from fatezero_pack.fatezero.masks.clip_look import look_for_words
from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint, has_fingerprint
from fatezero_pack.fatezero.network.option_keys import TOKENS
from fatezero_pack.fatezero.network.transformer.families import HUNYUAN, family_of, require_family
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.edit_prompts import EditPrompts
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative
from oracles.stored_joint_maps import REFINER, StoredJointMaps
from tiny_video_models import conditioning, hunyuan, hunyuan_text_encoder, patcher

SOURCE, SAME_LENGTH = "a red circle on green grass", "a blue square on green grass"
LONGER, SHORTER = "a red cat and blue dog in white snow", "snow"
TARGETS = [SAME_LENGTH, LONGER, SHORTER]
STEPS = 3
SHAPE = (1, 16, 3, 8, 10)


@pytest.fixture(scope="module")
def model():
    return hunyuan()


@pytest.fixture(scope="module")
def latent():
    random = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    return 3 * torch.nn.functional.avg_pool3d(random, 3, 1, 1)


@pytest.fixture
def prompt(t5_tokens):
    """prompt(text): its PromptTokens and CONDITIONING without padding, as HunyuanVideo's text encoder gives them."""

    def make(text):
        padded = t5_tokens(text)
        tokens = replace(padded, ids=padded.ids[: padded.end + 1], weights=padded.weights[: padded.end + 1])
        ((embedding, _),) = conditioning(tokens)
        pooled = torch.randn(1, 32, generator=torch.Generator().manual_seed(len(text)))
        return tokens, [[embedding, {"pooled_output": pooled, TOKENS: tokens}]]

    return make


@pytest.fixture
def edited(model, latent, prompt):
    """edited(target, negative, cfg, patched, **CoupledSettings): the edited latent."""

    def run(target, negative=SHORTER, cfg=1.0, patched=None, **settings):
        (source, source_cond), (aimed, positive), (_, away) = map(prompt, (SOURCE, target, negative))
        guider = CoupledGuider(
            patched or model, make_prompt_edit(source, aimed), CoupledSettings(**settings), STEPS
        )  # fmt: skip
        guider.set_prompts(source_cond, positive, away, cfg)
        sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(5)), range(STEPS))
        return guider.sample(torch.zeros(SHAPE), latent, sampler, sigmas(model), disable_pbar=True, seed=5)

    return run


def sigmas(model):
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)


@pytest.mark.parametrize("settings", [{"cross_until": 0.0}, {}, {"cross_until": 1.0, "self_until": 1.0}])
def test_the_same_prompt_gives_the_clip_back(edited, latent, settings):
    assert relative(edited(SOURCE, **settings), latent) < 1e-5
    assert relative(edited(LONGER, **settings), latent) > 1e-2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("words, picture", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fusion_equals_stored_maps(model, latent, edited, prompt, target, words, picture):
    """Where nothing is fused, this is the edit with each prompt in a call of its own length."""
    (source, source_cond), (aimed, positive) = prompt(SOURCE), prompt(target)
    guider = comfy.samplers.CFGGuider(model.clone())
    guider.set_conds(positive, source_cond)
    by_maps = StoredJointMaps(make_prompt_edit(source, aimed), words, picture, seed=5)
    stored = guider.sample(torch.zeros(SHAPE), latent, by_maps, sigmas(model), disable_pbar=True, seed=0)
    assert by_maps.calls == REFINER + 4
    assert relative(edited(target, cross_until=words, self_until=picture), stored) < 1e-5
    free = edited(target, cross_until=0.0)
    assert (relative(free, stored) > 1e-3) == bool(words or picture)


def test_guidance_by_a_negative_of_another_length(edited, latent):
    assert relative(edited(LONGER, cfg=3.0), edited(LONGER)) > 1e-3
    assert relative(edited(SOURCE, negative=SOURCE, cfg=3.0), latent) < 1e-5


def test_a_mask_in_the_picture_frees_its_self_attention(model, latent, edited, prompt):
    """Within joint attention: 1 is the edit's own, 0 the source's."""
    fused, free = edited(LONGER, cross_until=0.0, self_until=1.0), edited(LONGER, cross_until=0.0)
    (source, source_cond), (aimed, positive) = prompt(SOURCE), prompt(LONGER)

    def with_mask(value):
        guider = CoupledGuider(model, make_prompt_edit(source, aimed), CoupledSettings(0.0, 1.0), STEPS)
        guider.row.fusion.own = torch.full((1, 3 * 4 * 5), value)
        guider.set_prompts(source_cond, positive, positive, 1.0)
        sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(5)), range(STEPS))
        return guider.sample(torch.zeros(SHAPE), latent, sampler, sigmas(model), disable_pbar=True, seed=5)

    assert relative(with_mask(1.0), free) < 1e-5 and relative(with_mask(0.0), fused) < 1e-5
    assert relative(with_mask(0.5), free) > 1e-4 and relative(with_mask(0.5), fused) > 1e-4


def test_words_are_read_from_the_joint_attention(model, latent, prompt):
    tokens, source = prompt(SOURCE)
    maps = look_for_words(model, family_of(model), source, latent, tokens=tokens.end + 1)
    assert maps.shape == (3, tokens.end + 1, 4, 5) and maps.min() > 0
    words = maps.sum(dim=1)
    assert words.max() < 1, "the clip's own places have the rest"
    held = {}

    def stored(function, query, key, value, heads, mask=None, *args, **named):
        held.setdefault("calls", []).append((query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1))
        return function(query, key, value, heads, mask, *args, **named)

    watched = model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = stored
    look_for_words(watched, family_of(model), source, latent, tokens=tokens.end + 1)
    text = tokens.length
    by_hand = torch.stack([call[0, :, text:, :text].mean(dim=0) for call in held["calls"][REFINER:]]).mean(dim=0)
    assert relative(maps, by_hand.unflatten(0, (3, 4, 5)).permute(0, 3, 1, 2)) < 1e-5


def test_the_nodes_edit(model, latent, prompt):
    (source, source_cond), (aimed, positive) = prompt(SOURCE), prompt(LONGER)
    edit, away = make_prompt_edit(source, aimed), prompt(SHORTER)[1]
    given = {"steps": 3, "cfg": 1.5, "scheduler": "simple", "seed": 0, "cross_until": 0.4, "self_until": 0.0}
    wires = model, edit, source_cond, positive, away, {"samples": latent}
    coupled = CoupledEditSampler.execute(*wires, **given, skip=0.0, drift=0.0, mask_from="words", mask_threshold=0.9)
    assert 0 < float((coupled.args[0]["samples"] == latent).float().mean()) < 1
    inverting = {"model": model, "source": source_cond, "latent": {"samples": latent}, "steps": 3}
    run = Invert.execute(**inverting, schedule="simple").args[1]
    assert (run.cell.pixels, run.cell.frames, run.clip_frames) == (8, 4, 9)
    preset = {"preset": "attribute", "mask_from": "off", "latent_blend": False}

    def blended(edit, positive, **changes):
        given = {"preset": {**preset, **changes}, "attention_from": FAST_RECONSTRUCTION, "mask": torch.zeros(9, 64, 80)}
        return AttentionBlendSampler.execute(model, run, edit, positive, away, 1.0, **given).args[0]["samples"]

    again = reconstruct(model, run, disable_pbar=True)
    assert relative(blended(make_prompt_edit(source, source), source_cond), again) < 1e-5
    assert relative(blended(edit, positive), again) > 1e-3
    held = blended(edit, positive, mask_from=INPUT_MASK, latent_blend=True, latent_from=0.0, latent_until=1.0)
    assert relative(held, again) < 1e-4


@pytest.mark.parametrize("of_clip, of_edit, is_told", [(None, None, False), (1.0, 1.0, False), (None, 1.0, True)])
def test_guidance_on_one_prompt_alone_is_told(model, prompt, of_clip, of_edit, is_told):
    (_, source), (_, positive) = map(prompt, (SOURCE, SAME_LENGTH))
    for conds, guidance in ((source, of_clip), (positive, of_edit)):
        conds[0][1].update({} if guidance is None else {"guidance": guidance})
    note = unlike_guidance_note(model, source, positive)
    assert (note is not None) == is_told
    if is_told:
        assert "'positive' has the guidance 1 (FluxGuidance) and the clip's own prompt 6" in note


@pytest.fixture(scope="module")
def clip():
    return hunyuan_text_encoder()


def test_words_own_their_tokens(clip):
    """Of ComfyUI's own tokenizer, which puts the prompt into a chat."""
    prompt = tokenize_prompt(clip, "a red circle, on green grass")
    assert prompt.is_t5 and prompt.ids == ("a", "red", "circle", ",", "on", "green", "grass", "<|eot_id|>")
    assert [word.text for word in prompt.words] == "a red circle , on green grass".split()
    assert prompt.end == prompt.length - 1 and not prompt.chunks[0].padding
    names = tokenize_prompt(clip, 'Spider-Man at 16:9, "zürich" 🦊 日本語 fox')
    assert [word.text for word in names.words] == ["Spider-Man", "at", "16", ":", "9", ",", '"', "zürich", '"', "🦊",
                                                   "日本", "語", "fox"]  # fmt: skip
    owned = [index for word in names.words for index in word.indices]
    assert owned == list(range(names.end))
    weighted = tokenize_prompt(clip, "a (red:1.5) circle")
    assert weighted.weight(weighted.words[1]) == pytest.approx(1.5)
    plain = tokenize_prompt(clip, "a red circle")
    assert [weighted.word_ids(word) for word in weighted.words] == [plain.word_ids(word) for word in plain.words]
    edit = make_prompt_edit(tokenize_prompt(clip, "circle on grass"), tokenize_prompt(clip, "red circle on grass"))
    assert "+ red" in edit.summary() and "= circle on grass" in edit.summary(), "the first word is found again"


def test_what_the_tokenizer_does_not_read_is_refused(clip, monkeypatch):
    with pytest.raises(Refusal, match="'target prompt' begins with an empty line; delete it"):
        tokenize_prompt(clip, "\na circle", "target prompt")
    llama = clip.tokenizer.llama.tokenizer
    whole = llama.decode
    monkeypatch.setattr(llama, "decode", lambda ids, **options: whole(ids, **options).replace(" ", ""))
    with pytest.raises(Refusal, match="'clip' reads 'prompt' as \"aredcircle\", .*; install transformers 4.57"):
        tokenize_prompt(clip, "a red circle")


def test_edit_prompts_and_the_node_edit_with_hunyuans_own_text_encoder(model, latent, clip):
    def edited(target, **settings):
        source, positive, edit, table = EditPrompts.execute(clip, SOURCE, target, "auto", "", "", "", "").args
        assert source[0][0].shape == (1, 7, 48) and source[0][1]["pooled_output"].shape == (1, 32)
        given = {"steps": 3, "cfg": 1.0, "scheduler": "simple", "seed": 0, "cross_until": 0.4, "self_until": 0.0}
        wires = model, edit, source, positive, source, {"samples": latent}
        return CoupledEditSampler.execute(*wires, **{**given, "skip": 0.0, "drift": 0.0, **settings}).args[0]["samples"]

    assert relative(edited(SOURCE), latent) < 1e-5
    assert relative(edited(LONGER), latent) > 1e-2 and relative(edited(LONGER, cfg=2.0), latent) > 1e-2


def test_two_checkpoints_are_told_apart(model):
    other = hunyuan()
    assert has_fingerprint(other, fingerprint(model))
    for name, parameter in other.model.diffusion_model.named_parameters():
        if "query_norm" in name:
            parameter.data = 1.1 * parameter.data
    assert not has_fingerprint(other, fingerprint(model))


@pytest.mark.parametrize(
    "kind, changes",
    [
        (comfy.supported_models.HunyuanVideo15, {"vision_in_dim": 1152, "use_cond_type_embedding": True}),
        (comfy.supported_models.HunyuanVideoI2V, {"in_channels": 33}),
        (comfy.supported_models.HunyuanVideo, {"byt5": True}),
    ],
)
def test_its_other_kinds_are_refused_by_name(kind, changes):
    """They read pictures or a second prompt beside the prompt."""
    other = hunyuan(kind, **changes)
    named = type(other.model).__name__
    with pytest.raises(Refusal, match=f"'model' is a {named}, but this node edits with .* and HunyuanVideo; for SD"):
        require_family(other)


def test_flux_is_refused_by_name():
    config = {"image_model": "flux", "in_channels": 16, "vec_in_dim": 32, "context_in_dim": 48, "hidden_size": 96}
    config |= {"mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [16, 16, 16]}
    config |= {"theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": False, "out_channels": 16}
    config["txt_ids_dims"] = []
    flux = patcher(comfy.supported_models.Flux(config))
    with pytest.raises(Refusal, match="'model' is a Flux, but this node edits with Wan 2.1, Wan 2.2, LTX-Video and"):
        require_family(flux)


def test_nothing_stays_on_the_model(model, edited):
    assert family_of(model) is HUNYUAN
    hooks = str(model.model_options)
    once = edited(LONGER, cross_until=1.0, self_until=1.0)

    def fail(*_, **__):
        raise RuntimeError("in the middle")

    patched = model.clone()
    patched.model_options["model_function_wrapper"] = fail
    with pytest.raises(RuntimeError):
        edited(LONGER, patched=patched)
    assert str(model.model_options) == hooks
    assert torch.equal(edited(LONGER, cross_until=1.0, self_until=1.0), once)
