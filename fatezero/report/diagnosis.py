"""Why an edit had little effect, in words, and which setting to turn."""

import math

import torch

from ..edit.automatic import lacks_place
from ..edit.settings import NO_MASK
from ..edit.transformer.coupled_sampling import CoupledSettings
from ..prompts.alignment import KEPT, SWAP
from ..prompts.edit_kind import ADDED, changes_of
from ..prompts.edit_table import changed_weights
from ..prompts.known_words import OF_PLACE
from ..prompts.prompt_edit import PromptEdit
from ..prompts.window import Window
from ..refusal import counted
from ..source.source_run import FAST_STEPS, UNI_INV, SourceRun
from .edit_report import Measured
from .mask_diagnosis import Settings, is_empty, mask_share, of_the_mask
from .measure_table import PSNR_SCALE, scale
from .metrics import mean
from .picture_diagnosis import USUAL_GUIDANCE, VIDEO_GUIDANCE, differing, is_video, of_the_colours, of_the_outside

# Values of a preset, which *automatic* does not show.
VALUES = ("'self-attention until'", "'cross-attention until'", "'mask from'", "'mask threshold'", "'latent blend'")

# With the demo model, sampling the source prompt itself moves the strongest 5 % of the 8x8 cells by 23 to 32 of 255
# levels, and a change of colour that succeeds by 70 to 140.
LITTLE_CHANGE = 40 / 255
LONG_WINDOW = 0.5  # the papers' bound between keeping a thing's shape and changing it
WEAK_GUIDANCE = 4.0
LONG_SKIP = 0.3  # of a coupled edit's steps
FEW_STEPS = 10  # with fewer, the official code's authors find only style edits to work
# With the demo model, inversions from which the clip came back (at 31 dB or more) had -0.07 to 0.3, and one from which
# it did not (6 dB, 2 steps) had 0.64.
MUSH = 0.45
FOREIGN_SCORE = 0.05  # pictures and prompts that match reach 0.15 to 0.35; networks that were not trained together, 0


def explain(
    measured: Measured,
    edit: PromptEdit | None = None,
    source: SourceRun | None = None,
    settings: Settings | None = None,
    cfg: float | None = None,
    automatic: str | None = None,
) -> list[str]:
    """What is wrong with an edit for certain, and when it had little effect, what may hold it back.

    What is None is not judged.

    Args:
        measured: What the edit did.
        edit: Its prompts.
        source: The inverted clip, for the masks that its words make.
        settings: What it was made with.
        cfg: The guidance that it was made with.
        automatic: The preset that *automatic* took, whose values the node does not show.

    Returns:
        Sentences, each with what to turn.
    """
    share = mask_share(measured, edit, source, settings)
    if math.isnan(measured.strongest_change):
        return [
            "'mask' of Edit Report is empty in every frame, so that no change was measured inside it; connect the "
            "mask of what was edited, or none."
        ]
    sentences = [
        *_of_the_inversion(source),
        *of_the_mask(share, settings),
        *_of_the_emphasis(edit, settings),
        *_of_the_scores(measured),
        *of_the_outside(measured, settings),
        *of_the_colours(measured, source, settings, cfg),
    ]
    verdict = _verdict(measured)
    if verdict:
        causes = _nothing_else_can_help(edit, source, settings)
        if not (causes or is_empty(share)):
            causes = _causes(edit, source, settings, cfg, bool(sentences))
        sentences = [verdict, *sentences, *causes]
    if automatic and any(name in sentence for name in VALUES for sentence in sentences):
        sentences.append(_way_to_values(automatic, settings))
    return sentences


def _way_to_values(automatic: str, settings: Settings | None) -> str:
    """How to come to the values of the preset that *automatic* took, and keep what it had from the mask."""
    if settings is None or settings.mask is None:
        return (
            f"Preset automatic took {automatic} here and shows no values; to set one, choose {automatic} in 'preset'."
        )
    return (
        f"Preset automatic took {automatic} here and shows no values; to set one, choose {automatic} in 'preset' and "
        "mask input in 'mask from'."
    )


def _causes(
    edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None, cfg: float | None, is_told: bool
) -> list[str]:
    """What may hold an edit back; is_told: whether something is wrong for certain."""
    causes = [*_of_the_place(edit, source, settings), *_of_the_words(edit), *_of_the_windows(edit, settings)]
    causes += _of_the_sampling(source, settings, cfg)
    if settings is None:
        causes.append(
            "To learn which settings held it back, connect 'made by' with the latent of Attention Blend Sampler or "
            "Coupled Edit Sampler, or the model of Attention Blend."
        )
    elif not causes and not is_told:
        causes.append(
            "No setting holds it back: raise 'cfg', give the new words an 'emphasis' such as 2 in Edit "
            "Prompts, or use other words; the model may not know these."
        )
    return causes


