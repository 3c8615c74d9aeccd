"""Coupled Edit Sampler on small Wan and LTX-Video models with random weights."""

import re
from dataclasses import replace
from types import SimpleNamespace

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from fatezero_pack.fatezero.edit.settings import WORDS, WORDS_IN_MASK
from fatezero_pack.fatezero.edit.transformer.coupled_mask import MaskSettings, coupled_mask, words_of_latent
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
    price,
)
from fatezero_pack.fatezero.edit.transformer.row_fusion import RowFusion
from fatezero_pack.fatezero.masks.clip_look import look_for_words
from fatezero_pack.fatezero.masks.latent_frames import mask_to_latent
from fatezero_pack.fatezero.network import option_keys
from fatezero_pack.fatezero.network.option_keys import TOKENS
from fatezero_pack.fatezero.network.transformer.families import family_of
from fatezero_pack.fatezero.network.transformer.two_models import pair_notes, refuse_halves, steps_of_models
from fatezero_pack.fatezero.network.transformer.word_maps import (
    ALL,
    FIRST,
    LAST,
    MIDDLE,
    PARTS,
    WordMapReader,
    blocks_in,
    token_grid,
)
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal, bytes_in_words
from fatezero_pack.fatezero.report.edit_place import coupled_place
from fatezero_pack.nodes import coupled_sampler as node
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.edit_prompts import EditPrompts
from fatezero_pack.nodes.edit_report import EditReport
from golden_unet import relative
from oracles.stored_transformer_maps import StoredMaps
from tiny_video_models import WIDTH, conditioning, ltx, text_encoder, two_wans, wan

STEPS = 4
SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"


@pytest.fixture(scope="module")
def model(video_model):
    return video_model


@pytest.fixture(scope="module")
def latent(model):
    random = torch.randn(
        1, model.model.latent_format.latent_channels, 3, 8, 10, generator=torch.Generator().manual_seed(3)
    )
    return 3 * torch.nn.functional.avg_pool3d(random, 3, 1, 1)


@pytest.fixture
def edit(model, latent, t5_tokens):
    """edit(target, cfg=..., settings=...) is the edited latent."""

    def run(target=TARGET, cfg=1.0, patched=None, seed=5, words=None, **settings):
        source, aimed = t5_tokens(SOURCE), t5_tokens(target)
        settings = CoupledSettings(**settings)
        guider = CoupledGuider(patched or model, make_prompt_edit(source, aimed, **words or {}), settings, STEPS)
        guider.set_prompts(conditioning(source), conditioning(aimed), conditioning(t5_tokens("snow")), cfg)
        (run,) = steps_of_models(sigmas(model), settings.skip, None)
        sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(seed)), run)
        return guider.sample(torch.zeros_like(latent), latent, sampler, sigmas(model), disable_pbar=True, seed=seed)

    return run


@pytest.fixture
def stored(model, latent, t5_tokens):
    """stored(words, cross, own): the edited latent by maps that are kept, fused and multiplied."""

    def run(words, cross=True, own=False):
        source, target = t5_tokens(SOURCE), t5_tokens(TARGET)
        guider = comfy.samplers.CFGGuider(model.clone())
        guider.set_conds(conditioning(target), conditioning(source))
        by_maps = StoredMaps(make_prompt_edit(source, target, **words), cross, own, seed=5)
        return guider.sample(torch.zeros_like(latent), latent, by_maps, sigmas(model), disable_pbar=True, seed=0)

    return run


def sigmas(model):
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)


def test_t5_words_own_their_pieces(t5_tokens):
    prompt = t5_tokens("a red circle on green grass, white snow")
    assert prompt.is_t5 and prompt.length == 512 and len(prompt.chunks) == 1
    owned = [index for word in prompt.words for index in word.indices]
    assert owned == list(range(len(owned))) and prompt.end == len(owned) and prompt.ids[prompt.end] == 1
    assert [word.text for word in prompt.words] == "a red circle on green grass , white snow".split()
    weighted = t5_tokens("a (red:1.5) circle")
    assert weighted.weight(weighted.words[1]) == pytest.approx(1.5)


