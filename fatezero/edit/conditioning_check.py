"""Whether the prompts that a sampler is given are those of the edit, and are there in every step and place."""

import torch

from ..network.option_keys import TOKENS
from ..network.unet.check import check_embedding
from ..prompts.window import ALWAYS
from ..refusal import Refusal, shortened


def check_positive(guider, edit) -> None:
    """The sampler's positive must be the edit's target prompt, and all its conditionings prompts."""
    if not guider.conds.get("positive"):
        raise Refusal(
            "the sampler has no positive conditioning; use KSampler, CFGGuider or BasicGuider "
            "with the target conditioning of Edit Prompts."
        )
    for name, conds in guider.conds.items():
        called = f"the sampler's '{name}'"
        if any(cond.get("cross_attn") is None for cond in conds):
            raise Refusal(f"{called} holds no prompt; use CLIP Text Encode or Edit Prompts.")
    for cond in guider.conds["positive"]:
        _check_target(cond, edit)
    refuse_swapped(guider.conds["positive"], guider.conds.get("negative", ()), edit)


def refuse_swapped(positive, negative, edit) -> None:
    """Refuses a target prompt that is connected to the negative, and something else to the positive.

    Args:
        positive, negative: Dictionaries of options, one for each conditioning.
        edit: The edit.
    """
    if edit.source.ids == edit.target.ids:
        return
    if any(_is_target(cond, edit) for cond in negative) and not any(_is_target(cond, edit) for cond in positive):
        raise Refusal(
            "the negative conditioning is the target prompt and the positive one is not; connect the target "
            "conditioning of Edit Prompts to the positive, and what to avoid to the negative."
        )


def _is_target(cond: dict, edit) -> bool:
    tokens = cond.get(TOKENS)
    return tokens is not None and tokens.ids == edit.target.ids


def check_encoders(guider) -> None:
    """The sampler's conditionings must be those of the UNet's text encoder."""
    for name, conds in guider.conds.items():
        for cond in conds:
            check_embedding(guider.model_patcher, cond["cross_attn"], f"the sampler's '{name}'")


def _check_target(cond: dict, edit) -> None:
    """A positive of the sampler: the edit's target prompt for the whole picture."""
    if "area" in cond or "mask" in cond:
        raise Refusal(
            "the sampler's positive is limited to an area or mask, but the source's "
            "attention is of the whole picture; remove the Conditioning (Set Area / Set Mask) node "
            "and use 'mask'."
        )
    tokens = cond.get(TOKENS)
    if tokens is not None and tokens.ids != edit.target.ids:
        if tokens.text == edit.target.text:
            raise Refusal(
                "the sampler's positive was made with another text encoder than 'edit'; connect the target "
                "conditioning of the same Edit Prompts node."
            )
        raise Refusal(
            f"the sampler's positive says \"{shortened(tokens.text)}\" but 'edit' goes to "
            f'"{shortened(edit.target.text)}"; connect the target conditioning of the same Edit Prompts node.'
        )
    check_target_length(cond["cross_attn"].shape[1], edit, repeated=False)


def check_areas(guider, size: tuple[int, int]) -> None:
    """Refuses a negative for a part of the picture: ComfyUI then draws the positive for that part once more, alone.

    Args:
        guider: The run's.
        size: Height and width of the latent.
    """
    for cond in [cond for name, conds in guider.conds.items() if name != "positive" for cond in conds]:
        area = cond.get("area")
        if area is None:
            continue
        height, width, top, left = (
            area[1:] if area[0] == "percentage" else (a / s for a, s in zip(area, (*size, *size)))
        )
        if height < 1 or width < 1 or top > 0 or left > 0:  # one that begins outside, ComfyUI fails at
            raise Refusal(
                "the sampler's negative is limited to an area, so that ComfyUI draws the positive for that area alone, "
                "but the source's attention is of the whole picture; give the negative without the area, and combine "
                "it with one limited by Conditioning (Set Mask) if need be."
            )


