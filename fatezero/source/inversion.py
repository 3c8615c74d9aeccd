"""DDIM inversion (FateZero Eq. 3): from the clip's latents to the noise that draws it again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from tqdm.auto import trange

from ..network.inspection.model_identity import fingerprint
from ..network.inspection.other_nodes import nodes_on
from ..network.model_call import ModelCall
from ..network.option_keys import INVERSION, TOKENS
from ..network.unet.attention import install_hooks, plain_attention
from ..network.unet.check import prediction_type
from ..network.unet.chunked_sampling import ChunkedRun
from ..network.unet.inflation import inflation_of
from ..network.unet.mask_layers import MaskLayers, mask_layers
from ..network.without_guidance import without_guidance
from .resume import UnfinishedInversion
from .schedule import rescaled
from .source_run import CURRENT_LABEL, TARGET_LABEL, UNI_INV, UNI_VERSION, VERSION, SourceRun


@dataclass(frozen=True)
class InversionStep:
    """One step of DDIM inversion in sigma space, from x at sigma to x' at the noisier sigma'.

    Args:
        prediction: What the model predicts, "epsilon" or "v".
        label: Where the model is asked: "target" is x told sigma', as the official code; "current" is x told sigma, as
            the paper prints it; UNI_INV (Jiao et al. 2025) is where the last step's epsilon leads, told sigma'.
        refinement: Iterations of x' = x + (sigma' - sigma) epsilon(x', sigma'). Once settled, denoising undoes the step
            exactly.
        smallest_sigma: The lowest level that the model knows.
    """

    prediction: str
    label: str = TARGET_LABEL
    refinement: int = 0
    smallest_sigma: float = 0.0

    @classmethod
    def of(cls, model, label: str, refinement: int) -> "InversionStep":
        """The step of a ModelPatcher."""
        sigma_min = float(model.get_model_object("model_sampling").sigma_min)
        return cls(prediction_type(model), label, refinement, sigma_min)

    def __call__(
        self, model, x, sigma, next_sigma, last_epsilon=None, **extra_args
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The latent at next_sigma and the denoised latent, [n, c, h, w]; last_epsilon: of the step before, None before
        the first; the other arguments as of k-diffusion's samplers."""
        ones = x.new_ones(len(x))
        told = sigma.clamp_min(self.smallest_sigma) if self.label == CURRENT_LABEL else next_sigma
        asked, level = x, sigma
        if self.label == UNI_INV and last_epsilon is not None:
            asked, level = x + (next_sigma - sigma) * last_epsilon, next_sigma
        fed = rescaled(asked, level, told)
        denoised = model(fed, told * ones, **extra_args)
        epsilon = predicted_noise(fed, denoised, told, asked, level, self.prediction)
        following = x + (next_sigma - sigma) * epsilon  # FateZero Eq. 3, with x = z / sqrt(alpha_bar)
        for _ in range(self.refinement):
            epsilon = (following - model(following, next_sigma * ones, **extra_args)) / next_sigma
            following = x + (next_sigma - sigma) * epsilon
        return following, x - sigma * epsilon


@torch.no_grad()
def sample_ddim_inversion(
    model, x, sigmas, extra_args=None, callback=None, disable=None, *, step: InversionStep, finished=()
):
    """DDIM inversion as one of k-diffusion's samplers, whose sigmas rise.

    Args:
        model: model(x, sigma) gives the denoised latent.
        x: The latent at sigmas[0], [n, c, h, w].
        sigmas: Ascending, [N + 1].
        extra_args: What the model is given besides.
        callback: Told of each step, with its new latent as "x".
        disable: Whether to hide the progress bar.
        step: How one step is made.
        finished: The latents after the steps that were made before; it goes on with the next.

    Returns:
        The latent at sigmas[-1].
    """
    begun, steps, epsilon = len(finished), len(sigmas) - 1, None
    if begun:
        before = finished[-2].to(x) if begun > 1 else x
        x = finished[-1].to(x)
        epsilon = (x - before) / (sigmas[begun] - sigmas[begun - 1])
    for i in trange(begun, steps, initial=begun, total=steps, disable=disable):
        before = x
        x, denoised = step(model, x, sigmas[i], sigmas[i + 1], epsilon, **(extra_args or {}))
        epsilon = (x - before) / (sigmas[i + 1] - sigmas[i])
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i + 1], "denoised": denoised})
    return x