def test_t5_padding_and_end_follow_their_like(t5_tokens):
    source, target = t5_tokens("a red circle"), t5_tokens("a red circle on green grass")
    edit = make_prompt_edit(source, target)
    assert edit.mapper[source.end, target.end] == 1 and torch.equal(
        edit.mapper[:, target.end + 1 :].sum(0), torch.ones(512 - target.end - 1)
    )
    assert edit.mapper[source.end + 1 :, target.end + 1 :].sum() == 512 - target.end - 1, "padding comes from padding"
    assert torch.equal(make_prompt_edit(source, source).mapper, torch.eye(512))


@pytest.mark.parametrize("settings", [{}, {"cross_until": 1.0, "self_until": 1.0}, {"skip": 0.5}])
def test_the_same_prompt_gives_the_clip_back(edit, latent, settings):
    assert relative(edit(SOURCE, **settings), latent) < 1e-5
    assert relative(edit(TARGET, **settings), latent) > 1e-2, "another prompt does not"


def test_without_fusion_it_is_flow_edit(model, edit, latent, t5_tokens):
    """FlowEdit by hand, with calls of the model one after another."""
    guider = comfy.samplers.CFGGuider(model.clone())
    guider.set_conds(conditioning(t5_tokens(SOURCE)), conditioning(t5_tokens(TARGET)))  # as cond and uncond
    found = {}

    class ByHand(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra, callback, noise, latent_image=None, *rest, **named):
            clip, edited, generator = latent_image, latent_image.clone(), torch.Generator().manual_seed(5)
            for sigma, following in zip(sigmas[:-1], sigmas[1:]):
                noised = (1 - sigma) * clip + sigma * torch.randn(clip.shape, generator=generator).to(clip)
                velocities = []
                for name, x in (("positive", noised), ("negative", edited + noised - clip)):
                    call = comfy.samplers.calc_cond_batch(
                        model_wrap.inner_model,
                        [model_wrap.conds[name]],
                        x,
                        x.new_full((1,), float(sigma)),
                        extra["model_options"],
                    )
                    velocities.append((x - call[0]) / sigma)
                edited = edited + (following - sigma) * (velocities[1] - velocities[0])
            found["edited"] = edited
            return edited

    by_hand = guider.sample(torch.zeros_like(latent), latent, ByHand(), sigmas(model), disable_pbar=True, seed=0)
    assert relative(edit(cross_until=0.0), by_hand) < 1e-5
    assert (
        relative(edit(cross_until=1.0), by_hand) > 1e-3
        and relative(edit(cross_until=0.0, self_until=1.0), by_hand) > 1e-3
    )


