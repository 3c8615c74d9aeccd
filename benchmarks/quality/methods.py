"""What is compared: published baselines, ours, and ours with one thing changed."""

from dataclasses import dataclass, field, replace

from fatezero_pack.fatezero.edit.presets import CFG_UNTIL, PRESETS
from fatezero_pack.fatezero.edit.settings import (
    FAST_RECONSTRUCTION,
    INPUT_MASK,
    NO_MASK,
    RECONSTRUCTION,
    WORDS,
    BlendSettings,
    needs_words,
)
from fatezero_pack.fatezero.masks.word_masks import AUTOMATIC
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.prompts.word_fields import ATTENTION, BY_WORD, MEANING
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.fatezero.tuning.settings import Tuning

from .cases import Case

STEPS = 10  # few, so that the whole list runs within hours; an ablation says what 20 and 50 change
GUIDANCE = 4.0  # as there; the papers' 7.5 suits Stable Diffusion
GUIDED = (0.0, CFG_UNTIL)  # the steps with guidance, as on a new Attention Blend Sampler
FUSED, FREE, SDEDIT = "fused", "inversion and new prompt", "SDEdit"
TUNE_A_VIDEO = "inversion with the empty prompt, then plain sampling"
ON_BOTH, ON_SOURCE = "both branches", "the source's branch"  # whose unconditional embedding null text replaces
# No edit, but what the VAE makes of the true clip, of another drawing of its prompt, and of the source.
TRUTH, REDRAWN, UNCHANGED = "truth", "redrawn", "unchanged"
APART = ()  # key frames of a model that is not inflated: each frame looks at itself
AS_IN_PAPER = " (as in the paper)"
# Kinds of edits that preset replace is for: a new shape, and what changes beside another thing.
REPLACED = ("shape", "colour and shape", "pair of one colour", "pair of one shape", "crossing")
# The presets' own mask, for latents alone.
MASK_ALONE = {"mask_from": WORDS, "threshold": AUTOMATIC, "mask_self_attention": False, "latent_window": Window(0, 1)}


@dataclass(frozen=True)
class Tuned:
    """A model tuned on the case's own clip: how, and after how many of those steps it edits."""

    settings: Tuning
    after: int


@dataclass(frozen=True)
class Method:
    """A way from clip to edited clip.

    way: FUSED is ours; key_frames: APART leaves the model uninflated; changes: fields of BlendSettings in place of the
    preset's; preset: instead of the one of the case; strength: SDEdit's denoise, 0..1, and own_noise: whether its
    frames get different noise; label, refinement, steps: of the inversion; null_text: None, ON_BOTH or ON_SOURCE, and
    whether it is optimised as published; tuned: None for the demo model as it is; way TUNE_A_VIDEO
    inverts with the empty prompt and samples as any model; masked: FREE with the latent mask of the case's preset,
    where that has one; emphasis_acts_on: of a word to re-weight, as on Edit Prompts; given_place: the edit's true place
    is the mask, for the preset add or replace; automatic: the preset of that name, with a mask where a thing is added,
    as the node then asks for; weights: another demo model's file; schedule: of inversion and edit; sampler: of the
    edit; guided: the steps with guidance, as of Window.
    """

    name: str
    way: str = FUSED
    steps: int = STEPS
    guidance: float = GUIDANCE
    key_frames: tuple[str, ...] = ("current", "middle")
    normalise_across_frames: bool = False
    label: str = "target"
    refinement: int = 0
    alignment: str = "auto"
    preset: str | None = None
    changes: dict = field(default_factory=dict)
    strength: float = 1.0
    own_noise: bool = False
    as_in_paper: bool = False
    null_text: str | None = None
    published_null_text: bool = False
    tuned: Tuned | None = None
    masked: bool = False
    emphasis_acts_on: str = ATTENTION
    given_place: bool = False
    automatic: bool = False
    weights: str = ""
    schedule: str = OFFICIAL
    sampler: str = "euler"
    guided: tuple[float, float] = (0.0, 1.0)

    def settings(self, case: Case) -> BlendSettings:
        """How the edit is fused."""
        if self.way == FREE:
            masks = MASK_ALONE if self.masked and needs_words(PRESETS[case.preset]) else {}
            return BlendSettings(self_window=Window(0, 0), cross_window=Window(0, 0), **masks)
        name = self.preset or (automatic_preset(case) if self.automatic else case.preset)
        if self.given_place or name == "add":
            name = self.preset or ("add" if case.kind == "addition" else "replace")
            place = {"mask_from": INPUT_MASK, "mask": case.edited_region().float(), "latent_window": Window(0, 1)}
            return replace(PRESETS[name], **place, **self.changes)
        published = name + AS_IN_PAPER
        return replace(PRESETS[published if self.as_in_paper and published in PRESETS else name], **self.changes)


