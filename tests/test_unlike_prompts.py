"""Coupled edits where source, target and negative prompt have unlike numbers of tokens."""

import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy.sampler_helpers import convert_cond

from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
)
from fatezero_pack.fatezero.network.option_keys import TOKENS
from fatezero_pack.fatezero.network.transformer.equal_text import with_equal_text
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative
from oracles.stored_transformer_maps import StoredMaps
from tiny_video_models import conditioning, wan

SHORT, LONG = "a red circle on green grass", "a blue square on green grass " * 120
LONGER = LONG + "in snow " * 12
PROMPTS = [(SHORT, LONG), (LONG, SHORT), (LONG, LONGER), (LONGER, LONG)]
STEPS = 3


@pytest.fixture
def edited(video_model, video_latent, t5_tokens):
    """edited(source, target, negative, cfg, model, **CoupledSettings): the edited latent."""

    def run(source, target, negative="snow", cfg=1.0, model=None, **settings):
        model, prompts = model or video_model, [t5_tokens(text) for text in (source, target, negative)]
        given = model, make_prompt_edit(*prompts[:2]), CoupledSettings(**settings), STEPS
        guider = CoupledGuider(*given)
        guider.set_prompts(*map(conditioning, prompts), cfg)
        sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(5)), range(STEPS))
        return guider.sample(
            torch.zeros_like(video_latent), video_latent, sampler, sigmas(model), disable_pbar=True, seed=5
        )

    return run


def sigmas(model):
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)


def apart(model, latent, source, target, negative=None, cfg=1.0):
    """FlowEdit with a call of the model for each prompt, of its own length."""

    class Apart(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra, callback, noise, latent_image=None, *rest, **named):
            def denoised(name, x, sigma):
                cond, options = model_wrap.conds[name], extra["model_options"]
                at = x.new_full((1,), float(sigma))
                return comfy.samplers.calc_cond_batch(model_wrap.inner_model, [cond], x, at, options)[0]

            clip, edit, generator = latent_image, latent_image.clone(), torch.Generator().manual_seed(5)
            for sigma, following in zip(sigmas[:-1], sigmas[1:]):
                noised = (1 - sigma) * clip + sigma * torch.randn(clip.shape, generator=generator).to(clip)
                x = edit + noised - clip
                aimed = denoised("target", x, sigma)
                if negative is not None:
                    away = denoised("negative", x, sigma)
                    aimed = away + cfg * (aimed - away)
                edit = edit + (following - sigma) * ((x - aimed) - (noised - denoised("source", noised, sigma))) / sigma
            return edit

    guider = comfy.samplers.CFGGuider(model.clone())
    conds = {"source": conditioning(source), "target": conditioning(target)}
    guider.inner_set_conds(conds if negative is None else {**conds, "negative": conditioning(negative)})
    return guider.sample(torch.zeros_like(latent), latent, Apart(), sigmas(model), disable_pbar=True, seed=0)


@pytest.mark.parametrize("source, target", PROMPTS)
def test_it_is_the_edit_with_every_prompt_in_a_call_of_its_own(
    video_model, video_latent, edited, t5_tokens, source, target
):  # fmt: skip
    lengths = [t5_tokens(text).length for text in (source, target, "snow")]
    assert len(set(lengths)) > 1 and lengths[0] != lengths[1]
    tokens = t5_tokens(source), t5_tokens(target)
    free = edited(source, target, cross_until=0.0)
    assert relative(free, apart(video_model, video_latent, *tokens)) < 1e-5
    guided = apart(video_model, video_latent, *tokens, t5_tokens("snow"), cfg=3.0)
    assert relative(edited(source, target, cfg=3.0, cross_until=0.0), guided) < 1e-5
    assert relative(guided, free) > 1e-3


@pytest.mark.parametrize("source, target", PROMPTS)
def test_fusion_equals_stored_maps(video_model, video_latent, edited, t5_tokens, source, target):
    tokens = t5_tokens(source), t5_tokens(target)
    guider = comfy.samplers.CFGGuider(video_model.clone())
    guider.set_conds(conditioning(tokens[1]), conditioning(tokens[0]))
    by_maps = StoredMaps(make_prompt_edit(*tokens), True, True, seed=5)
    stored = guider.sample(
        torch.zeros_like(video_latent), video_latent, by_maps, sigmas(video_model), disable_pbar=True, seed=0
    )
    assert relative(edited(source, target, cross_until=1.0, self_until=1.0), stored) < 1e-5
    assert relative(edited(source, target, cross_until=0.0), stored) > 1e-3