@pytest.mark.parametrize("cross, own", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_fusion_equals_stored_maps(edit, stored, cross, own):
    expected = stored({}, bool(cross), bool(own))
    assert relative(edit(cross_until=cross, self_until=own), expected) < 1e-5
    assert relative(edit(cross_until=0.0), expected) > 1e-3


@pytest.mark.parametrize("words", [{"emphasis": "square:3, grass:-1"}, {"windows": "square:0.4, green:0.2-0.7"}])
def test_emphasis_and_windows_of_words_equal_stored_maps(edit, stored, words):
    expected = stored(words)
    assert relative(edit(words=words, cross_until=1.0), expected) < 1e-5
    assert relative(edit(cross_until=1.0), expected) > 1e-3


def test_a_mask_holds_the_clip_outside(edit, latent):
    everywhere, nowhere = torch.ones(1, 1, 3, 8, 10), torch.zeros(1, 1, 3, 8, 10)
    assert torch.equal(edit(mask=everywhere), edit())
    assert torch.equal(edit(mask=nowhere), edit(SOURCE, mask=nowhere)) and relative(edit(mask=nowhere), latent) < 1e-6
    half = everywhere.clone()
    half[..., :5] = 0
    edited = edit(mask=half, drift=0.5)
    assert relative(edited[..., :5], latent[..., :5]) < 1e-6 and relative(edited[..., 5:], latent[..., 5:]) > 1e-2


def test_guidance_takes_the_negative_in(edit):
    assert relative(edit(cfg=3.0), edit(cfg=1.0)) > 1e-3
    assert torch.equal(edit(cfg=3.0), edit(cfg=3.0)), "a second run is the first to the bit"
    assert relative(edit(seed=6), edit(seed=5)) > 1e-3


def test_drift_frees_the_end(edit, latent):
    assert relative(edit(SOURCE, drift=0.5), latent) > 1e-3
    assert torch.isfinite(edit(drift=0.5)).all()


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_one_layer_is_held_however_little_memory_is_free(model, edit, monkeypatch, cfg):
    """ComfyUI would split the call; the source's row would then show all layers before the edit's row reads one."""
    settings = {"cfg": cfg, "cross_until": 1.0, "self_until": 1.0}
    expected, held = edit(**settings), []
    attend = RowFusion.attend

    def watched(self, *args):
        output = attend(self, *args)
        held.append(len({block for _, block in self.shown}))
        return output

    monkeypatch.setattr(RowFusion, "attend", watched)
    monkeypatch.setattr(model.model, "memory_required", lambda shape, cond_shapes={}: 1e30 if shape[0] > 1 else 1)
    assert relative(edit(**settings), expected) < 1e-6
    assert max(held) == 1


def test_nothing_is_left_on_the_model_after_success_error_and_cancel(model, edit):
    before = {name: dict(value) if isinstance(value, dict) else value for name, value in model.model_options.items()}
    hooks = str(model.model_options)
    edit()
    for error in (RuntimeError, KeyboardInterrupt):

        def fail(*_, error=error, **__):
            raise error("in the middle")

        patched = model.clone()
        patched.model_options["model_function_wrapper"] = fail
        with pytest.raises(error):
            edit(patched=patched)
    assert str(model.model_options) == hooks and model.model_options.keys() == before.keys()


def test_another_nodes_hooks_are_called_through(model, edit):
    seen = []

    def block(args, extra):
        seen.append("block")
        return extra["original_block"](args)

    def attention(function, *args, **named):
        seen.append("attention")
        return function(*args, **named)

    patched = model.clone()
    patched.set_model_patch_replace(block, "dit", "double_block", 1)
    patched.model_options["transformer_options"]["optimized_attention_override"] = attention
    assert relative(edit(patched=patched), edit()) < 1e-6
    assert seen.count("block") == 2 * STEPS and seen.count("attention") >= 2 * 2 * 3 * STEPS


SHARES = {"cross_until": 0.4, "self_until": 0.0, "skip": 0.0, "drift": 0.0}


def execute(model, clip_latent, t5_tokens, **changes):
    source, target = t5_tokens(SOURCE), t5_tokens(TARGET)
    given = {
        "model": model,
        "edit": make_prompt_edit(source, target),
        "source": conditioning(source),
        "positive": conditioning(target),
        "negative": conditioning(source),
        "latent": {"samples": clip_latent},
        "steps": 2,
        "cfg": 1.0,
        "scheduler": "simple",
        "seed": 0,
        **SHARES,
    }
    return CoupledEditSampler.execute(**{**given, **changes})


def test_the_node_edits(model, latent, t5_tokens):
    frames = 1 + 2 * family_of(model).frames_per_latent
    for mask in (torch.ones(64, 80), torch.ones(frames, 64, 80)):
        assert execute(model, latent, t5_tokens, mask=mask).args[0]["samples"].shape == latent.shape


def test_a_model_that_edits_by_itself_is_refused(model, latent, t5_tokens):
    blended = model.clone()
    blended.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, option_keys.EDIT, None)
    with pytest.raises(Refusal, match="^Coupled Edit Sampler: 'model' carries Attention Blend, .*; connect"):
        execute(blended, latent, t5_tokens)


