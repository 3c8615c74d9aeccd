"""Whether a source run, an edit and a sampler fit together, asked before the first step."""

import inspect

import comfy.samplers
import torch

from ..masks.latent_frames import of_kept_frames
from ..network.inspection.other_nodes import refuse_merging
from ..network.unet.check import refuse_context_windows, require_unet
from ..prompts.edit_kind import own_words, things_that_stay
from ..prompts.phrases import phrase_text, side_by_side, things_beside
from ..refusal import Refusal, counted
from ..source.latent_cell import frames_first
from ..source.schedule import schedule_position
from ..source.source_check import check_model
from .conditioning_check import check_areas, check_coverage, check_encoders, check_positive
from .euler_steps import sampler_name
from .settings import AROUND, INPUT_MASK, NO_MASK, OUTLINE, RECONSTRUCTION, WORDS, WORDS_IN_MASK, needs_words

SHOWN_THINGS = 8
DETERMINISTIC = ("res_multistep", "res_multistep_cfg_pp")  # take a noise sampler that they never use
# Options that say how much noise is added: for the whole run or as a schedule, at steps or within them (RES4LYF).
NOISE_AMOUNTS = ("eta", "etas", "eta_substep", "etas_substep")


def check_run(guider, source, edit, settings, latent_image, sampler, sigmas, args, kwargs) -> None:
    """Refuses a sampling run that cannot be an edit of source."""
    model = guider.model_patcher
    require_unet(model)
    refuse_merging(model)
    check_model(model, source)
    refuse_context_windows(model, source.frames)
    check_sampler(sampler)
    check_latent(latent_image, source)
    check_course(source, sigmas, args, kwargs)
    check_positive(guider, edit)
    check_guidance(guider, source, settings)
    check_encoders(guider)
    check_areas(guider, latent_image.shape[-2:])
    check_coverage(guider, source, sigmas, latent_image.shape[-2:])


def check_course(source, sigmas, args, kwargs) -> None:
    """Refuses a run's noise mask, and levels that do not fall or do not begin where the inversion ended."""
    denoise_mask = args[0] if args else kwargs.get("denoise_mask")
    if denoise_mask is not None:
        raise Refusal(
            "the latent carries a noise mask (Set Latent Noise Mask), which inpaints instead of "
            "editing; remove it and give the mask to 'mask' of Attention Blend."
        )
    if len(sigmas) > 1 and not bool((sigmas[:-1] > sigmas[1:]).all()):
        raise Refusal(
            "the sampler's sigmas do not fall from step to step; use the 'sigmas' of DDIM Invert "
            "or a scheduler without repeats."
        )
    if float(sigmas[0]) > 1.5 * float(source.sigmas[-1]):
        raise Refusal(
            f"the sampler starts at sigma {float(sigmas[0]):.1f} but inversion ended at "
            f"{float(source.sigmas[-1]):.1f}; use the 'sigmas' of DDIM Invert."
        )


def check_guidance(guider, source, settings) -> None:
    """Refuses a guider with other guidance than one 'cfg', where the source is to be drawn again by the edit's."""
    one_cfg = comfy.samplers.CFGGuider.predict_noise
    is_plain = type(guider).predict_noise is one_cfg or hasattr(guider, "window")  # Attention Blend Sampler's own
    if settings.attention_from == RECONSTRUCTION and source.null_text is None and not is_plain:
        raise Refusal(
            "'attention from' is reconstruction, which is guided as the edit is, but the sampler's guider "
            f"{type(guider).__name__} has other guidance than one 'cfg'; use CFGGuider or KSampler, or choose "
            "inversion."
        )


def course_notes(source, sigmas) -> list[str]:
    """What to tell of a run whose levels, falling, are not among those of the inversion."""
    if all(schedule_position(source.sigmas, float(sigma)).is_integer() for sigma in sigmas):
        return []
    return [
        f"the sampler takes {counted(len(sigmas) - 1, 'step')} and the inversion took {source.steps}, at other noise "
        "levels, so that the clip is read between them; for the edit of Attention Blend Sampler choose euler, and the "
        "steps and scheduler of DDIM Invert"
    ]


def check_sampler(sampler) -> None:
    """Refuses samplers that add noise on the way: the trajectory they leave has nothing to do with the source's."""
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return
    name, options = sampler_name(sampler), getattr(sampler, "extra_options", {})
    if name in DETERMINISTIC or not (adds_noise(function, options) or options.get("s_churn", 0.0) > 0):
        return
    if noise_amounts(function, options):
        raise Refusal(
            f"the sampler {name} adds random noise at every step, which destroys the inverted "
            "clip; choose euler (or set its 'eta' and 'eta_substep' to 0)."
        )
    raise Refusal(
        f"the sampler {name} adds random noise at every step, which destroys the inverted clip; choose euler."
    )