def test_an_inverted_clip_is_edited_under_another_length(video_model, video_latent, t5_tokens):
    """By Attention Blend Sampler; with the source prompt it is the reconstruction."""
    ((embedding, options),) = conditioning(t5_tokens(LONG))
    source = [[embedding, {**options, TOKENS: t5_tokens(LONG)}]]
    given = {"model": video_model, "source": source, "latent": {"samples": video_latent}, "steps": 2}
    run = Invert.execute(**given, schedule="DDIM (official)", report_error=False).args[1]

    def blended(target, cfg=1.0):
        edit = make_prompt_edit(t5_tokens(LONG), t5_tokens(target))
        preset = {"preset": "attribute", "mask_from": "off", "latent_blend": False}
        wires = video_model, run, edit, conditioning(t5_tokens(target)), conditioning(t5_tokens("snow"))
        settings = {"cfg": cfg, "preset": preset, "attention_from": FAST_RECONSTRUCTION}
        return AttentionBlendSampler.execute(*wires, **settings).args[0]["samples"]

    again = reconstruct(video_model, run, disable_pbar=True)
    assert relative(blended(LONG), again) < 1e-5
    assert relative(blended(SHORT), again) > 1e-3 and relative(blended(SHORT, cfg=3.0), blended(SHORT)) > 1e-3


def test_padding_takes_nothing_from_a_prompt_without(t5_tokens):
    """T5 masks padding; what the clip's end sees must not come in there."""
    source, target = t5_tokens(LONG), t5_tokens(SHORT)
    edit = make_prompt_edit(source, target)
    assert source.end == source.length - 1 and target.end < target.length - 1
    assert float(edit.mapper[:, target.end + 1 :].sum()) == 0 and float(edit.from_source[target.end + 1 :].sum()) == 0
    assert edit.mapper[source.end, target.end] == 1


def test_conditionings_stay_as_they_are(t5_tokens):
    (entry,) = convert_cond(conditioning(t5_tokens(SHORT)))
    entry["model_conds"] = {"c_crossattn": comfy.conds.CONDRegular(entry["cross_attn"])}
    other = {**entry, "uuid": "other", "model_conds": {"c_crossattn": comfy.conds.CONDRegular(torch.ones(1, 600, 48))}}
    (filled,), none, (same,) = with_equal_text([[entry], None, [other]])[0]
    assert none is None and same is other and entry["model_conds"]["c_crossattn"].cond.shape[1] == 512
    held = filled["model_conds"]["c_crossattn"].cond
    assert held.shape[1] == 600 and torch.equal(held[:, :512], entry["cross_attn"])
    assert with_equal_text([[entry], None, [other]])[1] == {entry["uuid"]: 88}
    assert with_equal_text([[entry]]) == ([[entry]], {})


def test_vace_which_reads_prompts_elsewhere_too_is_refused(t5_tokens):
    model = wan("vace", comfy.supported_models.WAN21_Vace, vace_layers=2, vace_in_dim=96)
    source, target = t5_tokens(SHORT), t5_tokens(LONG)
    settings = {"steps": 2, "cfg": 1.0, "scheduler": "simple", "seed": 0}
    settings |= {"cross_until": 0.4, "self_until": 0.0, "skip": 0.0, "drift": 0.0}
    prompts = conditioning(source), conditioning(target), conditioning(source)
    told = f"'source prompt' has 512 tokens, 'target prompt' {target.length} and the negative one 512, but VACE takes"
    with pytest.raises(Refusal, match=f"^Coupled Edit Sampler: {told} .* shorten them to 512 tokens"):
        edit = make_prompt_edit(source, target)
        CoupledEditSampler.execute(model, edit, *prompts, {"samples": torch.ones(1, 16, 3, 8, 10)}, **settings)