def test_the_edit_leaves_the_gpu(model, latent, t5_tokens, monkeypatch):
    """As every sampler's latent does."""
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: torch.device("meta"))
    assert execute(model, latent, t5_tokens).args[0]["samples"].device.type == "meta"


def test_edit_prompts_and_the_node_edit_with_wans_own_text_encoder(tmp_path):
    model, clip = wan(), text_encoder(tmp_path)
    latent = {"samples": torch.randn(1, 16, 3, 8, 10, generator=torch.Generator().manual_seed(4))}

    def edited(target, cfg=1.5):
        source, positive, edit, table = EditPrompts.execute(clip, SOURCE, target, "auto", "", "", "", "").args
        assert source[0][0].shape == (1, 512, WIDTH) and ("circle -> square" in table) == (target != SOURCE)
        return CoupledEditSampler.execute(
            model, edit, source, positive, source, latent, 3, cfg, "simple", 0, None, **SHARES
        ).args[0]["samples"]

    assert relative(edited(TARGET), latent["samples"]) > 1e-3
    assert relative(edited(SOURCE, cfg=1.0), latent["samples"]) < 1e-5


def test_a_second_model_goes_on_below_the_boundary(t5_tokens):
    """Wan 2.2 14B: with one model twice the edit is that of the model alone; an end of its own is another's."""
    first, other = two_wans()
    latent = torch.randn(1, 16, 3, 8, 10, generator=torch.Generator().manual_seed(4))

    def edited(second, **changes):
        changes = {"low_noise_model": second, "steps": STEPS, "drift": 0.5, **changes}
        return execute(first, latent, t5_tokens, **changes).args[0]["samples"]

    alone, both = edited(None), edited(other)
    assert torch.equal(edited(first), alone) and torch.equal(edited(other, boundary=0.0), alone)
    assert relative(both, alone) > 1e-3 and relative(both, edited(other, boundary=1.0)) > 1e-3
    unchanged = {"positive": conditioning(t5_tokens(SOURCE)), "edit": same(t5_tokens)}
    assert relative(edited(other, drift=0.0, **unchanged), latent) < 1e-5
    with pytest.raises(Refusal, match="Coupled Edit Sampler: 'low noise model' is a LTXV, 'model' a WAN21; connect"):
        edited(ltx())


def test_the_source_as_negative_gives_the_clip_back_under_guidance(model, latent, t5_tokens):
    equal = {"edit": same(t5_tokens), "positive": conditioning(t5_tokens(SOURCE)), "cfg": 4.0}
    assert relative(execute(model, latent, t5_tokens, **equal).args[0]["samples"], latent) < 1e-5
    equal["negative"] = conditioning(t5_tokens("snow"))
    assert relative(execute(model, latent, t5_tokens, **equal).args[0]["samples"], latent) > 1e-3


def same(t5_tokens):
    return make_prompt_edit(t5_tokens(SOURCE), t5_tokens(SOURCE))


def test_image_to_video_keeps_its_attention_to_the_picture(t5_tokens):
    """Wan I2V attends to the first frame between its own frames and the prompt; only those two are fused."""
    model = wan("i2v", in_dim=36)
    generator = torch.Generator().manual_seed(6)
    latent, picture = (torch.randn(1, 16, 3, 8, 10, generator=generator) for _ in range(2))
    seen = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 257, 1280, generator=generator))
    mask = torch.ones(1, 1, 3, 8, 10)

    def given(text, picture=picture):
        ((embedding, options),) = conditioning(t5_tokens(text))
        shown = {"concat_latent_image": picture, "concat_mask": mask, "clip_vision_output": seen}
        return [[embedding, {**options, **shown}]]

    def edited(target, **changes):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        changes = {"edit": edit, "source": given(SOURCE), "positive": given(target), **changes}
        return execute(model, latent, t5_tokens, **changes).args[0]["samples"]

    assert relative(edited(SOURCE, cross_until=1.0, self_until=1.0), latent) < 1e-5
    free, fused = edited(TARGET, cross_until=0.0), edited(TARGET, cross_until=1.0)
    assert relative(free, latent) > 1e-3 and relative(fused, free) > 1e-3
    other = edited(TARGET, positive=given(TARGET, -picture), cross_until=0.0)
    assert relative(other, free) > 1e-3, "the picture takes part"