def predicted_noise(fed, denoised, told, x, sigma, prediction: str) -> torch.Tensor:
    """Epsilon of a latent, from a denoised latent that was computed under another label.

    For epsilon-prediction the label's scale cancels. For v-prediction v is recovered first and turned into epsilon
    with the latent's own level, as diffusers' inverse scheduler does; the official code knows epsilon-prediction only.

    Args:
        fed: What the model was given, [n, c, h, w].
        denoised: What it gave back, [n, c, h, w].
        told: The level that it was told.
        x: The latent, [n, c, h, w].
        sigma: The latent's own level.
        prediction: What the model predicts, "epsilon" or "v".
    """
    if prediction == "epsilon":
        return (fed - denoised) / told
    v = (fed / (1 + told**2) - denoised) * (1 + told**2) ** 0.5 / told
    alpha = (1 + sigma**2) ** -0.5  # sqrt(alpha_bar)
    return alpha * v + sigma * alpha * (x * alpha)


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
    unfinished: UnfinishedInversion | None = None,
    tell: Callable[[str], None] | None = None,
) -> SourceRun:
    """Inverts a clip under its source prompt, without guidance, and keeps the trajectory and the word maps.

    Other nodes' guidance has no part in it (`without_guidance`).

    Args:
        model: ModelPatcher, inflated or not; it is not changed.
        conditioning: The source CONDITIONING.
        latent: The clip as a VAE gives it, [n, c, h, w].
        sigmas: Of `inversion_sigmas`, ascending [N + 1]. The clean latent is taken to be at sigmas[0], as in the
            official code (alpha_bar_0), and scaled accordingly.
        label: As of InversionStep.
        refinement: As of InversionStep.
        callback: ComfyUI's callback(step, denoised, x, total).
        disable_pbar: Whether to hide the progress bar.
        unfinished: Where the steps of the same inversion lie: those found are not made again, the others are added.
        tell: Told in words how the clip goes through the model, as of ChunkedRun.
    """
    model = without_guidance(model)
    tokens = conditioning[0][1].get(TOKENS)
    clean = rescaled(latent.float(), 0.0, float(sigmas[0]))
    capture = WordMapCapture(None if tokens is None else tokens.end + 1, tell)
    recording = Recording(model.model.process_latent_in(clean), len(sigmas) - 1, capture, unfinished)

    def after_step(step, denoised, x, total):
        if callback is not None:
            callback(step, denoised, x, total)
        recording.add(x)

    step = InversionStep.of(model, label, refinement)
    sampler = comfy.samplers.KSAMPLER(sample_ddim_inversion, {"step": step, "finished": recording.finished})
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, INVERSION, capture.outer_sample)
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning})
    no_noise = torch.zeros_like(clean)
    guider.sample(no_noise, clean, sampler, sigmas, callback=after_step, disable_pbar=disable_pbar, seed=0)
    return SourceRun(
        sigmas=sigmas,
        trajectory=recording.trajectory,
        word_maps=torch.stack(recording.word_maps),
        label=label,
        refinement=refinement,
        conditioning=conditioning,
        tokens=tokens,
        inflation=inflation_of(model),
        fingerprint=fingerprint(model),
        version=UNI_VERSION if label == UNI_INV else VERSION,
        made_with=nodes_on(model),
    )


class Capture(Protocol):
    """What reads the source's attention during an inversion."""

    def take(self) -> torch.Tensor:
        """The word maps of the latest evaluation, [n, T, h', w']."""


class Recording:
    """The latents and word maps of the steps made so far; also on disk, where they may be wanted again.

    Args:
        clean: The latent at sigmas[0], [n, c, h, w].
        steps: N of the inversion.
        capture: Where the word maps of each step come from; None until one is set.
        unfinished: Where the steps lie on disk, if they do; those found count as made.
    """

    def __init__(self, clean: torch.Tensor, steps: int, capture: "Capture | None", unfinished=None):
        self.trajectory = torch.empty(steps + 1, *clean.shape)
        self.trajectory[0] = clean
        self.word_maps: list[torch.Tensor] = []
        self.capture, self.unfinished = capture, unfinished
        for latent, maps in unfinished.finished_steps() if unfinished is not None else ():
            self.word_maps.append(maps)
            self.trajectory[len(self.word_maps)] = latent

    @property
    def finished(self) -> torch.Tensor:
        """The latents after the steps made so far, [steps, n, c, h, w]."""
        return self.trajectory[1 : len(self.word_maps) + 1]

    def add(self, latent: torch.Tensor) -> None:
        """Takes the latent after a step, and the step's word maps."""
        assert self.capture is not None
        self.word_maps.append(self.capture.take())
        step = len(self.word_maps)
        self.trajectory[step] = latent
        if self.unfinished is not None:
            self.unfinished.write(step - 1, self.trajectory[step], self.word_maps[-1])


class WordMapCapture:
    """Reads the source's cross-attention during inversion, at the last evaluation of each step.

    Args:
        tokens: How many of the prompt's tokens to keep (the padding is of no use); None for all.
        tell: As of `invert`.
    """

    def __init__(self, tokens: int | None, tell: Callable[[str], None] | None = None):
        self.tell = tell
        self.mask_layers: MaskLayers | None = None
        self.tokens = tokens
        self.maps: torch.Tensor | None = None  # word maps [n, T', h', w'] of the latest evaluation
        self.layers: list[torch.Tensor] = []  # those of the layers that a chunk has passed

    def outer_sample(self, executor, noise, *args, **kwargs):
        """OUTER_SAMPLE wrapper: hooks the run's private options."""
        guider = executor.class_obj
        network = guider.model_patcher.model.diffusion_model
        self.mask_layers = mask_layers(network, *noise.shape[-2:])
        install_hooks(guider.model_options["transformer_options"], network, self.attend)
        ChunkedRun(guider.model_patcher, self.evaluate_chunk, tell=self.tell).install(guider)
        return executor(noise, *args, **kwargs)

    def evaluate_chunk(self, call: ModelCall) -> list[torch.Tensor]:
        """A chunk's call. A refinement's maps take the place of those before, and so do those of a second try after
        memory ran out."""
        self.layers = []
        denoised = call.run()
        if self.layers and call.active is not None:
            maps = torch.stack(self.layers).mean(dim=0)[:, : self.tokens]
            self.maps = call.active.put(maps, self.maps)
        return denoised

    def take(self) -> torch.Tensor:
        """The word maps of the latest evaluation, once."""
        maps, self.maps = self.maps, None
        assert maps is not None
        return maps.cpu()

    def attend(self, layer, query, key, value, extra, previous):
        assert self.mask_layers is not None
        if layer in self.mask_layers.layers:
            self.layers.append(self.mask_layers.word_maps(query, key, extra))
        if previous is not None:
            return previous(query, key, value, extra)
        return plain_attention(query, key, value, extra)
