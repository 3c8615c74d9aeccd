"""Replay in the edit's own UNet calls is replay in calls of its own, and gives way where it is not available."""

from dataclasses import replace

import pytest

from edit_cases import (
    CallCounter,
    clip_latent,
    conditioning,
    edited,
    inverted,
    prompt_edit,
    random_controlnet,
    sampled,
    small_model,
)
from fatezero_pack.fatezero.edit.settings import CACHE, FAST_RECONSTRUCTION, RECONSTRUCTION, WORDS, BlendSettings
from fatezero_pack.fatezero.edit.unet import source_branch
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.network.key_frames import parse_key_frames
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from golden_unet import relative

EDIT = prompt_edit()
STEPS = 3
ALWAYS = Window(0, 1)
FUSED = BlendSettings(ALWAYS, ALWAYS)


@pytest.fixture
def apart(monkeypatch):
    """apart(work): what work() gives while nothing may be joined."""

    def run(work):
        with monkeypatch.context() as patched:
            patched.setattr(source_branch, "can_join", lambda source, conds: False)
            return work()

    return run


def calls(model, work) -> int:
    with CallCounter(model) as counter:
        work()
    return counter.calls


@pytest.mark.parametrize(
    "entries, at_once, across_frames",
    [("current, middle", 0, False), ("current, middle", 2, False), ("-1, first", 2, False), ("middle", 1, True)],
)
@pytest.mark.parametrize(
    "settings",
    [
        FUSED,
        replace(FUSED, mask_from=WORDS, threshold=0.5, latent_window=ALWAYS),
        replace(FUSED, self_window=Window(0, 0.5), finest_until=0.0),
        replace(FUSED, finest_until=0.5),
    ],
    ids=["fused", "masked", "partly", "finest in half of the steps"],
)
def test_joined_is_apart(entries, at_once, across_frames, settings, apart):
    inflated = inflate(small_model(), Inflation(parse_key_frames(entries), normalise_across_frames=across_frames))
    model = sampled_in_chunks(inflated, at_once)
    source = inverted(model, EDIT, clip_latent(5), steps=STEPS)
    together = edited(model, source, EDIT, settings)
    assert relative(together, apart(lambda: edited(model, source, EDIT, settings))) < 1e-5


def test_one_call_for_each_step(apart):
    model = small_model()
    source = inverted(model, EDIT, steps=STEPS)
    assert calls(model, lambda: edited(model, source, EDIT, FUSED)) == STEPS
    assert apart(lambda: calls(model, lambda: edited(model, source, EDIT, FUSED))) == 2 * STEPS
    assert calls(model, lambda: edited(model, source, EDIT, FUSED, cfg=1.0)) == STEPS  # also without a negative


@pytest.mark.parametrize("attention_from", [RECONSTRUCTION, FAST_RECONSTRUCTION])
def test_a_reconstruction_runs_apart(attention_from):
    model = small_model()
    source = inverted(model, EDIT, steps=STEPS)
    settings = replace(FUSED, attention_from=attention_from)
    assert calls(model, lambda: edited(model, source, EDIT, settings)) == 2 * STEPS


@pytest.mark.parametrize("on_source", [True, False])
def test_a_controlnet_keeps_them_apart(on_source, apart):
    """ComfyUI gives a ControlNet's output to all rows of a call."""
    model = small_model()
    controlled = {"control": random_controlnet(1.0), "control_apply_to_uncond": True}
    source = inverted(
        model, EDIT, steps=STEPS, conditioning=conditioning(EDIT.source, **(controlled if on_source else {}))
    )
    positive = conditioning(EDIT.target, **({} if on_source else controlled))
    blended = blend_attention(model, source, EDIT, FUSED)
    together = sampled(blended, source, EDIT, positive=positive)
    assert relative(together, apart(lambda: sampled(blended, source, EDIT, positive=positive))) == 0
    assert calls(model, lambda: sampled(blended, source, EDIT, positive=positive)) > STEPS


@pytest.mark.parametrize("longer", ["source", "target"])
def test_prompts_of_different_length(longer, apart):
    """ComfyUI repeats the shorter one, whose attention stays what it is."""
    model, long = small_model(), " ".join(["a silver jeep on a road"] * 20)
    edit = prompt_edit(*((long, EDIT.target.text) if longer == "source" else (EDIT.source.text, long)))
    assert {edit.source.length, edit.target.length} == {77, 154}
    source = inverted(model, edit, steps=STEPS)
    settings = replace(FUSED, mask_from=WORDS, threshold=0.5, latent_window=ALWAYS)
    settings = settings if edit.source_mask_tokens else FUSED
    together = edited(model, source, edit, settings)
    assert calls(model, lambda: edited(model, source, edit, settings)) == STEPS
    assert relative(together, apart(lambda: edited(model, source, edit, settings))) < 1e-5


def test_short_of_memory_the_source_goes_first():
    """ComfyUI then evaluates one conditioning after the other."""
    model = small_model()
    source = inverted(model, EDIT, steps=STEPS)
    together = edited(model, source, EDIT, FUSED)
    model.model.memory_required = lambda shape, cond_shapes={}: 1e30 if shape[0] > len(clip_latent()) else 1
    try:
        one_by_one = edited(model, source, EDIT, FUSED)
        assert calls(model, lambda: edited(model, source, EDIT, FUSED)) == 3 * STEPS
    finally:
        del model.model.memory_required
    assert relative(one_by_one, together) < 1e-5


def test_other_nodes_take_the_source_for_a_positive():
    """As in a call of its own: IPAdapter and others look at `cond_or_uncond`."""
    model, seen = small_model(), set()

    def look(query, key, value, extra):
        seen.add(tuple(extra["cond_or_uncond"]))
        return query, key, value

    model.set_model_attn2_patch(look)
    source = inverted(model, EDIT, steps=STEPS)
    seen.clear()
    edited(model, source, EDIT, FUSED)
    assert {tuple(sorted(rows)) for rows in seen} == {(0, 0, 1)}


def test_a_cache_is_filled_from_joined_rows(apart):
    model = small_model()
    source = inverted(model, EDIT, steps=STEPS)
    kept = replace(FUSED, source_attention=CACHE)
    expected = apart(lambda: edited(model, source, EDIT, FUSED))
    assert calls(model, lambda: edited(model, source, EDIT, kept)) == STEPS
    held = source.cache.bytes.total
    assert held > 0 and sum(tensor.untyped_storage().nbytes() for tensor in source.cache) == source.cache.bytes.ram
    assert relative(edited(model, source, EDIT, kept), expected) < 1e-5


def test_two_positives():
    """Both find the source's queries and keys, whether in its call or in a later one."""
    model = small_model()
    source = inverted(model, EDIT, steps=STEPS)
    blended, positive = blend_attention(model, source, EDIT, FUSED), conditioning(EDIT.target)
    once = sampled(blended, source, EDIT, positive=positive)
    assert relative(sampled(blended, source, EDIT, positive=positive * 2), once) < 1e-5