def test_the_price_is_told(model, latent):
    told = price(model, latent.shape, 6, 8, 1.5)
    tokens = latent[0, 0].numel() // (4 if model.model.__class__.__name__ == "WAN21" else 1)
    assert told.startswith("6 of 8 steps, 3 rows each (clip, edit, negative)")
    assert price(model, latent.shape, 6, None, 1.0).startswith("6 steps, 2 rows each (clip, edit)")
    assert told.endswith(f"one layer at a time, {bytes_in_words(2 * tokens * 96 * 4)}")


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"latent": {"samples": torch.zeros(4, 4, 8, 8)}}, "'latent' has 4 dimensions"),
        ({"latent": {"samples": torch.zeros(1, 4, 3, 8, 8)}}, "'latent' has 4 channels"),
        ({"mask": torch.ones(7, 64, 80)}, "'mask' has 7 frames, but of the clip the model's VAE has kept"),
        ({"scheduler": "kl_optimal", "steps": 1}, "'scheduler' kl_optimal repeats noise levels at 1 step;"),
        ({"positive": [[torch.zeros(1, 77, 48), {}]]}, "'positive' has 77 tokens where its prompt has 512"),
    ],
)
def test_what_does_not_fit_is_refused(model, latent, t5_tokens, changes, told):
    with pytest.raises(Refusal, match=f"^Coupled Edit Sampler: {told}"):
        execute(model, latent, t5_tokens, **changes)


def test_latents_that_do_not_fit_are_refused(model, latent, t5_tokens):
    for wrong, told in ((torch.cat([latent, latent]), "holds 2 clips"), (latent / 0 * 0, "holds NaN")):
        with pytest.raises(Refusal, match=f"'latent' {told}"):
            execute(model, wrong, t5_tokens)
    with pytest.raises(Refusal, match="'latent' has a noise mask"):
        execute(model, latent, t5_tokens, latent={"samples": latent, "noise_mask": torch.ones(1, 8, 8)})


def test_another_models_encoder_and_nodes_that_cannot_be_followed_are_refused(model, latent, t5_tokens):
    patched = model.clone()
    patched.model_options["context_handler"] = object()
    with pytest.raises(Refusal, match="'model' has context windows"):
        execute(patched, latent, t5_tokens)
    patched = model.clone()
    patched.model_options["transformer_options"]["rel_l1_thresh"] = 0.2
    with pytest.raises(Refusal, match="'model' has TeaCache"):
        execute(patched, latent, t5_tokens)


@pytest.mark.parametrize("name", ["source", "positive", "negative"])
@pytest.mark.parametrize("option, value", [("area", (1, 1, 1, 0, 0, 0)), ("mask", None), ("start_percent", 0.3)])
def test_a_prompt_for_a_part_is_refused(model, latent, t5_tokens, name, option, value):
    partial = conditioning(t5_tokens(SOURCE if name == "source" else TARGET))
    partial[0][1][option] = value
    called = "source conditioning" if name == "source" else name
    with pytest.raises(Refusal, match=f"'{called}' is for a part of the clip or of the steps; remove the Conditioning"):
        execute(model, latent, t5_tokens, **{name: partial})


