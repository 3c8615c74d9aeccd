"""A step of a tuning against a plain training step of the same UNet."""

from collections.abc import Callable
from statistics import median

import comfy.model_management
import torch

from edit_cases import clip_latent
from fatezero_pack.fatezero.network.unet.gradients import make_differentiable
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.tuning.first_weights import first_state
from fatezero_pack.fatezero.tuning.memory import step_bytes
from fatezero_pack.fatezero.tuning.settings import PRESETS
from fatezero_pack.fatezero.tuning.tuned_state import tuned_model
from fatezero_pack.fatezero.tuning.tuning_run import TuningRun
from golden_unet import UNET_CONFIG

from .figures import BYTES, RATIO, SECONDS, Figure
from .runs import random_model
from .sizes import SD15, UNETS, Plan, Size
from .timing import in_turn, ratio

STEP = {"Tune-A-Video": "tuning_step_ratio", "FateZero": "tuning_step_with_convolutions_ratio"}
PLAIN, WIDENED = "plain", "plain, with the key frames"
MEANT = {
    PLAIN: "plain UNet, all weights with a gradient",
    WIDENED: "UNet whose self-attention spans the same key frames, all weights with a gradient",
}


def tuning_step(plan: Plan) -> dict[str, Figure]:
    """Time of a step, and what it takes at the paper's size."""
    size, model = plan.tuning, random_model(plan.tuning.unet)
    prompt = torch.randn(1, 77, {**UNET_CONFIG, **UNETS[size.unet]}["context_dim"])
    latent = clip_latent(size.frames, *size.latent)
    weights = weights_with_gradients(model)
    widened = inflate(model, Inflation(PRESETS["FateZero"].key_frames))
    works = {PLAIN: plain_training_step(model, weights, latent, prompt)}
    works[WIDENED] = plain_training_step(widened, weights, latent, prompt)
    works |= {name: step_of(model, name, latent, prompt) for name in STEP}
    for work in works.values():
        work()
    times = in_turn(works, plan.repeats)
    figures = {}
    for name, figure in STEP.items():
        for ending, theirs, goal in (("", PLAIN, 1.35), ("_with_key_frames", WIDENED, None)):
            value, spread = ratio([times[name]], [times[theirs]])
            meaning = f"time of a tuning step ({name}) / of forward and backward of the {MEANT[theirs]}"
            seconds = {"a step": median(times[name]), theirs: median(times[theirs])}
            figures[figure + ending] = Figure(
                value, RATIO, meaning, str(size), plan.repeats, goal, spread, seconds, SECONDS
            )
    return {**figures, **computed_for_sd15()}


def step_of(model, preset: str, latent: torch.Tensor, prompt: torch.Tensor) -> Callable[[], None]:
    """A step of the optimizer on a clip, without blocks that compute twice."""
    settings = PRESETS[preset]
    state = first_state(model, settings)
    working = tuned_model(model, state, settings.key_frames)
    comfy.model_management.load_models_gpu([working, *working.get_nested_additional_models()])
    run = TuningRun(working, state, prompt, latent, settings, checkpoint=False)
    return lambda: run.step(500, torch.randn(latent.shape))


def weights_with_gradients(model) -> dict[str, torch.Tensor]:
    """Copies of a UNet's weights that record what is computed with them."""
    with torch.inference_mode(False):
        network = model.model.diffusion_model
        return {name: weight.detach().clone().requires_grad_() for name, weight in network.named_parameters()}


def plain_training_step(
    model, weights: dict[str, torch.Tensor], latent: torch.Tensor, prompt: torch.Tensor
) -> Callable[[], None]:
    """Forward and backward of ComfyUI's UNet on as many frames, to all of its weights."""
    comfy.model_management.load_models_gpu([model])
    network, device, dtype = model.model.diffusion_model, model.load_device, model.model.get_dtype_inference()
    options = {**model.model_options["transformer_options"], "cond_or_uncond": [0], "uuids": [0]}
    make_differentiable(options)

    def step() -> None:
        with torch.inference_mode(False), torch.enable_grad():
            clip = latent.clone().to(device, dtype)
            context = prompt.clone().to(device, dtype).expand(len(clip), -1, -1).contiguous()
            inputs = clip, torch.full((len(clip),), 500.0, device=device)
            predicted = torch.func.functional_call(
                network, weights, inputs, {"context": context, "transformer_options": dict(options)}
            )
            torch.autograd.grad(predicted.float().square().mean(), list(weights.values()))

    return step


def computed_for_sd15() -> dict[str, Figure]:
    """What a tuning says before it starts, at the paper's size; a test counts that it is right."""
    size, channels = Size(SD15, 512, 8, 1), UNETS[SD15]["model_channels"]
    figures = {}
    for name, checkpoint, words, goal in (
        ("tuning_bytes_sd15_computed", False, "off", None),
        ("tuning_bytes_checkpointed_sd15_computed", True, "on", 1.5 * 2**30),
    ):
        figures[name] = Figure(
            step_bytes((size.frames, 4, *size.latent), channels, torch.float16, checkpoint),
            BYTES,
            f"activations of a tuning step (FateZero) in float16 with checkpointing {words}: computed from the shapes",
            str(size),
            0,
            goal,
        )
    return figures