def check_coverage(guider, source, sigmas, size: tuple[int, int]) -> None:
    """Refuses prompts that are missing in a step or in a part of the picture: ComfyUI takes 0 for what they would have
    predicted there, which guidance multiplies.

    Args:
        guider: The run's.
        source: The inverted clip, which tells a sigma's step.
        sigmas: The run's, falling.
        size: Height and width of the latent.
    """
    sampling = guider.model_patcher.get_model_object("model_sampling")
    is_guided, guided = getattr(guider, "cfg", 1.0) != 1, getattr(guider, "window", ALWAYS)
    for name in ("positive", *["negative"] * is_guided):
        conds = guider.conds.get(name) or ()
        for sigma in sigmas[:-1].tolist() if conds else ():
            if name == "negative" and not guided.contains(source.step_at(sigma), source.steps):
                continue
            acting = [cond for cond in conds if _acts_at(cond, sigma, sampling)]
            if not acting:
                raise Refusal(
                    f"the sampler's '{name}' is missing in some steps (ConditioningSetTimestepRange), which ruins the "
                    "picture; add a prompt for those steps with Conditioning (Combine)."
                )
            if not _is_everywhere(acting, size):
                raise Refusal(
                    f"the sampler's '{name}' is missing in a part of the picture (Conditioning (Set Mask)), which "
                    "ruins it; add one for the whole picture with Conditioning (Combine)."
                )


def _acts_at(cond: dict, sigma: float, sampling) -> bool:
    """Whether ComfyUI draws a conditioning at a level; sampling: the model's."""
    start, end = (cond.get(name) for name in ("start_percent", "end_percent"))
    begun = start is None or sigma <= sampling.percent_to_sigma(start)
    return begun and (end is None or sigma >= sampling.percent_to_sigma(end))


def _is_everywhere(conds: list[dict], size: tuple[int, int]) -> bool:
    """Whether every place of a latent, (height, width), has a share in some conditioning; masks of fewer frames than
    the others are repeated, as ComfyUI does."""
    if any(cond.get("mask") is None for cond in conds):
        return True
    masks = [cond["mask"].reshape(-1, 1, *cond["mask"].shape[-2:]).float() for cond in conds]
    shares = [torch.nn.functional.interpolate(mask, size, mode="bilinear").cpu() > 0 for mask in masks]
    frames = range(max(map(len, shares)))
    return all(bool(torch.stack([share[frame % len(share)] for share in shares]).any(0).all()) for frame in frames)


def prompt_notes(guider, source, edit) -> list[str]:
    """What to tell of prompts that were not made by Edit Prompts, so that nobody can compare their words, and of a
    negative that takes the guidance away."""
    notes = []
    if source.tokens is None:
        notes.append(
            "! the clip was inverted with a prompt that is not from Edit Prompts: its words are taken to be those of "
            "the source prompt"
        )
    if any(cond.get(TOKENS) is None for cond in guider.conds["positive"]):
        notes.append("the positive is not from Edit Prompts: its words are taken to be those of the target prompt")
    guided = getattr(guider, "cfg", 1.0) != 1 and guider.conds.get("negative")
    if guided and all(_is_target(cond, edit) for name in ("positive", "negative") for cond in guider.conds[name]):
        notes.append(
            "! positive and negative are both the target prompt, so that 'cfg' does nothing; connect what to avoid, or "
            "an empty CLIP Text Encode, to the negative"
        )
    return notes


def check_target_length(key_length: int, edit, repeated: bool = True) -> None:
    """The target's tokens must be those that the edit was aligned with.

    repeated: whether ComfyUI may have brought them to a common length with the negative's by repeating them.
    """
    if key_length % edit.target.length or not (repeated or key_length == edit.target.length):
        raise Refusal(
            f"the sampler's positive has {key_length} tokens but the target prompt of 'edit' has "
            f"{edit.target.length} (Conditioning Concat?); connect the target conditioning of the same Edit Prompts "
            "node."
        )