def test_prompts_that_are_not_the_edit_s_are_refused(model, latent, t5_tokens):
    source, target = ([[*conditioning(told)[0][:1], {TOKENS: told}]] for told in map(t5_tokens, (SOURCE, TARGET)))
    with pytest.raises(Refusal, match=f"'positive' says \"{SOURCE}\" where 'edit' says \"{TARGET}\""):
        execute(model, latent, t5_tokens, positive=source)
    with pytest.raises(Refusal, match=f"'source conditioning' says \"{TARGET}\" where 'edit' says \"{SOURCE}\""):
        execute(model, latent, t5_tokens, source=target)
    others = replace(t5_tokens(TARGET), ids=(7, *t5_tokens(TARGET).ids[1:]))
    with pytest.raises(Refusal, match="'positive' was made with another text encoder than 'edit'; connect that"):
        execute(model, latent, t5_tokens, positive=[[target[0][0], {TOKENS: others}]])
    with pytest.raises(Refusal, match="the negative conditioning is the target prompt and the positive one is not"):
        execute(model, latent, t5_tokens, positive=[[target[0][0], {}]], negative=target)
    with pytest.raises(Refusal, match="'positive' holds 2 conditionings"):
        execute(model, latent, t5_tokens, positive=[*target, *target])
    narrow = [[target[0][0][..., :8], {}]]
    with pytest.raises(
        Refusal, match="'negative' has 8 channels but 'model' reads 48; use the model's own text encoder"
    ):
        execute(model, latent, t5_tokens, negative=narrow)
    with pytest.raises(Refusal, match="'skip' 0.95 leaves none of 4 steps"):
        execute(model, latent, t5_tokens, steps=4, skip=0.95)


def test_guidance_of_other_nodes_works(model, latent, t5_tokens):
    """What acts on the answers before guidance, and what asks the model once more without the source."""
    asked = []

    def before_guidance(args):
        options = {**args["model_options"], "sampler_pre_cfg_function": []}
        again = comfy.samplers.calc_cond_batch(
            args["model"], args["conds"][:1], args["input"], args["timestep"], options
        )
        asked.append(float((again[0] - args["conds_out"][0]).abs().max()))
        return [2 * args["conds_out"][0], args["conds_out"][1]]

    patched = model.clone()
    patched.set_model_sampler_pre_cfg_function(before_guidance)
    settings = {"cfg": 2.0, "steps": 2}
    plain, guided = (execute(each, latent, t5_tokens, **settings).args[0]["samples"] for each in (model, patched))
    assert len(asked) == 2 and max(asked) > 0 and relative(guided, plain) > 1e-2


def test_masks_come_to_latent_frames():
    mask = torch.zeros(9, 64, 80)
    mask[5, 10, 20] = 1
    cells = mask_to_latent(mask, 4, torch.Size([1, 16, 3, 8, 10]))
    assert cells.shape == (1, 1, 3, 8, 10) and cells.nonzero().tolist() == [[0, 0, 2, 1, 2]]
    longer = torch.cat([mask, torch.ones(3, 64, 80)])  # as the clip was before the VAE left its last frames out
    assert torch.equal(mask_to_latent(longer, 4, torch.Size([1, 16, 3, 8, 10])), cells)
    for count in (8, 13):
        with pytest.raises(Refusal, match=f"'mask' has {count} frames, but of the clip the model's VAE has kept 9"):
            mask_to_latent(torch.ones(count, 64, 80), 4, torch.Size([1, 16, 3, 8, 10]))