def adds_noise(function, options: dict) -> bool:
    """Whether a sampler of k-diffusion's form, with its options, adds noise on the way.

    RES4LYF's entries in KSampler hand on to a sampler that adds noise unless they end in "_ode".
    """
    if options.get("s_noise", 1.0) == 0:
        return False
    amounts = noise_amounts(function, options)
    if amounts:
        return any(bool(torch.as_tensor(amount).any()) for amount in amounts.values() if amount is not None)
    name, called = getattr(function, "__name__", ""), getattr(getattr(function, "__code__", None), "co_names", ())
    takes_noise = "noise_sampler" in inspect.signature(function).parameters
    return takes_noise or "ancestral" in name or ("sample_rk_beta" in called and not name.endswith("_ode"))


def noise_amounts(function, options: dict) -> dict:
    """How much noise a sampler adds, by the names of NOISE_AMOUNTS that it has."""
    parameters = inspect.signature(function).parameters
    amounts = {name: parameters[name].default for name in NOISE_AMOUNTS if name in parameters}
    return amounts | {name: options[name] for name in NOISE_AMOUNTS if name in options}


def check_latent(latent_image: torch.Tensor, source) -> None:
    """The sampled latent must have the source's frames and size: [n, c, h, w], or a video model's [1, c, F, h, w]."""
    frames, channels, height, width = source.trajectory.shape[1:]
    is_clip = source.cell.is_video and latent_image.ndim == 5 and len(latent_image) == 1
    latents = frames_first(latent_image) if is_clip else latent_image
    if source.cell.is_video and (not is_clip or latents.shape[1] != channels):
        raise Refusal(
            f"the sampler's latent has the shape {list(latent_image.shape)}, but the clip of a video model was "
            f"inverted, which is one latent of {channels} channels; connect the latent of DDIM Invert."
        )
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise Refusal(
            f"the sampler's latent has the shape {list(latent_image.shape)}, but a batch of "
            f"frames with {channels} channels was inverted; connect the latent of DDIM Invert."
        )
    count = len(latents)
    if count != frames:
        raise Refusal(
            f"the sampler's latent has {counted(source.cell.clip_frames(count), 'frame')}, the inverted clip "
            f"{source.clip_frames}; connect the latent of DDIM Invert."
        )
    if tuple(latents.shape[-2:]) != (height, width):
        sizes = [f"{w * source.cell.pixels}x{h * source.cell.pixels}" for h, w in (latents.shape[-2:], (height, width))]
        raise Refusal(
            f"the sampler's latent is {sizes[0]} but {sizes[1]} was inverted; connect the latent of DDIM Invert, or "
            "give a second pass in another size the model from before Attention Blend."
        )
    if not bool(torch.isfinite(latent_image).all()):
        raise Refusal("the sampler's latent holds NaN or infinite values; connect the latent of DDIM Invert.")


def check_settings(source, edit, settings) -> None:
    """Windows, threshold and mask in range, and something to make the mask from."""
    for first, last, window in (
        ("self-attention from", "self-attention until", settings.self_window),
        ("cross-attention from", "cross-attention until", settings.cross_window),
        ("latent blend from", "latent blend until", settings.latent_window),
    ):
        if window is not None and not 0 <= window.start <= window.end <= 1:
            raise Refusal(
                f"'{first}' is {window.start} but '{last}' is {window.end}; choose both from 0 to 1, the first not "
                "above the last."
            )
    if not 0 <= settings.threshold <= 1:
        raise Refusal(f"'mask threshold' is {settings.threshold}; choose 0 to 1.")
    if settings.new_words_until > 0:
        check_new_words(edit, settings.mask_from, has_mask=settings.mask is not None)
    check_mask_words(edit, settings.mask_from, settings.latent_window is not None)
    if settings.latent_window is not None and settings.mask_from == NO_MASK:
        raise Refusal(
            "'latent blend' is on but 'mask from' is off, so that nothing could change; choose a "
            "mask, or switch 'latent blend' off."
        )
    if settings.fresh_noise > 0 and settings.mask_from == NO_MASK:
        raise Refusal("'noise inside the mask' is fresh but 'mask from' is off; choose a mask, or the clip's noise.")
    if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK):
        check_mask(settings.mask, source, settings.mask_from)


