"""Whether an edit shows, and else why it had little effect, in words, and which setting to turn."""

import math

from ..edit.transformer.coupled_sampling import CoupledSettings
from ..prompts.alignment import KEPT
from ..prompts.edit_kind import ADDED, LOOK, changes_of
from ..prompts.edit_table import changed_weights
from ..prompts.known_words import OF_PLACE
from ..prompts.prompt_edit import PromptEdit
from ..source.source_run import SourceRun
from .edit_report import Measured
from .hindrances import causes, cross_window, quoted
from .inversion_diagnosis import of_the_inversion, of_the_steps
from .mask_diagnosis import Settings, frames_in_words, is_empty, mask_share, of_the_mask
from .measure_table import PSNR_SCALE, scale
from .metrics import mean
from .picture_diagnosis import differing, of_the_colours, of_the_outside
from .place_diagnosis import of_changes_elsewhere, of_the_drawn_mask, of_the_place, words_place
from .visible_change import LITTLE_AREA, LITTLE_CHANGE

# Values of a preset, which *automatic* does not show.
VALUES = ("'self-attention until'", "'cross-attention until'", "'mask from'", "'mask threshold'", "'latent blend'")

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
    place = of_the_place(edit, source, settings)
    seen = words_place(edit, source, settings)
    misses = of_the_drawn_mask(seen, edit, settings)
    little = _little_effect(measured, edit)
    sentences = [
        *place,
        *of_the_inversion(source),
        *of_the_steps(source, isinstance(settings, CoupledSettings), not little and _kinds(edit) == {LOOK}),
        *of_the_mask(share, settings),
        *misses,
        *_of_the_emphasis(edit, settings),
        *_of_the_scores(measured),
        *of_the_outside(measured, settings),
        *of_changes_elsewhere(measured, seen, edit),
        *_of_the_frames(measured, edit),
        *of_the_colours(measured, source, settings, cfg),
    ]
    verdict = little or _wrong_direction(measured)
    if verdict:
        alone = [] if edit is None else _of_words_that_change_nothing(edit)
        nothing_else_can_help = alone or misses or (place and _kinds(edit) == {ADDED}) or is_empty(share)
        found = [] if nothing_else_can_help else causes(edit, source, settings, cfg, bool(sentences))
        sentences = [verdict, *sentences, *alone, *found]
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


def _kinds(edit: PromptEdit | None) -> set[str]:
    """What kinds of changes the words ask for."""
    return set() if edit is None else {change.kind for change in changes_of(edit)}


def all_is_well(measured: Measured) -> str:
    """The verdict on an edit that `explain` has nothing to say about."""
    levels = 255 * max(measured.strongest_change, float(measured.visible.areas.nan_to_num().max()))
    text = f"The edit shows: where it changed most, the colours moved by {levels:.0f} of 255 levels."
    if levels < 255 * LITTLE_AREA and not (measured.visible.strength(with_texture=False) >= 1).any():
        text = "The edit shows: the picture has a texture that it did not have."
    psnr = math.nan if measured.outside is None else mean(differing(measured.outside.psnr))
    if math.isnan(psnr):
        return text
    if math.isinf(psnr):
        return f"{text} Outside the mask the clip is the same to the last bit."
    return f"{text} What changed outside the mask is {scale(psnr, PSNR_SCALE)} ({psnr:.0f} dB)."


def _texture_counts(edit: PromptEdit | None) -> bool:
    """Whether a new texture is an edit: of a look, and where nobody knows what was asked for."""
    return edit is None or LOOK in _kinds(edit)


def _little_effect(measured: Measured, edit: PromptEdit | None) -> str | None:
    """That the edit had little effect, as one sentence; None when it had."""
    strength = measured.visible.strength(_texture_counts(edit)).nan_to_num()
    change = measured.strongest_change
    if change >= LITTLE_CHANGE or float(strength.max()) >= 1:
        return None
    return (
        f"The edit had little effect: even where it changed most, the colours moved by {255 * change:.0f} of "
        f"255 levels (an edit that shows moves them by {255 * LITTLE_CHANGE:.0f} or more)."
    )


def _of_the_frames(measured: Measured, edit: PromptEdit | None) -> list[str]:
    """An edit that has taken in only some of the frames."""
    missing = measured.visible.frames_without(_texture_counts(edit))
    count = measured.size[0]
    if not len(missing):
        return []
    return [
        f"The edit does not show in {frames_in_words(missing, count)}, only in the others; look whether the mask "
        "covers what is to change there, or draw it."
    ]


def _wrong_direction(measured: Measured) -> str | None:
    """That the clip changed, but not to what was asked for, as one sentence; None when it did."""
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
        if edit.attention_emphasis[word.indices[0]] != 1 and not cross_window(edit, settings, word.indices[0]).duration
    ]
    if not unheard:
        return []
    return [
        f"The emphasis of {quoted(unheard)} acts in no step, since it acts only while the source's "
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
            f"The prompts differ only in {quoted([word.text for word in words])}, which name nothing to be seen; "
            "change other words in 'target prompt' of Edit Prompts."
        ]
    return []


def _of_the_same_words(edit: PromptEdit) -> str:
    """Prompts of the same words, which an edit can only strengthen or weaken."""
    emphasised = [word.text for word in edit.target.words if edit.emphasis[word.indices[0]] != 1]
    if emphasised:
        return (
            f"The prompts are the same but for the emphasis of {quoted(emphasised)}; move it further from 1 in Edit "
            "Prompts."
        )
    if weights := changed_weights(edit):
        return (
            f"The prompts are the same but for weights, {', '.join(weights)}, which change little here; write the word "
            "in 'emphasis' of Edit Prompts."
        )
    return "The prompts are the same; change words in 'target prompt' of Edit Prompts."
