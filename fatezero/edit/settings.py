"""What can be set about a fusion, and the papers' settings in words."""

from dataclasses import dataclass, field, replace

import torch

from ..network.unet.motion_modules import motion_models
from ..network.unet.temporal_parts import temporal_parts_of
from ..network.word_maps import OFFICIAL_CELLS
from ..prompts.window import Window
from ..readable import readable

INVERSION, RECONSTRUCTION = "inversion", "reconstruction"
FAST_RECONSTRUCTION = "reconstruction without guidance"
REPLAY, CACHE, AUTO_CACHE = "replay", "cache", "auto"
AS_PRESET, CLIP_NOISE, FRESH_NOISE = "as the preset", "the clip's", "fresh"
NO_MASK, WORDS, INPUT_MASK, WORDS_IN_MASK = "off", "words", "mask input", "words inside mask input"
OUTLINE = "words, to the edges"
AROUND = "all but what stays"


@readable
@dataclass(frozen=True)
class BlendSettings:
    """How an edit is fused; windows are fractions of the steps counted from the noisiest.

    Args:
        self_window: When the source's self-attention is used.
        cross_window: When the source's cross-attention is used.
        mask_from: Where self-attention and latents keep the edit's own: NO_MASK for nowhere, WORDS where the words are
            seen, OUTLINE from there on to the thing's edges, AROUND everywhere but in the things that both prompts have
            (`outline_mask`), INPUT_MASK in `mask`, WORDS_IN_MASK in the product of WORDS and INPUT_MASK.
        threshold: tau, 0..1, of the words' mask; 0 for an automatic one.
        mask: [1 or n, H, W] of 0..1.
        mask_self_attention: Whether self-attention keeps the edit's own inside the mask; else it is for latents
            alone.
        finest_until: The share of the steps, 0..1, in which layers of the latent's own resolution are fused too; the
            official code leaves them out to save memory, which is 0.
        attention_from: INVERSION (FateZero), RECONSTRUCTION (prompt-to-prompt; with null text Video-P2P's decoupled
            guidance) or FAST_RECONSTRUCTION (Video-P2P's fast mode).
        latent_window: When latents outside the mask are put back to the source's, or None.
        source_attention: REPLAY runs the source's rows again in every edit, CACHE keeps what they show for later edits,
            AUTO_CACHE does so where it is little.
        temporal_window: When the source's temporal attention is used, which tuned models and motion modules have.
        official_latents: Whether latents are blended as by FateZero's code, where attention_from is INVERSION: in steps
            strictly within the window, to the source's latent of one step before, which is a little too noisy.
        new_words_until: The share of the steps, 0..1, in which cross-attention inside the mask sees the new words alone
            (the phrases of the target's words to mask), so that they appear there; 0 for never.
        fresh_noise: How much of the clip's noise inside the mask is fresh noise when the edit starts, 0..1.
        noise_seed: Of the fresh noise.
        mask_is_ground: Whether the mask holds the clip's ground: what is new there moves as that does, and fresh noise
            stands still. Else it holds things, and noise goes along with it.
        mask_uncovers: Whether what the mask holds goes: in a mask that is known before the run self-attention then sees
            the ground alone (`ground_keys`), and what is new moves as the ground does.
        soft_edge: Whether latents are blended over the two cells along the edge of the words' mask, not at it; video
            models, where it was not measured, blend at it.
        mask_phrases: Whether the mask of words is that of their whole phrases, away from the things beside them, as
            "red square" away from "red star".
        whole_cells: Whether a cell of the latent that `mask` touches belongs to it whole.
        agree_until: The share of the steps, 0..1, in which frames agree on what is new inside a mask that is known
            before the run (`agreement`); 0 for never.
        edge_margin: By how many cells of the latent a mask to the edges reaches beyond them.
        thing_masks: Of things in `mask` the place of each, [things, n, h, w], where it sees its own new words alone
            (`edit_kind.own_words`: several things, or one on a new ground); found before the run, None for one place
            of all new words.
        map_cells: To how many cells smaller word maps are brought before a mask is read from them; 1 leaves maps as
            they are, for parity with the official code on clips smaller than 512x512.
    """

    self_window: Window = Window(0.0, 0.8)
    cross_window: Window = Window(0.0, 0.8)
    mask_from: str = NO_MASK
    threshold: float = 0.3
    mask: torch.Tensor | None = None
    mask_self_attention: bool = True
    finest_until: float = 1.0
    attention_from: str = INVERSION
    latent_window: Window | None = None
    source_attention: str = REPLAY
    temporal_window: Window = Window(0.0, 0.0)
    official_latents: bool = False
    map_cells: int = field(default=OFFICIAL_CELLS, repr=False)
    new_words_until: float = field(default=0.0, repr=False)
    fresh_noise: float = field(default=0.0, repr=False)
    noise_seed: int = field(default=0, repr=False)
    mask_is_ground: bool = field(default=False, repr=False)
    mask_uncovers: bool = field(default=False, repr=False)
    whole_cells: bool = field(default=False, repr=False)
    soft_edge: bool = field(default=False, repr=False)
    mask_phrases: bool = field(default=False, repr=False)
    edge_margin: int = field(default=0, repr=False)
    thing_masks: torch.Tensor | None = field(default=None, repr=False)
    agree_until: float = field(default=0.0, repr=False)


def fitting_model(settings: BlendSettings, model) -> BlendSettings:
    """The settings without what a ModelPatcher lacks: temporal attention, but for tuned models and motion modules."""
    if temporal_parts_of(model) is None and not motion_models(model):
        return replace(settings, temporal_window=Window(0.0, 0.0))
    return settings


def official_blend(settings: BlendSettings) -> bool:
    """Whether latents are blended as by FateZero's code, whose index runs past its end with other attention."""
    return settings.official_latents and settings.attention_from == INVERSION


def blends_latents(settings: BlendSettings, step: int, steps: int) -> bool:
    """Whether latents are blended after a step (0 is the noisiest)."""
    window = settings.latent_window
    if window is None or not window.contains(step, steps):
        return False
    return not official_blend(settings) or window.contains(step + 1, steps)


def reads_words(settings: BlendSettings) -> bool:
    """Whether the mask follows the words' attention from step to step."""
    return settings.mask_from in (WORDS, WORDS_IN_MASK)


def needs_words(settings: BlendSettings) -> bool:
    """Whether there is no mask without words of the source prompt that are replaced."""
    return reads_words(settings) or settings.mask_from == OUTLINE
