"""Noise levels of inversion and editing, in ComfyUI's sigma = sqrt((1 - alpha_bar) / alpha_bar)."""

import torch

OFFICIAL = "DDIM (official)"


def ddim_timesteps(steps: int, train_steps: int = 1000) -> torch.Tensor:
    """Ascending timesteps of the official scheduler: leading spacing, offset 1 (1, 21, ..., 981 for 50 steps)."""
    return torch.arange(steps) * (train_steps // steps) + 1


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
    """The tensor of a sequence at a fractional index, linear between neighbours."""
    lower = int(position)
    weight = position - lower
    return levels[lower] if weight == 0 else torch.lerp(levels[lower], levels[lower + 1], weight)
