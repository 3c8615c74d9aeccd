"""The source's own branch: with null text, with the edit's guidance, or without any (Video-P2P 3.2)."""

from dataclasses import replace

import pytest
import torch

from edit_cases import CallCounter, clip_latent, edited, inverted, negative, prompt_edit, random_controlnet, small_model
from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, RECONSTRUCTION, WORDS, BlendSettings
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.null_text.optimization import negative_prompt_inversion, with_null_text
from fatezero_pack.fatezero.prompts.window import Window
from golden_unet import relative

EDIT = prompt_edit()
GUIDANCE = 5.0  # that of `edited`
SETTINGS = BlendSettings(
    Window(0, 0.6), Window(0, 0.8), WORDS, 0.3, latent_window=Window(0.2, 1), attention_from=RECONSTRUCTION
)
FAST = replace(SETTINGS, attention_from=FAST_RECONSTRUCTION)


@pytest.fixture(scope="module")
def model():
    return inflate(small_model(), Inflation(("first",)))


@pytest.fixture(scope="module")
def source(model):
    return inverted(model, EDIT, clip_latent(3), steps=4)


def with_embeddings(source, embedding, guidance=GUIDANCE):
    return with_null_text(source, embedding[None].repeat(source.steps, 1, 1, 1), guidance, {})


def test_the_negative_as_null_text_is_plain_prompt_to_prompt(model, source):
    plain = edited(model, source, EDIT, SETTINGS)
    assert relative(edited(model, with_embeddings(source, negative()[0][0]), EDIT, SETTINGS), plain) < 1e-5
    other = with_embeddings(source, negative()[0][0], guidance=2.0)
    assert relative(edited(model, other, EDIT, SETTINGS), plain) > 1e-3


def test_the_source_prompt_as_null_text_is_the_fast_mode(model, source):
    """Under its own embedding as the unconditional one, guidance changes nothing."""
    fast = edited(model, source, EDIT, FAST)
    assert relative(edited(model, negative_prompt_inversion(source, GUIDANCE), EDIT, SETTINGS), fast) < 1e-4
    assert relative(edited(model, source, EDIT, SETTINGS), fast) > 1e-3


def test_the_fast_mode_needs_one_row_less(model, source):
    def rows(settings):
        counted = []
        network = model.model.diffusion_model
        handle = network.register_forward_pre_hook(lambda module, inputs: counted.append(len(inputs[0])))
        edited(model, source, EDIT, settings)
        handle.remove()
        return sum(counted)

    assert [rows(FAST), rows(SETTINGS)] == [3 * 3 * 4, 4 * 3 * 4]  # frames · rows · steps


def test_each_step_has_its_own_embedding(model, source):
    steps = torch.stack([negative()[0][0] * (1 + step) for step in range(source.steps)])
    rising = with_null_text(source, steps, GUIDANCE, {})
    falling = with_null_text(source, steps.flip(0), GUIDANCE, {})
    assert relative(edited(model, rising, EDIT, SETTINGS), edited(model, falling, EDIT, SETTINGS)) > 1e-3
    assert torch.equal(rising.null_text_at(float(source.sigmas[-1])), steps[-1])
    assert torch.equal(rising.null_text_at(float(source.sigmas[1])), steps[0])


def test_embeddings_of_each_frame_in_chunks(model, source):
    drift = torch.randn(3, 1, 64, generator=torch.Generator().manual_seed(1))
    per_frame = with_embeddings(source, negative()[0][0] + drift)
    whole = edited(model, per_frame, EDIT, SETTINGS)
    assert relative(edited(sampled_in_chunks(model, 1), per_frame, EDIT, SETTINGS), whole) < 1e-4
    assert relative(edited(model, with_embeddings(source, negative()[0][0]), EDIT, SETTINGS), whole) > 1e-3


def test_a_controlnet_on_the_null_text(model, source):
    control = random_controlnet(1.0)
    controlled = with_null_text(
        source,
        with_embeddings(source, negative()[0][0]).null_text.embeddings,
        GUIDANCE,
        {"control": control, "control_apply_to_uncond": True},
    )
    plain = edited(model, with_embeddings(source, negative()[0][0]), EDIT, SETTINGS)
    assert relative(edited(model, controlled, EDIT, SETTINGS), plain) > 1e-4
    assert control.cond_hint is None and control.timestep_range is None  # cleaned up after the run


def test_the_edits_own_branch_keeps_the_plain_negative(model, source):
    """Closed windows: the null text is the source's alone and cannot reach the edit."""
    closed = BlendSettings(Window(0, 0), Window(0, 0), attention_from=RECONSTRUCTION)
    with CallCounter(model) as counter:
        expected = edited(model, source, EDIT, closed)
    assert counter.calls > 0
    assert torch.equal(edited(model, with_embeddings(source, negative()[0][0] * 3), EDIT, closed), expected)