def check_mask_words(edit, mask_from: str, blends: bool) -> None:
    """A mask of words needs one that is replaced, one of all but what stays a thing that does; blends: whether latents
    are blended, which needs a mask."""
    if mask_from == AROUND and not things_that_stay(edit):
        raise Refusal(
            f"'mask from' is {mask_from}, but no thing stands in both prompts; name the thing that stays in both, or "
            "choose preset background, which keeps the layout."
        )
    if mask_from in (WORDS, OUTLINE, WORDS_IN_MASK) and not edit.source_mask_tokens:
        also = " and 'latent blend'" if blends and mask_from != WORDS_IN_MASK else ""
        if edit.source.ids == edit.target.ids:
            raise Refusal(
                f"'mask from' is {mask_from} but both prompts are the same; change words in 'target prompt', or, where "
                f"emphasis is all, fill 'mask words' in Edit Prompts or switch 'mask from'{also} off."
            )
        raise Refusal(
            f"'mask from' is {mask_from} but no word of the source prompt is replaced; "
            f"fill 'mask words' in Edit Prompts or switch 'mask from'{also} off."
        )


def check_new_words(edit, mask_from: str, has_mask: bool) -> None:
    """What is to appear must be named, and have a place: in a mask that was drawn, or where words of the source are."""
    if not edit.target_mask_tokens:
        raise Refusal(
            "the presets add and replace make new words appear, but the target prompt has none; write what is to "
            "appear into 'target prompt' of Edit Prompts, or choose remove to take a thing away."
        )
    if not (edit.source_mask_tokens if mask_from in (WORDS, OUTLINE) else has_mask and mask_from != NO_MASK):
        raise Refusal(
            f"the presets add and replace need to know where, but 'mask from' is {mask_from} and shows no place; "
            "connect a MASK to 'mask' that is white there, such as one painted on the clip's first frame, and choose "
            "mask input in 'mask from'; replace also finds the place by words."
        )


def crowded_mask(edit, settings) -> list[str]:
    """What to tell where several new things would be seen in one and the same mask."""
    things = side_by_side(edit.target, edit.target_mask_tokens) if settings.new_words_until > 0 else []
    if not things or (settings.mask_from == OUTLINE and own_words(edit)):
        return []
    return [
        f"! {', '.join(things)} are seen together everywhere inside the mask; for things in different places make one "
        "edit after the other"
    ]


def thing_beside(edit, settings) -> list[str]:
    """What to tell where a thing changes beside another one: words for the one also act on the other."""
    replaces = edit.source_mask_tokens and edit.target_mask_tokens
    beside = things_beside(edit.source, edit.source_mask_tokens) if replaces else []
    if not beside or settings.new_words_until > 0 or not needs_words(settings):
        return []
    return [f"beside what changes there is: {', '.join(beside)}; preset replace tells them apart more surely"]


def kept_things(edit, settings) -> list[str]:
    """What to tell of a mask of all but what stays: the things that are left out of it."""
    things = things_that_stay(edit) if settings.mask_from == AROUND else []
    names = [phrase_text(thing) for thing in things[:SHOWN_THINGS]] + ["…"] * (len(things) > SHOWN_THINGS)
    return [f"things that stay: {', '.join(names)}"] if names else []


def new_shape(preset: str, edit, settings) -> list[str]:
    """What to tell of preset shape, where it has a thing's words to mask."""
    replaces = edit.source_mask_tokens and edit.target_mask_tokens
    if preset != "shape" or not replaces or not needs_words(settings):
        return []
    return ["where the old shape stays, try preset replace"]


def check_mask(mask, source, mask_from: str) -> None:
    """A MASK for the source: [1 or n, H, W] of any size, finite, 0..1."""
    if mask is None:
        raise Refusal(f"'mask from' is {mask_from} but nothing is connected to 'mask'; connect a MASK or choose words.")
    frames = source.clip_frames
    if mask.ndim != 3:
        raise Refusal(
            f"'mask' has the shape {list(mask.shape)} instead of [frames, height, width]; use an ordinary MASK."
        )
    if source.cell.is_video:
        of_kept_frames(mask, frames, source.cell.frames)
    elif mask.shape[0] not in (1, frames):
        raise Refusal(
            f"'mask' has {mask.shape[0]} frames but the clip has {frames}; give one mask, or one for each frame: Fit "
            "Mask brings along one of the original footage."
        )
    if not bool(torch.isfinite(mask).all()) or float(mask.min()) < 0 or float(mask.max()) > 1:
        raise Refusal("'mask' holds values outside 0..1 or NaN; use an ordinary MASK.")
