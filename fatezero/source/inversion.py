"""DDIM inversion (FateZero Eq. 3): from the clip's latents to the noise that draws it again."""

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from tqdm.auto import trange

from ..network.attention_layers import CROSS
from ..network.chunked_sampling import ChunkedRun
from ..network.frame_chunks import active_chunk
from ..network.model_identity import fingerprint
from ..network.option_keys import INVERSION, TOKENS
from ..network.unet_attention import downsampling, install_hooks, plain_attention
from ..network.unet_check import prediction_type
from ..network.unet_inflation import inflation_of
from ..network.word_maps import layer_word_maps, mask_downsampling
from ..refusal import Refusal
from .schedule import OFFICIAL, comfy_sigmas, official_sigmas
from .source_run import TARGET_LABEL, SourceRun


@torch.no_grad()
def sample_ddim_inversion(
    model,
    x,
    sigmas,
    extra_args=None,
    callback=None,
    disable=None,
    *,
    prediction="epsilon",
    label=TARGET_LABEL,
    refinement=0,
    smallest_sigma=0.0,
    before_call=None,
    on_latent=None,
    first_step=0,
    first_latent=None,
):
    """DDIM inversion as a ComfyUI sampler function: FateZero Eq. 3 in sigma space.

    x: [n, c, h, w] at sigmas[0]; sigmas: ascending [N + 1]; model(x, sigma) returns the denoised latent.
    prediction: "epsilon" or "v". label: "target" evaluates epsilon at the noisier sigma of each step, as the official
    code; "current" at the cleaner one, as the paper prints it (never below smallest_sigma). refinement: iterations of
    x' = x + (sigma' - sigma) epsilon(x', sigma'), after which denoising undoes the step exactly.
    before_call(step, last): told before each evaluation; on_latent(step, x): given each new latent. first_step: goes on
    there, from first_latent [n, c, h, w] at sigmas[first_step].
    """
    extra_args = extra_args or {}
    ones = x.new_ones([x.shape[0]])
    if first_step:
        x = first_latent.to(x)
    steps = len(sigmas) - 1
    for step in trange(first_step, steps, initial=first_step, total=steps, disable=disable):
        sigma, next_sigma = sigmas[step], sigmas[step + 1]
        evaluate_at = next_sigma if label == TARGET_LABEL else sigma.clamp_min(smallest_sigma)
        # Scaled so that the UNet, which divides by sqrt(1 + label²), sees the latent of level sigma as it is.
        fed = x * ((1 + evaluate_at**2) / (1 + sigma**2)) ** 0.5
        if before_call is not None:
            before_call(step, refinement == 0)
        denoised = model(fed, evaluate_at * ones, **extra_args)
        epsilon = predicted_noise(fed, denoised, evaluate_at, x, sigma, prediction)
        following = x + (next_sigma - sigma) * epsilon
        for iteration in range(refinement):
            if before_call is not None:
                before_call(step, iteration == refinement - 1)
            denoised = model(following, next_sigma * ones, **extra_args)
            epsilon = (following - denoised) / next_sigma
            following = x + (next_sigma - sigma) * epsilon
        if callback is not None:
            callback({"x": x, "i": step, "sigma": sigma, "sigma_hat": next_sigma, "denoised": x - sigma * epsilon})
        x = following
        if on_latent is not None:
            on_latent(step, x)
    return x


def predicted_noise(fed, denoised, evaluated_at, x, sigma, prediction: str):
    """Epsilon of the latent x at level sigma, from a denoised latent that was computed under another label.

    fed: what the model was given; evaluated_at: its label. For epsilon-prediction the label's scale cancels; for
    v-prediction v is recovered first and turned into epsilon with the latent's own level (as diffusers' inverse
    scheduler; the official code assumes epsilon-prediction throughout).
    """
    if prediction == "epsilon":
        return (fed - denoised) / evaluated_at
    v = (fed / (1 + evaluated_at**2) - denoised) * (1 + evaluated_at**2) ** 0.5 / evaluated_at
    alpha = (1 + sigma**2) ** -0.5
    return alpha * v + sigma * alpha * (x * alpha)


def inversion_sigmas(model, schedule: str, steps: int) -> torch.Tensor:
    """Ascending sigmas [steps + 1] of the official schedule or of a ComfyUI scheduler; refuses levels that repeat."""
    model_sampling = model.get_model_object("model_sampling")
    if not 1 <= steps <= 999:
        raise Refusal(f"'steps' is {steps}; choose 1 to 999.")
    if schedule == OFFICIAL:
        sigmas = official_sigmas(model_sampling.sigmas, steps)
    else:
        sigmas = comfy_sigmas(model_sampling, schedule, steps)
    if not bool((sigmas[1:] > sigmas[:-1]).all()):
        raise Refusal(
            f"'schedule' {schedule} repeats noise levels at {steps} steps; "
            "use another number of steps or another schedule."
        )
    return sigmas


