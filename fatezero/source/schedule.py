"""Noise levels of inversion and editing, in ComfyUI's sigma = sqrt((1 - alpha_bar) / alpha_bar)."""

import comfy.model_sampling
import torch

from ..refusal import Refusal, counted

OFFICIAL = "DDIM (official)"
OF_FLOWS = "simple"  # in its place for a model that predicts a flow, which has no DDIM
FEW_STEPS = 10  # with fewer, the official code's authors find only style edits to work
# Above this share of the variance, a clip is still seen in its noise; 10 steps of SD 1.5 leave 0.014.
TOO_MUCH_CLIP = 0.015
# The official timesteps are kept where their whole intervals cover this share of the training timesteps.
OFFICIAL_COVERAGE = 0.95


def ddim_timesteps(steps: int, train_steps: int = 1000) -> torch.Tensor:
    """Ascending timesteps of the official scheduler: leading spacing, offset 1.

    The official code rounds the interval between them down. Where that leaves out much of the noisy end (501 steps of 1
    end in the middle), the timesteps are rounded instead of the interval.

    Args:
        steps: 1 to train_steps.
        train_steps: How many the model was trained with.

    >>> ddim_timesteps(50)[[0, 1, -1]].tolist(), ddim_timesteps(501)[[0, 1, -1]].tolist()
    ([1, 21, 981], [1, 2, 999])
    """
    interval = train_steps // steps
    if interval * steps >= OFFICIAL_COVERAGE * train_steps:
        return torch.arange(steps) * interval + 1
    return torch.arange(steps) * train_steps // steps + 1


def official_sigmas(model_sigmas: torch.Tensor, steps: int) -> torch.Tensor:
    """Ascending sigmas of the official DDIM schedule.

    model_sigmas: the model's sigma of every training timestep, ascending [1000]; steps: 1..999.
    Returns float32 [steps + 1]; the first is the level of alpha_bar_0 (`set_alpha_to_one=False`), at which the
    official code takes the clean latent to be.
    """
    train_steps = len(model_sigmas)
    timesteps = ddim_timesteps(steps, train_steps).clamp(max=train_steps - 1)
    return model_sigmas.float().cpu()[torch.cat([torch.zeros(1, dtype=torch.long), timesteps])]


def comfy_sigmas(model_sampling, scheduler: str, steps: int) -> torch.Tensor:
    """Ascending sigmas of one of ComfyUI's schedulers, from 0 up; float32 [number of steps + 1]."""
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model_sampling, scheduler, steps).float().cpu().flip(0)


def inversion_sigmas(model, schedule: str, steps: int) -> torch.Tensor:
    """The noise levels of an inversion; refuses levels that repeat.

    Args:
        model: ModelPatcher.
        schedule: OFFICIAL, which is OF_FLOWS for a model that predicts a flow, or the name of one of ComfyUI's
            schedulers.
        steps: 1 to 999.

    Returns:
        Ascending sigmas, float32 [steps + 1].
    """
    model_sampling = model.get_model_object("model_sampling")
    if not 1 <= steps <= 999:
        raise Refusal(f"'steps' is {steps}; choose 1 to 999.")
    is_flow = isinstance(model_sampling, comfy.model_sampling.CONST)
    if schedule == OFFICIAL and not is_flow:
        sigmas = official_sigmas(model_sampling.sigmas, steps)
    else:
        sigmas = comfy_sigmas(model_sampling, OF_FLOWS if schedule == OFFICIAL else schedule, steps)
    if not bool((sigmas[1:] > sigmas[:-1]).all()):
        raise Refusal(
            f"'schedule' {schedule} repeats noise levels at {counted(steps, 'step')}; "
            "use another number of steps or another schedule."
        )
    return sigmas


def has_much_of_the_clip(sigma: float, is_flow: bool) -> bool:
    """Whether noise of a level has much of the clip left in it: of a flow (1 - sigma)·x_0, else x_0 + sigma·epsilon.

    >>> has_much_of_the_clip(4.0, False), has_much_of_the_clip(14.6, False)
    (True, False)
    """
    return ((1 - sigma) ** 2 if is_flow else 1 / (1 + sigma**2)) > TOO_MUCH_CLIP


def noise_shortfall(model, sigmas: torch.Tensor) -> str | None:
    """What to say of a schedule that ends where much of the clip is left in the noise, in one sentence, or None.

    Args:
        model: ModelPatcher.
        sigmas: Of the inversion, ascending [N + 1].
    """
    model_sampling = model.get_model_object("model_sampling")
    end, most = float(sigmas[-1]), float(model_sampling.sigma_max)
    is_flow = isinstance(model_sampling, comfy.model_sampling.CONST)
    if not has_much_of_the_clip(end, is_flow):
        return None
    return (
        f"the noise ends at sigma {end:.2g} of {most:.3g}: much of the clip is still in it, so an edit can change "
        "little; use 10 or more steps"
    )


def few_steps(steps: int) -> str | None:
    """What to say of an inversion in so many steps, or None."""
    if steps >= FEW_STEPS:
        return None
    return f"{counted(steps, 'step')} are too few for more than a new style; use 20 or more"


def rescaled(latent: torch.Tensor, sigma, label) -> torch.Tensor:
    """A latent at one noise level, scaled so that the UNet sees it unchanged when it is told another.

    ComfyUI's x = x_0 + sigma·epsilon is DDIM's z = sqrt(alpha_bar)·x_0 + sqrt(1 - alpha_bar)·epsilon times
    sqrt(1 + sigma²), and the model divides by that of its label.

    Args:
        latent: x at level `sigma`, of any shape.
        sigma: The level of the latent; 0 or above, a number or a tensor of one.
        label: The level that the model is told; 0 gives DDIM's z.

    Returns:
        The latent times sqrt((1 + label²) / (1 + sigma²)).
    """
    return latent * ((1 + label**2) / (1 + sigma**2)) ** 0.5


def schedule_position(sigmas: torch.Tensor, sigma: float) -> float:
    """Where a sigma lies in an ascending schedule, as a fractional index.

    Exactly an integer where the sigma is one of the schedule's (to 1e-4 relative); linear in sigma between;
    clipped to 0 .. len(sigmas) - 1.
    """
    levels = sigmas.double()
    nearest = int((levels - sigma).abs().argmin())
    if abs(float(levels[nearest]) - sigma) <= 1e-4 * max(sigma, 1e-3):
        return float(nearest)
    if sigma <= float(levels[0]):
        return 0.0
    if sigma >= float(levels[-1]):
        return float(len(levels) - 1)
    upper = int(torch.searchsorted(levels, torch.tensor(sigma, dtype=torch.float64)))
    lower_sigma, upper_sigma = float(levels[upper - 1]), float(levels[upper])
    return upper - 1 + (sigma - lower_sigma) / (upper_sigma - lower_sigma)


def at_position(levels, position: float) -> torch.Tensor:
    """The tensor of a sequence at a fractional index, linear between neighbours; its first or last beyond them."""
    position = min(max(position, 0.0), len(levels) - 1.0)
    lower = int(position)
    weight = position - lower
    return levels[lower] if weight == 0 else torch.lerp(levels[lower], levels[lower + 1], weight)