def automatic_preset(case: Case) -> str:
    """What preset *automatic* takes for an edit, known without its tokens: the same, by test, for every edit here."""
    if case.kind == "addition":
        return "add"
    if case.preset == "background":
        return "new background"
    is_beside = case.preset == "attribute" and len(case.source.things) > 1
    return "replace" if is_beside or case.preset == "shape" else case.preset


OURS = Method("ours", guided=GUIDED)
# Guidance 4 in every step, as ours had it until 2026-11-27; the small model's ablations were run with it.
EVERY_STEP = Method("ours, guided in every step")
AS_IT_WAS, AS_IT_MAY_BE, AS_IT_SHOULD_BE = (
    Method("clip unchanged (through the VAE)", UNCHANGED),
    Method("another drawing of the target prompt (through the VAE)", REDRAWN),
    Method("truth (through the VAE)", TRUTH),
)
DDIM = Method("DDIM inversion + new prompt", FREE, key_frames=APART)
DDIM_MASKED = Method("DDIM inversion + new prompt + latent mask", FREE, masked=True)
DDIM_MASKED_UNTIL = replace(DDIM_MASKED, name=f"{DDIM_MASKED.name}, cfg until {CFG_UNTIL}", guided=GUIDED)
# Null text from the source's prompt and with one inner step, which guides the edit away from that prompt.
QUICK_NULL_TEXT = Method(
    "prompt-to-prompt + null text, frame by frame",
    key_frames=APART,
    changes={"attention_from": RECONSTRUCTION},
    null_text=ON_BOTH,
)
# From the empty prompt, each step from the one before, at most ten inner steps, the negative of both branches.
PUBLISHED_NULL_TEXT = replace(
    QUICK_NULL_TEXT, name="prompt-to-prompt + null text as published, frame by frame", published_null_text=True
)
IN_PAPER = Method("ours, presets as in the paper", as_in_paper=True)
GIVEN_PLACE = replace(OURS, name="ours, given the place", given_place=True)
BY_WORDS = Method(
    "ours, preset replace with a mask of words", preset="replace", changes={"mask_from": WORDS, "threshold": 0.3}
)
REPLACE = replace(OURS, name="ours, preset replace", preset="replace")
AUTOMATIC_PRESET = replace(OURS, name="ours, preset automatic", automatic=True)
REWEIGHTED = Method("re-weight (Video-P2P)", preset="re-weight (Video-P2P)")
MEANT = Method("ours, emphasis on the meaning", emphasis_acts_on=MEANING)
EMPHASISED = Method("ours, emphasis automatic", emphasis_acts_on=BY_WORD, guided=GUIDED)


def sdedit(strength: float) -> Method:
    return Method(f"SDEdit {strength}, frame by frame", SDEDIT, key_frames=APART, strength=strength)


def first_table() -> list[Method]:
    """Of the first list: the baselines, then ours; between what no edit and what no method can reach."""
    baselines = [DDIM, *map(sdedit, (0.4, 0.6, 0.8)), QUICK_NULL_TEXT, Method("inflation, no fusion", FREE)]
    return [AS_IT_WAS, *baselines, IN_PAPER, OURS, AS_IT_SHOULD_BE]


