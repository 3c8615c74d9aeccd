"""DDIM inversion against the textbook formulas in alpha-bar space, and what it keeps."""

import math

import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy.model_base import BaseModel, ModelType
from comfy.patcher_extension import WrappersMP

from edit_cases import (
    SMALL_UNET,
    CallCounter,
    clip_latent,
    conditioning,
    edited,
    inverted,
    inverted_noise,
    prompt_edit,
    random_controlnet,
    small_model,
)
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import BlendSettings
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.reconstruction import reconstruct, reconstruction_error
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, TARGET_LABEL, UNI_INV
from fatezero_pack.nodes.invert import Invert
from golden_unet import UNET_CONFIG, patcher, relative

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)
SCALE = 0.18215
EDIT = prompt_edit()


def textbook_inversion(model, latent, alphas, labels, prediction):
    """z after every DDIM inversion step: alphas [N + 1] and labels [N] as numbers, epsilon or v as diffusers."""
    z = latent * SCALE
    trajectory = [z]
    for a, b, label in zip(alphas, alphas[1:], labels):
        z = ddim_step(z, a, b, predicted_noise(model, z, a, label, prediction))
        trajectory.append(z)
    return torch.stack(trajectory)


def predicted_noise(model, z, alpha, label, prediction):
    """Epsilon of a latent at a level, as diffusers' inverse scheduler has it."""
    network = model.model.diffusion_model
    place = next(network.parameters()).device
    context = conditioning(EDIT.source)[0][0].expand(len(z), -1, -1).to(place)
    labels = torch.full((len(z),), float(label), device=place)
    output = network(z.to(place), labels, context=context, transformer_options={}).to(z)
    return output if prediction == "epsilon" else math.sqrt(alpha) * output + math.sqrt(1 - alpha) * z


def ddim_step(z, a, b, noise):
    clean = (z - math.sqrt(1 - a) * noise) / math.sqrt(a)
    return math.sqrt(b) * clean + math.sqrt(1 - b) * noise


def in_alpha_bar_space(source):
    return source.trajectory / (1 + source.sigmas**2).sqrt().view(-1, 1, 1, 1, 1)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("steps", [5, 30])
