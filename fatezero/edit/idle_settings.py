"""Settings that have no effect beside the others of the same edit, in words for the node."""

import torch

from ..masks.mask_pictures import TOUCHED, resize_mask
from ..prompts.window import Window
from ..source.source_run import SourceRun
from .presets import AS_PUBLISHED, CFG_UNTIL
from .settings import AROUND, INPUT_MASK, NO_MASK, OUTLINE, WORDS, WORDS_IN_MASK, BlendSettings, needs_words
from .transformer.coupled_mask import MaskSettings
from .transformer.coupled_sampling import CoupledSettings
from .unet.fresh_noise import drawn_mask

WHITE = 0.9  # as white as an edge that was softened
_NOTHING = "! 'mask' covers no cell of the latent by a tenth, so nothing is edited; paint a larger or whiter place"
_HARDLY = (
    "! 'mask' covers no cell of the latent by a tenth, so hardly anything is edited; paint a larger or whiter place"
)


def idle_settings(settings: BlendSettings, usual: BlendSettings) -> list[str]:
    """Of Attention Blend; usual: the preset, whose own values are not told."""
    notes = _of_the_mask(settings.mask_from, settings.mask is not None)
    if settings.mask_from in (INPUT_MASK, WORDS_IN_MASK):
        notes += _of_an_even(settings.mask)
    reads_threshold = needs_words(settings) or settings.mask_from == AROUND
    if not reads_threshold and settings.threshold not in (usual.threshold, BlendSettings.threshold):
        notes.append(_without_words("mask threshold", settings.mask_from))
    if settings.mask_from != NO_MASK and settings.latent_window is None and not _frees_self_attention(settings):
        notes.append(
            f"! 'mask from' {settings.mask_from} has no effect; switch 'latent blend' on, or 'mask acts on "
            "self-attention' while 'self-attention until' is above 0"
        )
    if settings.mask_from == NO_MASK and settings.mask_self_attention != usual.mask_self_attention:
        notes.append("! 'mask acts on self-attention' has no effect, since 'mask from' is off")
    if settings.noise_seed and not settings.fresh_noise:
        notes.append("! 'fresh noise seed' has no effect, since 'noise inside the mask' is the clip's")
    return notes


def small_mask(settings: BlendSettings, source: SourceRun) -> list[str]:
    """Of a drawn mask of which little or nothing is left on the latent's cells, where that is all that is edited."""
    if settings.mask is None or settings.mask_from not in (INPUT_MASK, WORDS_IN_MASK) or settings.latent_window is None:
        return []
    drawn = settings.mask.flatten(1).amax(dim=1)
    if source.cell.is_video:  # a cell of whose pixels one is white is white
        left = drawn
    else:
        size = (source.trajectory.shape[-2], source.trajectory.shape[-1])
        left = resize_mask(drawn_mask(settings.mask, settings, size), size).flatten(1).amax(dim=1)
    painted, small = int((drawn > 0).sum()), int(((drawn > 0) & (left <= TOUCHED)).sum())
    if small == 0:
        return []
    if small < painted:
        return [
            f"! in {small} of the {painted} frames where 'mask' has white it covers no cell of the latent by a tenth, "
            "and hardly anything is edited; paint a larger or whiter place"
        ]
    return [_NOTHING if settings.whole_cells else _HARDLY]


def grey_mask(settings: BlendSettings) -> list[str]:
    """Of a drawn mask without any white: an edit comes through by a part of it, or, by whole cells, in all of it."""
    if settings.mask is None or settings.mask_from not in (INPUT_MASK, WORDS_IN_MASK):
        return []
    white = settings.mask.max()
    if white <= TOUCHED or white >= WHITE:
        return []
    return [
        f"! 'mask' is nowhere white, but grey of {float(white):.0%} at most; make it white where to edit, else black"
    ]


def idle_latent_blend(is_on: bool, window: Window, usual: Window) -> list[str]:
    """Of 'latent blend' and its window; usual: the window that the preset brings along, on or off."""
    if is_on:
        if window.start < window.end:
            return []
        return ["! 'latent blend' has no effect, since 'latent blend until' is not above 'latent blend from'"]
    changed = {"latent blend from": window.start != usual.start, "latent blend until": window.end != usual.end}
    return [f"! '{name}' has no effect, since 'latent blend' is off" for name, is_set in changed.items() if is_set]


def idle_guidance(cfg: float, cfg_until: float) -> list[str]:
    """Of Attention Blend Sampler, whose 'cfg' is 1 without guidance."""
    if cfg != 1 or cfg_until in (1, CFG_UNTIL):
        return []
    return ["! 'cfg until' has no effect, since 'cfg' is 1, which is no guidance"]


def guided_unlike_papers(preset: str, cfg: float, cfg_until: float) -> list[str]:
    """What to tell where a preset has a paper's values, and guidance ends early, which the papers' does not."""
    if cfg == 1 or cfg_until == 1 or preset not in AS_PUBLISHED:
        return []
    return [f"'cfg until' is {cfg_until:g}, but the papers guide in every step; set it to 1 for their results"]


def idle_coupled_settings(
    settings: CoupledSettings, where: MaskSettings, mask: torch.Tensor | None = None
) -> list[str]:
    """Of a coupled edit; mask: the one that was drawn."""
    notes = _of_the_mask(where.mask_from, mask is not None)
    if where.mask_from in (INPUT_MASK, WORDS_IN_MASK):
        notes += _of_an_even(mask)
        notes += [_HARDLY] if mask is not None and bool(mask.any() & (mask <= TOUCHED).all()) else []
    if where.mask_from == INPUT_MASK:
        usual = MaskSettings()
        changed = {"mask threshold": where.threshold != usual.threshold, "mask blocks": where.blocks != usual.blocks}
        notes += [_without_words(name, where.mask_from) for name, is_changed in changed.items() if is_changed]
    windows = {"cross-attention until": settings.cross_until, "self-attention until": settings.self_until}
    notes += [
        f"! '{name}' {until:g} has no effect, since 'skip' {settings.skip:g} leaves those steps out"
        for name, until in windows.items()
        if 0 < until <= settings.skip
    ]
    return notes


def idle_models(ranges: list[range], boundary: float) -> list[str]:
    """Which of two models takes no step of a coupled edit; ranges: as of `steps_of_models`."""
    notes = (
        f"! 'model' takes no step; lower 'boundary' ({boundary:g})",
        f"! 'low noise model' takes no step; raise 'boundary' ({boundary:g})",
    )
    return [note for note, run in zip(notes, ranges) if not run] if len(ranges) == len(notes) else []


def _of_the_mask(mask_from: str, has_mask: bool) -> list[str]:
    if has_mask and mask_from in (NO_MASK, WORDS, OUTLINE, AROUND):
        return [
            f"! 'mask' has no effect, since 'mask from' is {mask_from}; choose mask input or words inside mask input"
        ]
    return []


def _of_an_even(mask: torch.Tensor | None) -> list[str]:
    if mask is None:
        return []
    if not bool(mask.any()):
        return ["! 'mask' is black everywhere; paint white where the edit belongs"]
    if float(mask.min()) == 1:
        return ["! 'mask' is white everywhere, so it holds nothing back; leave black what is to stay"]
    return []


def _without_words(name: str, mask_from: str) -> str:
    return f"! '{name}' has no effect, since 'mask from' is {mask_from}; it is for words"


def _frees_self_attention(settings: BlendSettings) -> bool:
    return settings.mask_self_attention and settings.self_window.start < settings.self_window.end