def _nothing_else_can_help(edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None) -> list[str]:
    """The one reason beside which no other counts: words that change nothing, or new things alone that have no
    place."""
    if edit is None:
        return []
    is_added = all(change.kind == ADDED for change in changes_of(edit))
    return _of_words_that_change_nothing(edit) or (_of_the_place(edit, source, settings) if is_added else [])


def _of_the_place(edit: PromptEdit | None, source: SourceRun | None, settings: Settings | None) -> list[str]:
    """New things without a mask, where the edit takes one."""
    if edit is None or settings is None or settings.mask is not None or is_video(source, settings):
        return []
    lost = ", ".join(lacks_place(edit, False))
    return [f"\"{lost}\" has no place; connect a MASK to 'mask' that is white there"] if lost else []


def all_is_well(measured: Measured) -> str:
    """The verdict on an edit that `explain` has nothing to say about."""
    levels = 255 * measured.strongest_change
    text = f"The edit shows: where it changed most, the colours moved by {levels:.0f} of 255 levels."
    psnr = math.nan if measured.outside is None else mean(differing(measured.outside.psnr))
    if math.isnan(psnr):
        return text
    if math.isinf(psnr):
        return f"{text} Outside the mask the clip is the same to the last bit."
    return f"{text} What changed outside the mask is {scale(psnr, PSNR_SCALE)} ({psnr:.0f} dB)."


def _of_the_inversion(source: SourceRun | None) -> list[str]:
    """An inversion that has not arrived at noise: what is drawn from it is mush."""
    if source is None:
        return []
    likeness = neighbour_likeness(source.trajectory[-1])
    if math.isnan(likeness) or likeness <= MUSH:
        return []
    return [
        "The inversion failed: its noise still has a picture in it (neighbouring values agree by "
        f"{likeness:.0%}, in a good inversion by {MUSH:.0%} at most), so that what is drawn from it is mush; "
        f"{_more_steps(source)}, and let 'source prompt' say what the clip shows."
    ]


def _more_steps(source: SourceRun) -> str:
    """What to set for an inversion in more steps than it had."""
    if source.steps == FAST_STEPS and source.label == UNI_INV:  # as 'speed' makes it, or a person without it
        return "set 'speed' of DDIM Invert to steps as set and 'steps' to 20 or more"
    return "raise 'steps' of DDIM Invert"


def neighbour_likeness(latent: torch.Tensor) -> float:
    """How much neighbouring values of a latent [n, c, h, w] agree: the correlation, 0 for noise and 1 for an even one.

    >>> neighbour_likeness(torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]]))
    -1.0
    """
    values = latent.float() - latent.float().mean(dim=(-2, -1), keepdim=True)
    across, down = values[..., :-1] * values[..., 1:], values[..., :-1, :] * values[..., 1:, :]
    products = torch.cat([across.flatten(), down.flatten()])
    return float(products.mean() / values.square().mean())


def _verdict(measured: Measured) -> str | None:
    """That the edit had little effect, as one sentence; None when it had."""
    change = measured.strongest_change
    if not math.isnan(change) and change < LITTLE_CHANGE:
        return (
            f"The edit had little effect: even where it changed most, the colours moved by {255 * change:.0f} of "
            f"255 levels (an edit that shows moves them by {255 * LITTLE_CHANGE:.0f} or more)."
        )
    if measured.scores is not None and not _is_foreign(measured):
        after, before = mean(measured.scores.target), mean(measured.scores.target_before)
        if after <= before:
            return (
                f"The picture changed, but not towards the target prompt: its CLIP score was {before:.3f} before "
                f"the edit and is {after:.3f} after it."
            )
    return None


def _of_the_emphasis(edit: PromptEdit | None, settings: Settings | None) -> list[str]:
    """Words whose emphasis acts in no step: it acts only while the source's cross-attention is used."""
    if edit is None or settings is None:
        return []
    unheard = [
        word.text
        for word in edit.target.words
        if edit.attention_emphasis[word.indices[0]] != 1
        and not _duration(_cross_window(edit, settings, word.indices[0]))
    ]
    if not unheard:
        return []
    return [
        f"The emphasis of {_quoted(unheard)} acts in no step, since it acts only while the source's "
        "cross-attention is used; raise 'cross-attention until', or the word's window in Edit Prompts."
    ]


def _of_the_scores(measured: Measured) -> list[str]:
    """A text encoder and an image encoder of the same width that do not belong together."""
    if not _is_foreign(measured):
        return []
    return [
        f"Neither prompt resembles its clip (CLIP scores below {FOREIGN_SCORE}, where 0.15 to 0.35 is usual); "
        "'clip' and 'clip vision' may not belong together, load both from one CLIP."
    ]


