"""Noise levels, and finding one's place among them."""

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType

from edit_cases import small_model
from fatezero_pack.fatezero.source.schedule import (
    OFFICIAL,
    at_position,
    comfy_sigmas,
    ddim_timesteps,
    inversion_sigmas,
    noise_shortfall,
    official_sigmas,
    schedule_position,
)
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, TARGET_LABEL, SourceRun
from tiny_video_models import wan

SIGMAS = torch.tensor([0.0, 1.0, 2.0, 5.0])
ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, dim=0)


@pytest.mark.parametrize("steps, last", [(50, 981), (30, 958), (20, 951), (10, 901), (1, 1), (999, 999)])
def test_timesteps_are_those_of_the_official_scheduler(steps, last):
    timesteps = ddim_timesteps(steps)
    assert len(timesteps) == steps and (int(timesteps[0]), int(timesteps[-1])) == (1, last)
    assert set(timesteps.diff().tolist()) <= {1000 // steps}


@pytest.mark.parametrize("steps, last", [(67, 986), (150, 994), (300, 997), (501, 999), (600, 999), (900, 999)])
def test_timesteps_that_would_end_early_are_spread_over_all(steps, last):
    """The official ones would end at 925, 895, 898, 501, 600 and 900."""
    timesteps = ddim_timesteps(steps)
    assert len(timesteps) == steps and (int(timesteps[0]), int(timesteps[-1])) == (1, last)
    assert set(timesteps.diff().tolist()) == {1000 // steps, 1000 // steps + 1}


def test_every_number_of_steps_reaches_the_noise_or_is_said_not_to():
    """One step ends at sigma 0.04, five at 5.1, ten at 8.4 of 14.6."""
    model = small_model()
    assert model.get_model_object("model_sampling").sigma_max == pytest.approx(14.61, abs=0.01)
    ends = {steps: inversion_sigmas(model, OFFICIAL, steps)[-1] for steps in range(1, 1000)}
    said = [steps for steps in ends if noise_shortfall(model, inversion_sigmas(model, OFFICIAL, steps))]
    assert said == list(range(1, 10))
    assert [round(float(ends[steps]), 2) for steps in (1, 5, 10, 300, 501)] == [0.04, 5.13, 8.39, 14.44, 14.61]
    assert min(ends[steps] for steps in ends if steps >= 10) == ends[10]
    assert all((inversion_sigmas(model, OFFICIAL, steps).diff() > 0).all() for steps in ends)
    assert "sigma 0.041 of 14.6" in noise_shortfall(model, inversion_sigmas(model, OFFICIAL, 1))


def test_how_much_of_the_clip_is_left_decides():
    """A model of no signal at its end (zero terminal SNR) goes on to sigma 4518; at 42 the clip is gone long since."""
    model = small_model(model_type=ModelType.V_PREDICTION)
    sampling = type(model.get_model_object("model_sampling"))(model.model.model_config, zsnr=True)
    model.add_object_patch("model_sampling", sampling)
    ends = {steps: inversion_sigmas(model, OFFICIAL, steps) for steps in (1, 5, 20, 50)}
    assert ends[20][-1] < 0.01 * sampling.sigma_max
    assert [steps for steps, sigmas in ends.items() if noise_shortfall(model, sigmas)] == [1, 5]


@pytest.mark.parametrize("end, is_said", [(1.0, False), (0.9, False), (0.8, True), (0.5, True)])
def test_of_a_flow_the_clip_is_what_its_sigma_leaves(end, is_said):
    model = wan()
    assert bool(noise_shortfall(model, torch.tensor([0.0, 0.2, end]))) == is_said


@pytest.mark.parametrize("steps", [1, 4, 30, 50, 999])
def test_official_sigmas_begin_at_alpha_bar_0(steps):
    model_sampling = small_model().get_model_object("model_sampling")
    sigmas = official_sigmas(model_sampling.sigmas, steps).double()
    levels = ALPHAS[[0, *ddim_timesteps(steps).tolist()]]
    assert torch.allclose(1 / (1 + sigmas**2), levels, rtol=1e-5)
    assert (sigmas.diff() > 0).all()


def test_known_values():
    """Of the official schedule: sigma of alpha_bar_0, of timesteps 1, 961 and 981."""
    sigmas = official_sigmas(small_model().get_model_object("model_sampling").sigmas, 50)
    assert [round(float(sigmas[index]), 3) for index in (0, 1, 49, 50)] == [0.029, 0.041, 11.676, 13.120]


@pytest.mark.parametrize("scheduler", comfy.samplers.SCHEDULER_NAMES)
def test_comfyui_sigmas_are_the_samplers_own_upside_down(scheduler):
    model_sampling = small_model().get_model_object("model_sampling")
    sigmas = comfy_sigmas(model_sampling, scheduler, 10)
    assert torch.equal(sigmas.flip(0), comfy.samplers.calculate_sigmas(model_sampling, scheduler, 10))
    assert sigmas[0] == 0


def test_repeated_levels_are_refused():
    model = small_model()
    with pytest.raises(ValueError, match="^'schedule' simple repeats noise levels at 5 steps; use"):
        model.add_object_patch("model_sampling", RepeatingSampling(model.get_model_object("model_sampling")))
        inversion_sigmas(model, "simple", 5)


class RepeatingSampling:
    """A model of three noise levels only."""

    def __init__(self, model_sampling):
        self.sigmas = model_sampling.sigmas[[10, 400, 900]]


@pytest.mark.parametrize("steps", [0, -3, 1000])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(ValueError, match=f"'steps' is {steps}; choose 1 to 999"):
        inversion_sigmas(small_model(), OFFICIAL, steps)


@pytest.mark.parametrize(
    "sigma, position",
    [(0.0, 0), (1.0, 1), (5.0, 3), (1.00001, 1), (0.5, 0.5), (1.25, 1.25), (3.5, 2.5), (9.0, 3), (-1.0, 0)],
)
def test_position(sigma, position):
    assert schedule_position(SIGMAS, sigma) == pytest.approx(position, abs=1e-9)


def test_every_level_is_found_exactly_in_single_precision():
    for steps in (4, 50, 999):
        sigmas = official_sigmas(small_model().get_model_object("model_sampling").sigmas, steps)
        # As a sampler hands a sigma over: to a tensor, through the model's device, back to a number.
        assert [schedule_position(sigmas, float(sigma * 1.0000001)) for sigma in sigmas] == list(range(steps + 1))


def test_at_position_is_linear_and_exact_at_levels():
    levels = torch.tensor([[0.0], [10.0], [30.0]])
    assert [float(at_position(levels, position)) for position in (0.0, 1.0, 2.0, 0.5, 1.25)] == [0, 10, 30, 5, 15]


def run(label=TARGET_LABEL, refinement=0):
    """A run whose latents and word maps say which level and which call they are of."""
    count = torch.arange(4.0)
    return SourceRun(
        sigmas=SIGMAS,
        trajectory=count.view(4, 1, 1, 1, 1) + 1,
        word_maps=count[:3].view(3, 1, 1, 1, 1),
        label=label,
        refinement=refinement,
        conditioning=[],
        tokens=None,
        inflation=None,
        fingerprint="",
    )


@pytest.mark.parametrize("sigma, step", [(5, 0), (9, 0), (3.5, 0), (2, 1), (1.5, 1), (1, 2), (0.5, 2), (0, 2)])
def test_step_of_a_sigma(sigma, step):
    assert run().step_at(sigma) == step


def test_what_the_model_was_fed():
    """At a sigma inversion had the latent of the next cleaner level with the target label, else of the sigma itself."""
    for level in (1, 2, 3):
        sigma, cleaner = float(SIGMAS[level]), float(SIGMAS[level - 1])
        scale = ((1 + sigma**2) / (1 + cleaner**2)) ** 0.5
        assert float(run().fed_at(sigma)) == pytest.approx(level * scale)
        assert float(run(refinement=1).fed_at(sigma)) == float(run(CURRENT_LABEL).fed_at(sigma)) == level + 1
        assert float(run().latent_at(sigma)) == level + 1


def test_word_maps_of_a_sigma():
    """Call i evaluates at level i + 1 with the target label, at level i with the current one."""
    assert [float(run().word_maps_at(float(sigma))) for sigma in SIGMAS] == [0, 0, 1, 2]
    assert [float(run(CURRENT_LABEL).word_maps_at(float(sigma))) for sigma in SIGMAS] == [0, 1, 2, 2]
    assert [float(run(CURRENT_LABEL, 2).word_maps_at(float(sigma))) for sigma in SIGMAS] == [0, 0, 1, 2]
