"""Names of runs: a run made again under the same name would come out the same."""

import hashlib

import comfy.controlnet
import torch

from ..network.inspection.model_identity import Unrecognised, content_parts
from ..network.transformer.two_models import LOW_NOISE_MODEL
from ..network.unet.chunked_sampling import APPROXIMATELY, ChunkedRun
from ..network.unet.gradients import GradientChunks
from ..network.unet.inflation import Inflation
from ..network.without_guidance import without_guidance
from ..prompts.tokens import PromptTokens
from .source_run import SourceRun


def inversion_digest(
    model,
    conditioning,
    latent: torch.Tensor,
    *,
    sigmas: torch.Tensor,
    label: str,
    refinement: int,
    low_noise_model=None,
    boundary: float = 0.0,
    chunks: str = "",
) -> str:
    """A text that is the same for two inversions only where they give the same result.

    Args:
        model, conditioning, latent, sigmas, label, refinement: As for `invert`.
        low_noise_model, boundary: As for `invert_video`.
        chunks: How the clip goes through the model, in words; counts only where the result is not quite that of the
            clip at once.

    Raises:
        Unrecognised: Where the model or the conditioning holds what cannot be named by its content.
    """
    digest = hashlib.sha256(b"FateZero inversion 4;")
    _add(digest, [*content_parts(model), latent, sigmas, label, refinement], "'model'")
    if low_noise_model is not None:
        _add(digest, [*content_parts(low_noise_model), boundary], f"'{LOW_NOISE_MODEL}'")
    if APPROXIMATELY in chunks:
        _add(digest, chunks, "'model'")
    _add_conditioning(digest, conditioning, "'source conditioning'")
    return digest.hexdigest()[:32]


def null_text_digest(model, source: SourceRun, start, negative, settings) -> str:
    """A text that is the same for two null-text runs only where they give the same result.

    Args:
        model, source: As for `optimize_null_text`.
        start: The CONDITIONING that the optimisation starts from.
        negative: The CONDITIONING that the result is compared with.
        settings: All else that it depends on: numbers and texts in a list.

    Raises:
        Unrecognised: Where the model or a conditioning holds what cannot be named by its content.
    """
    digest = hashlib.sha256(b"FateZero null text 1;")
    _add(digest, [*content_parts(model), source.sigmas, source.trajectory, source.label, list(settings)], "'model'")
    for run in (ChunkedRun(model), GradientChunks(model)):  # what arrives at each step, and what is optimised
        chunks = run.describe(source.trajectory.shape[1:])
        if APPROXIMATELY in chunks:
            _add(digest, chunks, "'model'")
    _add_conditioning(digest, source.conditioning, "the conditioning of 'inverted clip'")
    _add_conditioning(digest, start, "the conditioning that the optimization starts from")
    _add_conditioning(digest, negative, "'negative'")
    return digest.hexdigest()[:32]


def attention_digest(model, source: SourceRun) -> str:
    """A text that is the same for two edits only where the rows of their source have the same attention.

    Args:
        model: ModelPatcher of the edit; guidance on it does not reach the source's rows.
        source: The inverted clip; its null text does not either.

    Raises:
        Unrecognised: Where the model or the conditioning holds what cannot be named by its content.
    """
    digest = hashlib.sha256(b"FateZero attention 1;")
    model = without_guidance(model)
    fed = [source.sigmas, source.trajectory, source.label, source.refinement]
    _add(digest, [*content_parts(model), *fed], "'model'")
    chunks = ChunkedRun(model).describe(source.trajectory.shape[1:])
    if APPROXIMATELY in chunks:
        _add(digest, chunks, "'model'")
    _add_conditioning(digest, source.conditioning, "the conditioning of 'source'")
    return digest.hexdigest()[:32]


def tuning_digest(model, conditioning, latent: torch.Tensor, pictures, settings: list) -> str:
    """A text that is the same for two tunings only where they give the same result.

    Args:
        model: ModelPatcher; guidance on it does not reach a tuning.
        conditioning, latent: As for `tune`.
        pictures: Latent and CONDITIONING of further pictures, or None.
        settings: All else that it depends on: numbers and texts in a list.

    Raises:
        Unrecognised: Where the model or a conditioning holds what cannot be named by its content.
    """
    digest = hashlib.sha256(b"FateZero tuning 1;")
    model = without_guidance(model)
    _add(digest, [*content_parts(model), latent, settings], "'model'")
    _add_conditioning(digest, conditioning, "'source conditioning'")
    if pictures is not None:
        _add(digest, pictures[0], "'pictures'")
        _add_conditioning(digest, pictures[1], "'pictures prompt'")
    return digest.hexdigest()[:32]


def _add_conditioning(digest, conditioning, where: str) -> None:
    for embedding, options in conditioning:
        _add(digest, embedding, where)
        _add(digest, options, where, named=True)


def _add(digest, value, where: str, named: bool = False) -> None:
    """Adds a value to a digest; where: the input that holds it; named: whether a refusal names the entry, too."""
    if isinstance(value, (bool, int, float, str, type(None), PromptTokens, Inflation)):
        digest.update(f"{value!r};".encode())
    elif isinstance(value, torch.Tensor) and value.layout == torch.strided:
        digest.update(f"{value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)} items;".encode())
        for item in value:
            _add(digest, item, where)
    elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
        digest.update(f"{len(value)} entries;".encode())
        for name in sorted(value):
            _add(digest, name, where)
            _add(digest, value[name], f"'{name}' of {where}" if named else where)
    elif isinstance(value, comfy.controlnet.ControlBase):
        _add(digest, _control_parts(value, where), where)
    else:
        raise Unrecognised(f"{where} holds a {type(value).__name__}")


def _control_parts(control, where: str) -> list:
    """What a ControlNet does depends on: its network, picture, strength and range, and those of the ones before it."""
    networks = {
        comfy.controlnet.ControlNet: "control_model",
        comfy.controlnet.ControlLora: "control_weights",
        comfy.controlnet.T2IAdapter: "t2i_model",
    }
    if type(control) not in networks or control.vae is not None or control.extra_hooks is not None:
        raise Unrecognised(f"{where} is a {type(control).__name__} instead of an ordinary ControlNet")
    network = getattr(control, networks[type(control)])
    weights = network if isinstance(network, dict) else network.state_dict()
    # As the model's own fingerprint does: a little of each weight tells networks apart and is quick to read.
    weights = {name: weight.detach().reshape(-1)[:64].float() for name, weight in weights.items()}
    return [
        type(control).__name__,
        weights,
        control.cond_hint_original,
        control.strength,
        list(control.timestep_percent_range),
        control.strength_type.name,
        control.global_average_pooling,
        control.compression_ratio,
        control.upscale_algorithm,
        control.extra_args,
        control.extra_conds,
        control.extra_concat_orig,
        control.previous_controlnet,
    ]