@pytest.mark.parametrize("label", [TARGET_LABEL, CURRENT_LABEL])
def test_official_schedule(prediction, steps, label):
    model = small_model(model_type=ModelType.V_PREDICTION if prediction == "v" else ModelType.EPS)
    source = inverted(model, EDIT, clip_latent(), steps, label=label)
    levels = [0, *(index * (1000 // steps) + 1 for index in range(steps))]
    labels = levels[1:] if label == TARGET_LABEL else levels[:-1]
    expected = textbook_inversion(model, clip_latent(), ALPHAS[levels].tolist(), labels, prediction)
    assert relative(in_alpha_bar_space(source), expected) <= 1e-5


@pytest.mark.parametrize("scheduler", ["normal", "karras", "ddim_uniform", "sgm_uniform"])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_comfyui_schedule(scheduler, prediction):
    model = small_model(model_type=ModelType.V_PREDICTION if prediction == "v" else ModelType.EPS)
    source = inverted(model, EDIT, clip_latent(), 6, scheduler)
    sigmas = source.sigmas.double()
    assert sigmas[0] == 0
    every_sigma = ((1 - ALPHAS) / ALPHAS).sqrt()
    labels = [int((every_sigma.log() - sigma.log()).abs().argmin()) for sigma in sigmas[1:]]
    expected = textbook_inversion(model, clip_latent(), (1 / (1 + sigmas**2)).tolist(), labels, prediction)
    assert relative(in_alpha_bar_space(source), expected) <= 1e-5


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_uni_inv_asks_where_the_step_will_land(prediction):
    """The first step as the official code's; then by the last step's noise, and again by what the model says there."""
    model = small_model(model_type=ModelType.V_PREDICTION if prediction == "v" else ModelType.EPS)
    source = inverted(model, EDIT, clip_latent(), 5, label=UNI_INV)
    levels = [0, *(index * 200 + 1 for index in range(5))]
    z = clip_latent() * SCALE
    expected, noise = [z], None
    for a, b, label in zip(ALPHAS[levels[:-1]].tolist(), ALPHAS[levels[1:]].tolist(), levels[1:]):
        if noise is None:
            noise = predicted_noise(model, z, a, label, prediction)
        else:
            noise = predicted_noise(model, ddim_step(z, a, b, noise), b, label, prediction)
        z = ddim_step(z, a, b, noise)
        expected.append(z)
    assert relative(in_alpha_bar_space(source), torch.stack(expected)) <= 1e-5
    assert torch.equal(source.fed_at(float(source.sigmas[3])), source.trajectory[3])


@pytest.mark.parametrize("prediction", [ModelType.EPS, ModelType.V_PREDICTION])
def test_uni_inv_comes_back_closer_for_the_same_calls(prediction):
    model = small_model(model_type=prediction)
    errors, calls = [], []
    for label in (TARGET_LABEL, UNI_INV):
        with CallCounter(model) as counter:
            source = inverted(model, EDIT, clip_latent(), 8, label=label)
        calls.append(counter.calls)
        errors.append(reconstruction_error(model, source, reconstruct(model, source, disable_pbar=True)))
    assert calls == [8, 8] and errors[1] < errors[0] / 2, errors


@pytest.mark.slow
@pytest.mark.parametrize("prediction", [ModelType.EPS, ModelType.V_PREDICTION])
def test_refinement_makes_reconstruction_exact(prediction):
    model = small_model(model_type=prediction)
    errors = []
    for refinement in range(4):
        source = inverted(model, EDIT, clip_latent(), 8, refinement=refinement)
        errors.append(reconstruction_error(model, source, reconstruct(model, source, disable_pbar=True)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


@pytest.mark.parametrize("refinement", [0, 2])
def test_one_call_per_step_and_iteration(refinement):
    model = small_model()
    with CallCounter(model) as counter:
        inverted(model, EDIT, steps=3, refinement=refinement)
    assert counter.calls == 3 * (1 + refinement)


@pytest.mark.parametrize("frames, height, width", [(1, 16, 16), (3, 9, 16), (2, 10, 18), (2, 8, 8), (2, 7, 5)])
def test_sizes(frames, height, width):
    model = inflate(small_model(), Inflation(("current", "middle")))
    latent = clip_latent(frames, height, width)
    source = inverted(model, EDIT, latent, steps=2, refinement=4)
    assert source.trajectory.shape == (3, frames, 4, height, width)
    assert source.word_maps.shape[:3] == (2, frames, EDIT.source.end + 1)
    settings = BlendSettings(Window(0, 1), Window(0, 1), "words", 0.5, latent_window=Window(0, 1))
    assert torch.isfinite(edited(model, source, EDIT, settings)).all()
    assert reconstruction_error(model, source, reconstruct(model, source, disable_pbar=True)) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision(dtype):
    full = small_model()
    config = comfy.supported_models.SD15({**UNET_CONFIG, **SMALL_UNET, "dtype": dtype})
    config.unet_config.update({**UNET_CONFIG, **SMALL_UNET, "dtype": dtype})
    config.set_inference_dtype(dtype, torch.float32)  # stored in half, computed in full, as on a CPU
    half = patcher(BaseModel(config, ModelType.EPS, device=torch.device("cpu")))
    half.model.diffusion_model.load_state_dict(full.model.diffusion_model.state_dict())
    assert half.model.diffusion_model.input_blocks[0][0].weight.dtype == dtype
    expected = inverted(full, EDIT, steps=3)
    source = inverted(half, EDIT, steps=3)
    assert source.trajectory.dtype == torch.float32
    assert relative(source.trajectory, expected.trajectory) < 0.02
    assert relative(edited(half, source, EDIT, BlendSettings()), edited(full, expected, EDIT, BlendSettings())) < 0.03


def test_word_maps_are_averages_of_probabilities():
    source = inverted(small_model(), EDIT, steps=2)
    assert (source.word_maps > 0).all()
    assert (source.word_maps.sum(dim=2) < 1).all()  # the padding's share is left out
    untracked = inverted(small_model(), EDIT, steps=2, conditioning=[[conditioning(EDIT.source)[0][0], {}]])
    assert torch.allclose(untracked.word_maps.sum(dim=2), torch.ones(()), atol=1e-5)


def test_node_returns_noise_sigmas_and_error():
    model = small_model()
    latent = {"samples": clip_latent(), "batch_index": [0, 1], "kept": "yes"}
    noise, source, sigmas, report = Invert.execute(
        model, conditioning(EDIT.source), latent, 3, OFFICIAL, refinement=3, report_error=True
    ).result
    assert torch.equal(noise["samples"], inverted_noise(model, source))
    assert set(noise) == {"samples", "kept"} and "batch_index" in latent
    assert torch.equal(sigmas, source.sigmas.flip(0))
    assert EDIT.source.text in report and "reconstruction error" in report
    assert torch.equal(latent["samples"], clip_latent())


# ControlNet.


def controlled(tokens, control):
    return conditioning(tokens, control=control, control_apply_to_uncond=True)


def test_controlnet_on_the_source():
    model = small_model()
    plain = inverted(model, EDIT)
    source = inverted(model, EDIT, conditioning=controlled(EDIT.source, random_controlnet(1.0)))
    assert relative(source.trajectory, plain.trajectory) > 1e-3
    assert relative(source.word_maps, plain.word_maps) > 1e-3


def test_controlnet_is_replayed():
    """The rows that run again for the source predict the noise by which inversion moved."""
    model = small_model()
    source = inverted(model, EDIT, conditioning=controlled(EDIT.source, random_controlnet(1.0)))
    seen = []

    def replayed(executor, model, conds, x, timestep, options):
        result = executor(model, conds, x, timestep, options)
        if len(conds) == 1:
            seen.append((float(timestep[0]), result[0]))
        return result

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", replayed)
    edited(model, source, EDIT, BlendSettings(Window(0, 1), Window(0, 1)))
    assert len(seen) == source.steps
    for sigma, denoised in seen:
        level = int((source.sigmas - sigma).abs().argmin())
        before, after = source.trajectory[level - 1 : level + 1].to(denoised)
        sigmas = source.sigmas[level - 1 : level + 1]
        noise = (source.fed_at(sigma).to(denoised) - denoised) / sigma
        assert relative(before + (sigmas[1] - sigmas[0]) * noise, after) <= 1e-5


def test_source_and_target_with_controlnets_of_their_own():
    model = small_model()
    source = inverted(model, EDIT, conditioning=controlled(EDIT.source, random_controlnet(1.0)))
    settings = BlendSettings(Window(0, 1), Window(0, 1))
    results = [
        edited_under(model, source, settings, control)
        for control in (None, random_controlnet(1.0, hint_seed=2), random_controlnet(1.0, seed=5))
    ]
    assert all(torch.isfinite(result).all() for result in results)
    assert relative(results[0], results[1]) > 1e-3 and relative(results[1], results[2]) > 1e-3


def edited_under(model, source, settings, control):
    positive = conditioning(EDIT.target) if control is None else controlled(EDIT.target, control)
    return sample_edit(model, source, EDIT, settings, positive, conditioning(EDIT.source), 5.0, disable_pbar=True)


def test_sigmas_rise_for_every_scheduler():
    model = small_model()
    for schedule in (OFFICIAL, *comfy.samplers.SCHEDULER_NAMES):
        try:
            sigmas = inversion_sigmas(model, schedule, 10)
        except ValueError as refused:
            assert schedule in str(refused) and "repeats" in str(refused)
            continue
        assert (sigmas[1:] > sigmas[:-1]).all()


def guided(model):
    """The model with a function of every kind that guidance nodes add, each of which would spoil an inversion."""
    model = model.clone()
    model.set_model_sampler_cfg_function(lambda args: args["cond"] * 2, disable_cfg1_optimization=True)
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 2, disable_cfg1_optimization=True)
    model.set_model_sampler_pre_cfg_function(lambda args: [out * 2 for out in args["conds_out"]])
    return model


def test_guidance_has_no_part_in_an_inversion():
    model = small_model()
    options = guided(model).model_options
    plain, spoilt = inverted(model, EDIT), guided(model)
    run = inverted(spoilt, EDIT)
    assert torch.equal(run.trajectory, plain.trajectory)
    assert torch.equal(reconstruct(spoilt, run, disable_pbar=True), reconstruct(model, plain, disable_pbar=True))
    assert spoilt.model_options.keys() == options.keys()  # the model that was given keeps its guidance


@pytest.mark.parametrize("node", ["EasyCache", "LazyCache"])
def test_what_skips_calls_has_no_part_in_an_inversion(node):
    from comfy_extras import nodes_easycache

    model = small_model()
    cached = getattr(nodes_easycache, f"{node}Node").execute(model, 0.5, 0.0, 1.0, False).result[0]
    with CallCounter(model) as counter:
        run = inverted(cached, EDIT, steps=6)
    assert counter.calls == 6
    assert torch.equal(run.trajectory, inverted(model, EDIT, steps=6).trajectory)


def test_a_noise_mask_is_refused():
    latent = {"samples": clip_latent(), "noise_mask": torch.ones(1, 16, 16)}
    with pytest.raises(ValueError, match="^DDIM Invert.*'latent' carries a noise mask"):
        Invert.execute(small_model(), conditioning(EDIT.source), latent, 2, OFFICIAL)