def main_table() -> list[Method]:
    """Of the second list, as the paper's Table 1 and with the two baselines that the first list lacks."""
    baselines = [DDIM, DDIM_MASKED, DDIM_MASKED_UNTIL, *map(sdedit, (0.4, 0.6, 0.8)), PUBLISHED_NULL_TEXT]
    return [
        AS_IT_WAS,
        *baselines,
        IN_PAPER,
        EVERY_STEP,
        OURS,
        AUTOMATIC_PRESET,
        REPLACE,
        BY_WORDS,
        GIVEN_PLACE,
        REWEIGHTED,
        MEANT,
        EMPHASISED,
        AS_IT_MAY_BE,
        AS_IT_SHOULD_BE,
    ]


def applies(method: Method, case: Case) -> bool:
    """Whether a row has a case: null text as published takes ten times as long as ours, and is shown where words are
    swapped in short clips; a latent mask needs a preset with one; a place is given where a thing is added or
    replaced; words may mark it where one is replaced."""
    of_words = REWEIGHTED, MEANT, EMPHASISED
    if case.word or method in of_words:
        return bool(case.word) and method in (EVERY_STEP, OURS, *of_words)
    if method.published_null_text:
        words = case.source_prompt.split(), case.target_prompt.split()
        return len(words[0]) == len(words[1]) and case.frames <= 8
    if method.masked:
        return needs_words(PRESETS[case.preset])
    if method in (BY_WORDS, REPLACE):
        return case.kind in REPLACED
    return not method.given_place or case.kind in ("addition", *REPLACED)


def untied(key_frames: tuple[str, ...], name: str) -> Method:
    """Nothing but the key frames makes frames agree: each starts from noise of its own, without fusion."""
    return Method(f"noise apart, {name}", SDEDIT, key_frames=key_frames, strength=0.8, own_noise=True)


def video_p2p(preset: str | None = None, guidance: float = GUIDANCE) -> list[Method]:
    """Video-P2P's ablation: whose unconditional embedding the source's branch and the edit's take."""
    first = Method("", key_frames=("first",), preset=preset, guidance=guidance)
    reconstructed = replace(first, changes={"attention_from": RECONSTRUCTION}, published_null_text=True)
    under = f", {preset}" if preset else ""  # a row's name is its own in all tables
    return [
        replace(first, name=f"attention from inversion (FateZero){under}"),
        replace(first, name=f"fast mode{under}", changes={"attention_from": FAST_RECONSTRUCTION}),
        replace(reconstructed, name=f"no null text{under}"),
        replace(reconstructed, name=f"null text on both branches{under}", null_text=ON_BOTH),
        replace(reconstructed, name=f"decoupled: null text on the source's branch{under}", null_text=ON_SOURCE),
    ]