def invert(
    model,
    conditioning,
    latent: torch.Tensor,
    *,
    sigmas: torch.Tensor,
    label: str = TARGET_LABEL,
    refinement: int = 0,
    callback=None,
    disable_pbar: bool = False,
    unfinished=None,
) -> SourceRun:
    """Inverts a clip under its source prompt, without guidance, and keeps the trajectory and the word maps.

    model: ModelPatcher, inflated or not; conditioning: source CONDITIONING; latent: [n, c, h, w] as a VAE gives it;
    sigmas: from `inversion_sigmas`; callback: ComfyUI's (step, denoised, x, total); unfinished: the
    UnfinishedInversion of the same arguments, to go on after its finished steps and to keep the others.
    The clean latent is taken to be at sigmas[0] (official: alpha_bar_0), so it is scaled into x = x_0 + sigma·epsilon.
    """
    model = model.clone()
    model_sampling = model.get_model_object("model_sampling")
    tokens = conditioning[0][1].get(TOKENS)
    capture = WordMapCapture(latent.shape, tokens.end + 1 if tokens is not None else None)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, INVERSION, capture.outer_sample)
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning})

    clean = latent.float() * (1 + float(sigmas[0]) ** 2) ** 0.5
    trajectory = torch.empty(len(sigmas), *latent.shape)
    trajectory[0] = model.model.process_latent_in(clean)
    first_step = 0
    if unfinished is not None:
        for first_step, (following, maps) in enumerate(unfinished.finished_steps(), start=1):
            trajectory[first_step] = following
            capture.steps.append(maps)

    def keep(step, x):
        trajectory[step + 1] = x
        if unfinished is not None:
            unfinished.write(step, trajectory[step + 1], capture.steps[-1])

    sampler = comfy.samplers.KSAMPLER(
        sample_ddim_inversion,
        {
            "prediction": prediction_type(model),
            "label": label,
            "refinement": refinement,
            "smallest_sigma": float(model_sampling.sigma_min),
            "before_call": capture.before_call,
            "on_latent": keep,
            "first_step": first_step,
            "first_latent": trajectory[first_step],
        },
    )
    guider.sample(torch.zeros_like(clean), clean, sampler, sigmas, callback=callback, disable_pbar=disable_pbar, seed=0)
    return SourceRun(
        sigmas=sigmas,
        trajectory=trajectory,
        word_maps=capture.word_maps(),
        label=label,
        refinement=refinement,
        conditioning=conditioning,
        tokens=tokens,
        inflation=inflation_of(model),
        fingerprint=fingerprint(model),
    )


class WordMapCapture:
    """Reads the source's cross-attention during inversion, at the last evaluation of each step.

    latent_shape: [n, c, h, w]; tokens: how many of the prompt's tokens to keep (the padding is of no use), or None.
    """

    def __init__(self, latent_shape, tokens: int | None):
        self.downsampling = mask_downsampling(*latent_shape[-2:])
        self.tokens = tokens
        self.steps = []
        self.layers = None  # maps of the layers that a chunk has passed, where they are wanted
        self.active = False

    def outer_sample(self, executor, *args, **kwargs):
        """OUTER_SAMPLE wrapper: hooks the run's private options."""
        guider = executor.class_obj
        install_hooks(
            guider.model_options["transformer_options"], guider.model_patcher.model.diffusion_model, self.attend
        )
        ChunkedRun(guider.model_patcher, "DDIM Invert + Store Attention", self.evaluate_chunk).install(guider)
        return executor(*args, **kwargs)

    def before_call(self, step: int, last: bool):
        self.active = last
        if last:
            self.steps.append(None)

    def evaluate_chunk(self, executor, model, conds, x, timestep, model_options):
        """A chunk's call, whose maps are assigned, not added: out of memory, it runs again."""
        active = active_chunk(model_options["transformer_options"])
        self.layers = [] if self.active else None
        denoised = executor(model, conds, x, timestep, model_options)
        if self.layers:
            maps = torch.stack(self.layers).mean(dim=0)[:, : self.tokens].cpu()
            self.steps[-1] = active.put(maps, self.steps[-1])
        return denoised

    def word_maps(self) -> torch.Tensor:
        return torch.stack(self.steps)

    def attend(self, layer, query, key, value, extra, previous):
        if self.layers is not None and layer.kind == CROSS and downsampling(extra) == self.downsampling:
            self.layers.append(layer_word_maps(query, key, extra))
        if previous is not None:
            return previous(query, key, value, extra)
        return plain_attention(query, key, value, extra)
