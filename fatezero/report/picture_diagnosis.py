"""What an edited clip shows that nobody asked for: changes outside the mask, burnt colours."""

import math

import torch

from ..edit.transformer.coupled_sampling import CoupledSettings
from ..edit.transformer.video_check import HIGH_GUIDANCE as VIDEO_HIGH_GUIDANCE
from ..source.source_run import SourceRun
from .edit_report import Measured
from .mask_diagnosis import Settings
from .measure_table import PSNR_SCALE, scale
from .metrics import mean

USUAL_GUIDANCE, HIGH_GUIDANCE = 7.5, 8.0
VIDEO_GUIDANCE = 1.5  # the default of Coupled Edit Sampler
# With the demo model (9 edits, two sizes), up to guidance 7.5 at most 0.11 of the changed pixels are at their limit
# where the clip has 0.02, but for one white thing; from 11 on 0.14 to 0.85, or 0.07 to 0.13 of the whole picture.
BURNT_OF_CHANGED, BURNT_OF_WHOLE = 0.1, 0.05
KEPT_PSNR = 25  # dB


def is_video(source: SourceRun | None, settings: Settings | None) -> bool:
    """Whether an edit was made with a video model."""
    return isinstance(settings, CoupledSettings) or (source is not None and source.cell.is_video)


def of_the_outside(measured: Measured, settings: Settings | None) -> list[str]:
    """A clip that has changed where the edit was not wanted."""
    if measured.outside is None:
        return []
    psnr = mean(differing(measured.outside.psnr))
    if math.isnan(psnr) or psnr >= KEPT_PSNR:
        return []
    if isinstance(settings, CoupledSettings):
        return [
            f"Outside the mask the clip changed, too ({psnr:.0f} dB: {scale(psnr, PSNR_SCALE)}); lower 'cfg', connect "
            "the mask to Coupled Edit Sampler, or put Composite Outside Mask behind the edit."
        ]
    if settings is not None and settings.latent_window is not None:
        return [
            f"Outside the mask the clip changed, too ({psnr:.0f} dB: {scale(psnr, PSNR_SCALE)}); put Composite Outside "
            "Mask behind the edit."
        ]
    return [
        f"Outside the mask the clip changed, too ({psnr:.0f} dB: {scale(psnr, PSNR_SCALE)}); switch 'latent blend' on, "
        "or put Composite Outside Mask behind the edit."
    ]


def of_the_colours(
    measured: Measured, source: SourceRun | None, settings: Settings | None, cfg: float | None
) -> list[str]:
    """Colours that high guidance has driven to their limits."""
    before, after, changed = measured.at_limit
    if cfg is None or (changed < before + BURNT_OF_CHANGED and after < before + BURNT_OF_WHOLE):
        return []
    if is_video(source, settings):
        high, usual = VIDEO_HIGH_GUIDANCE, VIDEO_GUIDANCE
    else:
        high, usual = HIGH_GUIDANCE, USUAL_GUIDANCE
    if cfg <= high:
        return []
    return [
        f"'cfg' is {cfg:g}, and {changed:.0%} of what changed is as bright or dark as can be ({before:.0%} of the clip "
        f"before), which looks burnt; lower it to {usual:g} or less."
    ]


def differing(values: torch.Tensor) -> torch.Tensor:
    """PSNR without the frames in which nothing differs, unless that is all of them."""
    return values[torch.isfinite(values)] if torch.isfinite(values).any() else values