MASKED = {"mask_from": WORDS, "threshold": AUTOMATIC}
ABLATIONS = {
    "Source attention from (the paper's Fig. 8)": [
        replace(OURS, name="inversion: ours"),
        replace(OURS, name="guided reconstruction", changes={"attention_from": RECONSTRUCTION}),
        replace(OURS, name="reconstruction without guidance", changes={"attention_from": FAST_RECONSTRUCTION}),
    ],
    "Decoupled guidance (Video-P2P 3.2), our presets": video_p2p(),
    "Decoupled guidance, preset word swap (Video-P2P), guidance 7.5": video_p2p("word swap (Video-P2P)", 7.5),
    "Self-attention (the paper's Fig. 9)": [
        replace(OURS, name="as the preset: ours"),
        replace(OURS, name="not fused", changes={"self_window": Window(0, 0)}),
        replace(OURS, name="fused everywhere", changes={"mask_self_attention": False}),
        replace(OURS, name="fused outside the words' mask", changes=MASKED),
    ],
    "Key frames": [
        replace(OURS, name="none: frames apart", key_frames=APART),
        replace(OURS, name="current + middle: ours"),
        replace(OURS, name="middle (released configs)", key_frames=("middle",)),
        replace(OURS, name="first (Video-P2P)", key_frames=("first",)),
        replace(OURS, name="current + first", key_frames=("current", "first")),
        replace(OURS, name="previous + first (Tune-A-Video)", key_frames=("-1", "first")),
        replace(OURS, name="all", key_frames=("all",)),
    ],
    "Key frames where nothing else ties frames together: SDEdit 0.8, noise of its own for each": [
        untied(APART, "none: frames apart"),
        untied(("current", "middle"), "current + middle: ours"),
        untied(("middle",), "middle (released configs)"),
        untied(("all",), "all"),
    ],
    "Norms": [
        replace(OURS, name="per frame: ours"),
        replace(OURS, name="across frames (official 3-D UNet)", normalise_across_frames=True),
    ],
    "Inversion": [
        replace(OURS, name="target label: ours"),
        replace(OURS, name="current label (as the paper prints)", label="current"),
        *(replace(OURS, name=f"target label, refinement {count}", refinement=count) for count in (1, 2, 3)),
    ],
    "Layers": [
        replace(OURS, name="all: ours"),
        replace(OURS, name="all but the finest (official code)", changes={"finest_until": 0.0}),
    ],
    "Words": [
        replace(OURS, name="auto: ours"),
        replace(OURS, name="swap", alignment="swap"),
        replace(OURS, name="refine", alignment="refine"),
    ],
    "Steps": [replace(OURS, name=f"{steps} steps{': ours' * (steps == STEPS)}", steps=steps) for steps in (10, 20, 50)],
    "Latents outside the words' mask, where the preset has one": [
        replace(OURS, name="left to the edit", changes={"latent_window": None}),
        replace(OURS, name="the source's in all steps: ours"),
        replace(
            EVERY_STEP, name="the source's from 20 to 80 % (FateZero)", changes={"latent_window": Window(0.2, 0.8)}
        ),
    ],
    "Guidance": [
        replace(OURS, name=f"guidance {guidance}{': ours' * (guidance == GUIDANCE)}", guidance=guidance)
        for guidance in (2.0, 4.0, 7.5)
    ],
}
WINDOWS, THRESHOLDS = (0.0, 0.4, 0.8, 1.0), (AUTOMATIC, 0.3, 0.5, 0.7, 0.9)


def windows(self_until: float, cross_until: float, **changes) -> Method:
    """Ours without a preset: the source's self- and cross-attention from the first step until a share of them."""
    words = "".join(f", {name} {value}" for name, value in changes.items())
    return Method(
        f"self until {self_until}, cross until {cross_until}{words}",
        preset="style",
        changes={
            "self_window": Window(0, self_until),
            "cross_window": Window(0, cross_until),
            "mask_from": NO_MASK,
            "latent_window": None,
            **changes,
        },
    )


# What presets were chosen from: shares of the steps, (self, cross), and what the words' mask is for.
SWEPT_WINDOWS = (
    (0.3, 0.3),
    (0.4, 0.4),
    (0.5, 0.5),
    (0.5, 0.8),
    (0.7, 0.7),
    (0.8, 0.8),
    (0.9, 0.8),
    (1.0, 0.8),
    (1.0, 1.0),
)
SWEPT_MASKS = {
    "no mask": {},
    "mask for latents": {**MASKED, "latent_window": Window(0, 1), "mask_self_attention": False},
    "mask for latents and self-attention": {**MASKED, "latent_window": Window(0, 1)},
}


def preset_sweep(preset: str) -> list[Method]:
    """The settings that a preset was chosen from, and the paper's own; masks only where the edit has a changed word."""
    masks = SWEPT_MASKS if needs_words(PRESETS[preset]) else {"no mask": {}}
    swept = [
        replace(windows(*ends, **changes), name=f"self {ends[0]}, cross {ends[1]}, {mask}")
        for mask, changes in masks.items()
        for ends in SWEPT_WINDOWS
    ]
    paper = [Method("as in the paper", as_in_paper=True)] if preset + AS_IN_PAPER in PRESETS else []
    return [OURS, *paper, *swept]


# curve: its points, (value, method)
CURVES = {
    "self-attention fused until (share of the steps)": [(end, windows(end, 0.8)) for end in WINDOWS],
    "cross-attention fused until (share of the steps)": [(end, windows(0.8, end)) for end in WINDOWS],
    "threshold of the words' mask (0: automatic)": [
        (tau, windows(0.5, 0.5, mask_from=WORDS, threshold=tau, latent_window=Window(0, 1))) for tau in THRESHOLDS
    ],
}
