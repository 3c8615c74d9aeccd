"""Edits of drawn clips by the demo video model, in every way that the study of coupled edits compares."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import comfy.samplers
import torch

from fatezero_pack.demo.video_model import load_demo_video_model
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, NO_MASK, WORDS, BlendSettings
from fatezero_pack.fatezero.edit.transformer.coupled_mask import MaskSettings, coupled_mask
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
)
from fatezero_pack.fatezero.edit.transformer.video_blend import on_latent_frames
from fatezero_pack.fatezero.network.option_keys import SOURCE as ROW
from fatezero_pack.fatezero.network.option_keys import TOKENS
from fatezero_pack.fatezero.network.transformer.families import family_of
from fatezero_pack.fatezero.network.transformer.two_models import steps_of_models
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.fatezero.source.video_inversion import invert_video

from ..quality.cases import Case

UNCHANGED, COUPLED, FLOWEDIT, INVERSION = "clip unchanged", "coupled", "FlowEdit", "inversion"
EMPTY, SOURCE = "empty", "source"  # prompts that guidance leads away from
NOWHERE, SEEN, TRUE = "none", "of words", "of the truth"  # masks
THRESHOLD = 0.5  # of masks of words, as the node has it


@dataclass(frozen=True)
class Setting:
    """One way to edit a clip; shares are of the steps, counted from the noisiest.

    Attributes:
        way: UNCHANGED (only through the VAE), COUPLED, FLOWEDIT (as published: the clip's row has guidance too) or
            INVERSION (Uni-Inv, then the edit from the inverted noise; free sampling where no attention is fused).
        cfg: Guidance of the edit.
        source_cfg: Guidance of the clip's row, which only FLOWEDIT has.
        negative: What guidance leads away from, EMPTY or SOURCE.
        cross, own: Shares until which cross- and self-attention follow the clip's.
        skip: Share of the first steps that is left out.
        mask: NOWHERE for none, SEEN where the model sees the words that change, or TRUE, the true place of the edit.
        until: Share of the steps until which there is guidance; of INVERSION alone.
    """

    way: str = COUPLED
    cfg: float = 1.5
    source_cfg: float = 1.0
    negative: str = EMPTY
    cross: float = 0.0
    own: float = 0.0
    skip: float = 0.0
    mask: str = NOWHERE
    until: float = 1.0

    def __str__(self) -> str:
        """By which its figures are kept, and named in tables."""
        if self.way == UNCHANGED:
            return UNCHANGED
        names = {"source_cfg": "clip's cfg", "cross": "cross to", "own": "self to", "until": "cfg until"}
        changed = [name for name, value in asdict(self).items() if name == "cfg" or value != getattr(Setting, name)]
        values = {name: getattr(self, name) for name in changed if name != "way"}
        words = [f"{names.get(name, name)} {in_short(value)}" for name, value in values.items()]
        return f"{self.way}: {', '.join(words)}"

    def applies(self, case: Case) -> bool:
        """Whether the case has what the setting asks for: a style has no place of its own."""
        return self.mask == NOWHERE or case.source.style == case.target.style


def in_short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


class VideoEditor:
    """The demo video model."""

    def __init__(self, weights: Path, steps: int):
        self.model, self.clip, self.vae = load_demo_video_model(weights)
        self.steps = steps

    def encode(self, text: str, **options):
        """A prompt's CONDITIONING."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text), add_dict=options)


class ClipEditor:
    """One clip, and its edits; what all of them need is made once."""

    def __init__(self, editor: VideoEditor, case: Case):
        self.editor, self.case, self.model = editor, case, editor.model
        self.latent = editor.vae.encode(case.clip(case.source))
        tokens = [tokenize_prompt(editor.clip, text) for text in (case.source_prompt, case.target_prompt)]
        self.source, self.positive = (editor.encode(each.text, **{TOKENS: each}) for each in tokens)
        self.edit = make_prompt_edit(*tokens)

    def edited(self, setting: Setting) -> torch.Tensor:
        """The edited clip, IMAGE [n, H, W, 3] of 0..1."""
        by = {UNCHANGED: lambda _: self.latent, INVERSION: self._from_noise}
        return self.editor.vae.decode(by.get(setting.way, self._coupled)(setting))[0].float()

    def _negative(self, setting: Setting):
        return self.source if setting.negative == SOURCE else self.editor.encode("")

    def _drawn_mask(self, setting: Setting) -> torch.Tensor | None:
        return self.case.edited_region().float() if setting.mask == TRUE else None

    def _coupled(self, setting: Setting) -> torch.Tensor:
        """The edited latent [1, c, F, h, w], without inversion."""
        family, steps, seed = family_of(self.model), self.editor.steps, self.case.seed
        where = MaskSettings(WORDS if setting.mask == SEEN else INPUT_MASK, THRESHOLD)
        drawn = self._drawn_mask(setting)
        cells = coupled_mask(self.model, family, self.edit, self.source, self.latent, where, drawn, seed)
        settings = CoupledSettings(setting.cross, setting.own, setting.skip, mask=cells)
        guider = FlowEditGuider(self.model, self.edit, settings, steps, source_cfg=setting.source_cfg)
        guider.set_prompts(self.source, self.positive, self._negative(setting), setting.cfg)
        sigmas = comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), "simple", steps)
        (run,) = steps_of_models(sigmas, setting.skip, None)
        sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(seed)), run)
        return guider.sample(
            torch.zeros_like(self.latent), self.latent, sigmas=sigmas, sampler=sampler, disable_pbar=True
        )

    @cached_property
    def inverted(self):
        """The clip's source run."""
        sigmas = inversion_sigmas(self.model, OFFICIAL, self.editor.steps)
        return invert_video(self.model, self.source, self.latent, sigmas=sigmas, disable_pbar=True)

    def _from_noise(self, setting: Setting) -> torch.Tensor:
        """The edited latent [1, c, F, h, w], from the clip's inverted noise."""
        settings = BlendSettings(
            self_window=Window(0, setting.own),
            cross_window=Window(0, setting.cross),
            mask_from={NOWHERE: NO_MASK, SEEN: WORDS, TRUE: INPUT_MASK}[setting.mask],
            threshold=THRESHOLD,
            mask=self._drawn_mask(setting),
            latent_window=None if setting.mask == NOWHERE else Window(0, 1),
        )
        settings, negative = on_latent_frames(settings, self.inverted), self._negative(setting)
        prompts, guided = (self.positive, negative, setting.cfg), Window(0, setting.until)
        return sample_edit(self.model, self.inverted, self.edit, settings, *prompts, guided=guided, disable_pbar=True)


class FlowEditGuider(CoupledGuider):
    """A coupled edit whose clip's row may have guidance, as in FlowEdit (Kulikov et al. 2025, algorithm 1)."""

    def __init__(self, *args, source_cfg: float = 1.0):
        super().__init__(*args)
        self.source_cfg = source_cfg

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        """As of CoupledGuider."""
        denoised = super().predict_noise(x, timestep, model_options, seed)
        if self.source_cfg != 1:
            conds, fed = [self.conds[ROW], self.conds["negative"]], self.row.fed
            source, rest = comfy.samplers.calc_cond_batch(self.inner_model, conds, fed, timestep, model_options or {})
            self.row.denoised = torch.lerp(rest, source, self.source_cfg)
        return denoised