def test_words_of_the_clip_are_read_as_the_softmax_of_its_text_attention(model, latent, t5_tokens):
    """All blocks but the last, against maps from queries and keys that a hook of another node has kept."""
    family, prompt, kept = family_of(model), t5_tokens(SOURCE), []
    patched = model.clone()

    def attention(function, query, key, value, heads, mask=None, **named):
        if key.shape[1] == prompt.length:
            scores = torch.einsum("qhd,khd->hqk", *(part[0].unflatten(-1, (heads, -1)) for part in (query, key)))
            scores = scores * (query.shape[-1] // heads) ** -0.5
            kept.append((scores if mask is None else scores + mask.reshape(1, 1, -1)).softmax(-1).mean(0))
        return function(query, key, value, heads, mask, **named)

    patched.model_options["transformer_options"]["optimized_attention_override"] = attention
    maps = look_for_words(patched, family, conditioning(prompt), latent, part=FIRST, tokens=prompt.end + 1, seed=2)
    grid = token_grid(model, latent.shape)
    expected = kept[0].view(*grid, -1).movedim(-1, 1)[:, : prompt.end + 1]
    assert len(kept) == 3 and maps.shape == expected.shape and relative(maps, expected) < 1e-5
    every = look_for_words(patched, family, conditioning(prompt), latent, part=ALL, seed=2)
    assert every.shape[1] == prompt.length and torch.allclose(every.sum(dim=1), torch.ones(()), atol=1e-5)
    assert relative(every[:, : prompt.end + 1], maps) > 1e-3


def test_a_mask_of_words_holds_the_clip_outside(model, latent, t5_tokens):
    """Where the mask is 0 the clip stays, where it is 1 the edit is that of a drawn mask of the same cells."""

    def masked(**changes):
        return execute(model, latent, t5_tokens, steps=STEPS, **changes).args[0]["samples"]

    words = MaskSettings(mask_from=WORDS, threshold=0.8)
    edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(TARGET))
    cells = coupled_mask(model, family_of(model), edit, conditioning(t5_tokens(SOURCE)), latent, words)
    assert cells.shape == (1, 1, 3, 8, 10) and 0.02 < cells.mean() < 0.9 and set(cells.unique().tolist()) == {0, 1}
    edited = masked(mask_from=WORDS, mask_threshold=0.8)
    outside = (cells == 0).expand_as(latent)
    assert (edited - latent)[outside].abs().max() < 1e-5 and (edited - latent)[~outside].abs().max() > 1e-2
    assert relative(masked(mask_from=WORDS, mask_threshold=0.1), edited) > 1e-3
    left = torch.zeros(64, 80)
    left[:, :40] = 1
    both = masked(mask_from=WORDS_IN_MASK, mask_threshold=0.8, mask=left)
    assert torch.equal(masked(mask_from=WORDS, mask_threshold=0.8, mask=left), edited), "the drawn mask has no part"
    assert (both - latent)[..., 5:].abs().max() < 1e-5 and (both - latent).abs().max() > 1e-2


def test_a_mask_of_words_moves_in_steps_of_a_patch(t5_tokens):
    """Also where patches of 2 x 2 cells reach beyond a latent of odd sizes."""
    maps = torch.rand(2, 20, 16, 18, generator=torch.Generator().manual_seed(3))
    edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(TARGET))
    cells = words_of_latent(maps, edit, 0.9, torch.Size([1, 16, 2, 31, 35]), (1, 2, 2))
    assert cells.shape == (1, 1, 2, 31, 35) and 0.05 < cells.mean() < 0.95
    assert torch.equal(cells[..., :-1:2, :-1:2], cells[..., 1::2, 1::2])
    assert token_grid(wan(), cells.shape) == (2, 16, 18)


def test_what_a_mask_of_words_needs_is_said(model, latent, t5_tokens):
    added = make_prompt_edit(t5_tokens("red circle"), t5_tokens("red circle on grass"))
    with pytest.raises(Refusal, match="'mask from' is words but no word of the source prompt is replaced"):
        execute(model, latent, t5_tokens, edit=added, mask_from=WORDS)
    with pytest.raises(Refusal, match="'mask from' is words inside mask input but nothing is connected to 'mask'"):
        execute(model, latent, t5_tokens, mask_from=WORDS_IN_MASK)
    reader = WordMapReader((3, 4, 5), 2, range(1))
    with pytest.raises(Refusal, match="'model' looks at more than the clip"):
        reader.look(torch.zeros(1, 80, 8), torch.zeros(1, 6, 8), None)


def test_the_mask_of_a_coupled_edit_is_told_and_shown(model, latent, t5_tokens, monkeypatch):
    told = []
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))
    shown = execute(model, latent, t5_tokens, mask_from=WORDS, mask_threshold=0.8)
    assert re.search(r"\nmask of red, circle: \d+% of the clip may change$", told[-1])
    assert len(shown.ui["images"]) == 1
    assert execute(model, latent, t5_tokens, mask=torch.ones(64, 80)).ui["images"] and told[-1].endswith(
        "\nmask: 100% of the clip may change"
    )
    assert "images" not in execute(model, latent, t5_tokens).ui and "mask" not in told[-1]
    picture = coupled_place(torch.zeros_like(latent), torch.zeros(1, 1, 3, 8, 10), model.model.latent_format)
    cell = model.model.latent_format.spacial_downscale_ratio
    assert picture.shape == (1, 8 * cell, 3 * 10 * cell, 3)