def _is_foreign(measured: Measured) -> bool:
    if measured.scores is None:
        return False
    return max(mean(measured.scores.source_before), mean(measured.scores.target)) < FOREIGN_SCORE


def _of_words_that_change_nothing(edit: PromptEdit) -> list[str]:
    """Prompts that differ in nothing that can be seen."""
    rows = [row for row in edit.rows if row.kind != KEPT]
    words = [word for row in rows for word in (*row.source, *row.target) if not word.is_punctuation]
    if not rows:
        return [_of_the_same_words(edit)]
    if not words:
        return ["The prompts differ only in punctuation; change words in 'target prompt' of Edit Prompts."]
    if not any(word.names_something or word.key in OF_PLACE for word in words):
        return [
            f"The prompts differ only in {_quoted([word.text for word in words])}, which name nothing to be seen; "
            "change other words in 'target prompt' of Edit Prompts."
        ]
    return []


def _of_the_words(edit: PromptEdit | None) -> list[str]:
    """New words that were weakened."""
    if edit is None:
        return ["Connect 'edit' to have the words judged."]
    changed = [row for row in edit.rows if row.kind != KEPT]
    weakened = [word.text for row in changed for word in row.target if abs(float(edit.emphasis[word.indices[0]])) < 1]
    return (
        [f"The emphasis of {_quoted(weakened)} is below 1 and weakens what is new; raise it in Edit Prompts."]
        if weakened
        else []
    )


def _of_the_same_words(edit: PromptEdit) -> str:
    """Prompts of the same words, which an edit can only strengthen or weaken."""
    emphasised = [word.text for word in edit.target.words if edit.emphasis[word.indices[0]] != 1]
    if emphasised:
        return (
            f"The prompts are the same but for the emphasis of {_quoted(emphasised)}; move it further from 1 in Edit "
            "Prompts."
        )
    if weights := changed_weights(edit):
        return (
            f"The prompts are the same but for weights, {', '.join(weights)}, which change little here; write the word "
            "in 'emphasis' of Edit Prompts."
        )
    return "The prompts are the same; change words in 'target prompt' of Edit Prompts."


def _of_the_windows(edit: PromptEdit | None, settings: Settings | None) -> list[str]:
    """Windows in which the source's attention leaves no room for the edit."""
    if settings is None:
        return []
    sentences = []
    long = _duration(settings.self_window) >= LONG_WINDOW
    if isinstance(settings, CoupledSettings):
        sentences += [
            f"The source's self-attention is used for {_duration(settings.self_window):.0%} of the steps and holds "
            f"layout and shapes; lower 'self-attention until' ({settings.self_window.end:g}), which is usually 0 here."
        ] * long
    elif long and settings.mask_from == NO_MASK:
        sentences.append(
            f"The source's self-attention is used for {_duration(settings.self_window):.0%} of the steps and holds "
            f"layout and shapes; lower 'self-attention until' ({settings.self_window.end:g}), for a new shape to 0.5 "
            "or less with 'mask from' set to words, which frees them inside the mask."
        )
    if edit is None or edit.mode != SWAP:
        return sentences
    held = [
        word.text
        for row in edit.rows
        if row.kind != KEPT
        for word in row.target
        if _duration(_cross_window(edit, settings, word.indices[0])) >= LONG_WINDOW
    ]
    if held:
        sentences.append(
            f"New words ({_quoted(held)}) take over the place and shape of the old ones in half of the steps or more; "
            f"lower 'cross-attention until' ({settings.cross_window.end:g}) to 0.4 or less, or set 'mode' to refine in "
            "Edit Prompts."
        )
    return sentences


def _of_the_sampling(source: SourceRun | None, settings: Settings | None, cfg: float | None) -> list[str]:
    """Guidance and steps."""
    is_coupled = isinstance(settings, CoupledSettings)
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
    if source is not None and not is_coupled and source.steps < FEW_STEPS:
        sentences.append(
            f"The clip was inverted in {counted(source.steps, 'step')}, too few for more than a new style; raise "
            "'steps' of DDIM Invert to 20 or more."
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


def _cross_window(edit: PromptEdit, settings: Settings, token: int) -> Window:
    """When a target token uses the source's cross-attention: in its own window or else in that of the settings."""
    own = edit.own_window(token)
    return settings.cross_window if own is None else Window(*own)


def _duration(window: Window) -> float:
    return window.end - window.start


def _quoted(texts: list[str]) -> str:
    return ", ".join(f"'{text}'" for text in dict.fromkeys(texts))
