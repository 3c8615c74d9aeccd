"""Which words and settings hold an edit back that had little effect, in words."""

from ..edit.settings import NO_MASK
from ..edit.transformer.coupled_sampling import CoupledSettings
from ..prompts.alignment import KEPT, SWAP
from ..prompts.edit_kind import REMOVED, changes_of
from ..prompts.prompt_edit import PromptEdit
from ..prompts.window import Window
from ..source.source_run import SourceRun
from .mask_diagnosis import Settings
from .picture_diagnosis import USUAL_GUIDANCE, VIDEO_GUIDANCE, is_video

LONG_WINDOW = 0.5  # the papers' bound between keeping a thing's shape and changing it
# Of a coupled edit: star to circle on the demo video model stays a star with words held for 0.4 and turns with 0.
LONG_VIDEO_WINDOW = 0.2
WEAK_GUIDANCE = 4.0
LONG_SKIP = 0.3  # of a coupled edit's steps


def causes(
    edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None, cfg: float | None, is_told: bool
) -> list[str]:
    """What may hold an edit back, each with what to turn.

    Args:
        edit, source, settings, cfg: As of `explain`.
        is_told: Whether something is wrong for certain, beside which it need not be said that no setting is.
    """
    found = [*_of_the_words(edit), *_of_the_windows(edit, settings), *_of_the_sampling(source, settings, cfg)]
    if settings is None:
        found.append(
            "To learn which settings held it back, connect 'made by' with the latent of Attention Blend Sampler or "
            "Coupled Edit Sampler, or the model of Attention Blend."
        )
    elif not found and not is_told:
        found.append(_of_no_setting(edit, settings))
    return found


def _of_no_setting(edit: PromptEdit | None, settings: Settings) -> str:
    """What is left to do where no setting stands out."""
    if edit is not None and {change.kind for change in changes_of(edit)} == {REMOVED}:
        return (
            "What is to go may not be where its words are seen: look at it with Attention Mask, or draw it and connect "
            "that to 'mask'; a larger model draws the ground better."
        )
    if settings.self_window.duration or settings.cross_window.duration:
        return (
            "No setting stands out: lower 'cross-attention until' and 'self-attention until' step by step, raise "
            "'cfg', give the new words an 'emphasis' such as 2 in Edit Prompts, or use other words; the model may not "
            "know these."
        )
    return (
        "No setting holds it back: raise 'cfg', give the new words an 'emphasis' such as 2 in Edit "
        "Prompts, or use other words; the model may not know these."
    )


def _of_the_words(edit: PromptEdit | None) -> list[str]:
    """New words that were weakened."""
    if edit is None:
        return ["Connect 'edit' to have the words judged."]
    changed = [row for row in edit.rows if row.kind != KEPT]
    weakened = [word.text for row in changed for word in row.target if abs(float(edit.emphasis[word.indices[0]])) < 1]
    return (
        [f"The emphasis of {quoted(weakened)} is below 1 and weakens what is new; raise it in Edit Prompts."]
        if weakened
        else []
    )


def _of_the_windows(edit: PromptEdit | None, settings: Settings | None) -> list[str]:
    """Windows in which the source's attention leaves no room for the edit."""
    if settings is None:
        return []
    sentences = _of_self_attention(edit, settings)
    if edit is None or edit.mode != SWAP:
        return sentences
    long = LONG_VIDEO_WINDOW if isinstance(settings, CoupledSettings) else LONG_WINDOW
    held = [
        word.text
        for row in edit.rows
        if row.kind != KEPT
        for word in row.target
        if cross_window(edit, settings, word.indices[0]).duration >= long
    ]
    if held and isinstance(settings, CoupledSettings):
        sentences.append(
            f"New words ({quoted(held)}) take over the place and shape of the old ones; lower 'cross-attention until' "
            f"({settings.cross_window.end:g}), for a new shape to 0."
        )
    elif held:
        sentences.append(
            f"New words ({quoted(held)}) take over the place and shape of the old ones in half of the steps or more; "
            f"lower 'cross-attention until' ({settings.cross_window.end:g}) to 0.4 or less, or set 'mode' to refine in "
            "Edit Prompts."
        )
    return sentences


def _of_self_attention(edit: PromptEdit | None, settings: Settings) -> list[str]:
    """A window in which the source's self-attention holds what the edit would change."""
    used = settings.self_window.duration
    if used < LONG_WINDOW:
        return []
    if isinstance(settings, CoupledSettings):
        return [
            f"The source's self-attention is used for {used:.0%} of the steps and holds "
            f"layout and shapes; lower 'self-attention until' ({settings.self_window.end:g}), which is usually 0 here."
        ]
    if settings.mask_from != NO_MASK:
        return []
    if edit is not None and not edit.source_mask_tokens:  # such as a style: no words could be masked
        if used <= LONG_WINDOW:
            return []
        return [
            f"The source's self-attention is used for {used:.0%} of the steps and holds layout and shapes; lower "
            f"'self-attention until' ({settings.self_window.end:g})."
        ]
    return [
        f"The source's self-attention is used for {used:.0%} of the steps and holds "
        f"layout and shapes; lower 'self-attention until' ({settings.self_window.end:g}), for a new shape to 0.5 "
        "or less with 'mask from' set to words, which frees them inside the mask."
    ]


def _of_the_sampling(source: SourceRun | None, settings: Settings | None, cfg: float | None) -> list[str]:
    """Guidance, and steps that are left out."""
    sentences = _of_the_skip(settings) if isinstance(settings, CoupledSettings) else []
    of_video = is_video(source, settings)
    if cfg is not None and of_video and cfg < VIDEO_GUIDANCE:
        sentences.append(
            f"'cfg' is {cfg:g}, which follows the target prompt weakly; raise it to {VIDEO_GUIDANCE:g} or 2: more "
            "costs a video model's background much."
        )
    elif cfg is not None and not of_video and cfg < WEAK_GUIDANCE:
        sentences.append(
            f"'cfg' is {cfg:g}, which follows the target prompt weakly; raise it, the papers use {USUAL_GUIDANCE:g}."
        )
    return sentences


def _of_the_skip(settings: CoupledSettings) -> list[str]:
    """Steps of a coupled edit that are left out."""
    if settings.skip < LONG_SKIP:
        return []
    return [
        f"'skip' is {settings.skip:g}, so that the noisy steps, in which most of an edit happens, are left out; "
        "lower it."
    ]


def cross_window(edit: PromptEdit, settings: Settings, token: int) -> Window:
    """When a target token uses the source's cross-attention: in its own window or else in that of the settings."""
    own = edit.own_window(token)
    return settings.cross_window if own is None else Window(*own)


def quoted(texts: list[str]) -> str:
    """Words in quotation marks, each once.

    >>> quoted(["red", "star", "red"])
    "'red', 'star'"
    """
    return ", ".join(f"'{text}'" for text in dict.fromkeys(texts))