def test_what_has_no_effect_is_told(model, latent, t5_tokens, monkeypatch):
    told = []
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))
    execute(model, latent, t5_tokens, mask_threshold=0.8, skip=0.5)
    assert told[-1].startswith("! 'mask threshold' has no effect") and "'cross-attention until' 0.4 has no" in told[-1]


def test_edit_report_knows_the_settings(model, latent, t5_tokens):
    """Through the latent: what held the edit back is named as on this node, and its mask by the clip's frames."""
    frames = 1 + 2 * family_of(model).frames_per_latent
    mask = torch.ones(frames, 64, 80)
    mask[1 : frames // 2 + 1] = 0
    changes = {"self_until": 0.9, "skip": 0.4, "cfg": 1.0, "mask": mask}
    made, clip = execute(model, latent, t5_tokens, **changes).args[0], torch.zeros(frames, 64, 80, 3)
    edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(TARGET))
    told, _ = EditReport.execute(clip, clip, edit=edit, made_by=made).args
    for sentence in (
        f"The mask is empty in frames {', '.join(str(frame) for frame in range(1, frames // 2 + 1))}, where",
        "lower 'self-attention until' (0.9), which is usually 0 here",
        "'skip' is 0.4, so that the noisy steps",
        "'cfg' is 1, which follows the target prompt weakly; raise it to 1.5 or 2",
        "how the edit ran: 1 of 2 steps",
    ):
        assert sentence in told, told
    assert "connect 'made by'" not in told and "DDIM Invert" not in told
    changed = EditReport.execute(clip, clip + 0.2, mask, made_by=made).args[0]
    assert "Outside the mask the clip changed, too" in changed and "latent blend" not in changed
    by_words = execute(model, latent, t5_tokens, mask_from=WORDS, mask_threshold=1.0).args[0]
    assert "lower 'mask threshold' (1)" in EditReport.execute(clip, clip, made_by=by_words).args[0]


def test_one_of_two_models_is_told_by_its_file():
    """Wan 2.2 14B's are built alike; of what was not loaded from a file nobody knows."""
    (high, low), other = two_wans(), wan()
    for half, name in ((high, "wan2.2_t2v_high_noise_14B_fp8.safetensors"), (low, "wan2.2_t2v_low_noise_14B.gguf")):
        half.cached_patcher_init = (None, (f"/models/{name}", {}))
    told = [pair_notes(*pair) for pair in ((high, None), (low, None), (low, high), (high, low), (other, None))]
    assert told[0] == [
        "! 'model' is wan2.2_t2v_high_noise_14B_fp8.safetensors, one of Wan 2.2 14B's two models; connect the other "
        "one, too"
    ]
    assert "low_noise_14B.gguf, one of" in told[1][0] and told[2][0].endswith("; swap them") and told[3:] == [[], []]
    assert pair_notes(high, other)[0].startswith("! 'low noise model' is the same as 'model'; connect the other one")
    refuse_halves(other, None)
    with pytest.raises(
        Refusal, match="'model' is wan2.2_t2v_high_noise_14B_fp8.safetensors, one of .*; connect the one for high"
    ):
        refuse_halves(high, None)
    with pytest.raises(
        Refusal, match=r"'model' is \S*low_noise_14B.gguf and 'low noise model' \S*high_.*; swap them\."
    ):
        refuse_halves(low, high)
    refuse_halves(high, low)
    refuse_halves(high, other)


def test_thirds_of_the_blocks():
    assert [blocks_in(part, 30) for part in (FIRST, MIDDLE, LAST, ALL)] == [
        range(10), range(10, 20), range(20, 30), range(30),
    ]  # fmt: skip
    assert all(len(blocks_in(part, count)) for part in PARTS for count in (1, 2, 3))
