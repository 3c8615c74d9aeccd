"""The source beside an edit: how its rows run again, so that their attention can be read.

`SourceBranch` says what every kind has in common; `source_branch` alone chooses one.
"""

from collections.abc import Callable
from typing import Protocol

import comfy.samplers
import torch
from comfy.sampler_helpers import convert_cond

from ...network.frame_chunks import ActiveChunk
from ...network.model_call import Conds, ModelCall, conds_of_frames
from ...network.option_keys import SOURCE
from ...prompts.prompt_edit import PromptEdit
from ...prompts.window import Window
from ...source.source_run import SourceRun
from ..joined_rows import can_join, join
from ..reconstruction_level import Reconstruction
from ..settings import FAST_RECONSTRUCTION, INVERSION, RECONSTRUCTION, BlendSettings, reads_words
from .step import WordMapSum, fused_kinds


class SourceBranch(Protocol):
    """What an edit reads of its source while it is sampled.

    An EditRun asks at each step `begin_step`; then for each chunk of frames `joined`, and `read` where that gives
    nothing; `put_word_maps` with what those rows have shown; and at the end of the step `end_step` and `latent_at`.

    rows_per_frame: UNet rows of the source beside the edit's, at a step at which it runs; why_not_cached: why its
    attention cannot be kept for later edits, in words, or None; word_maps: the source's [n, T, h, w] at this step where
    they are known before its rows run.
    """

    rows_per_frame: int
    why_not_cached: str | None
    word_maps: torch.Tensor | None

    def reads_at(self, step: int) -> bool:
        """Whether the source's rows must run at a denoising step; 0 is the noisiest."""

    def begin_step(self, guider, x: torch.Tensor, sigma: float) -> None:
        """Gets ready for the evaluations at a sigma; x: the edit's latent [n, c, h, w]."""

    def conds(self, frames: tuple[int, ...]) -> Conds:
        """The source prompt, encoded for the model, for some of the clip's frames."""

    def joined(self, call: ModelCall) -> ModelCall | None:
        """A chunk's call of the edit with the source's rows in it; None where these need a call of their own."""

    def read(self, call: ModelCall) -> None:
        """Runs the source's rows of a chunk in a call of their own; call: any for that chunk's frames."""

    def put_word_maps(self, active: ActiveChunk, maps: list[torch.Tensor]) -> None:
        """Takes the word maps that the source's rows of a chunk have shown, each [b, T, h, w]."""

    def end_step(self) -> torch.Tensor | None:
        """The source's word maps [n, T, h, w] that latents are blended by after this step."""

    def latent_at(self, sigma: float, x: torch.Tensor) -> torch.Tensor:
        """The source's latent [n, c, h, w] at a level, that of the step or, when it has run, a lower one; x: the
        edit's."""

    def left_behind(self):
        """What a later stage of the same edit goes on with, on the CPU."""

    def take_up(self, left, device) -> None:
        """Goes on with what the branch of an earlier stage has left behind."""


def source_branch(source: SourceRun, edit: PromptEdit, settings: BlendSettings) -> SourceBranch:
    """The branch that 'attention from' names; it belongs to one run."""
    kinds: dict[str, Callable[[SourceRun, PromptEdit, BlendSettings], SourceBranch]] = {
        INVERSION: InversionBranch,
        RECONSTRUCTION: ReconstructionBranch,
        FAST_RECONSTRUCTION: FastReconstructionBranch,
    }
    return kinds[settings.attention_from](source, edit, settings)


class EncodedSource:
    """What the branches below share: the source prompt as the model takes it, encoded when it is first needed."""

    def __init__(self, source: SourceRun, edit: PromptEdit, settings: BlendSettings):
        self.source, self.edit, self.settings = source, edit, settings
        self.encoded: Conds | None = None
        self.word_maps: torch.Tensor | None = None

    def conds(self, frames: tuple[int, ...]) -> Conds:
        """As of SourceBranch."""
        conds = conds_of_frames(self.encoded, frames)
        assert conds is not None
        return conds

    def encode(self, guider, x: torch.Tensor) -> None:
        if self.encoded is None:
            self.encoded = encoded(guider, self.source.conditioning, x, self.source)


def encoded(guider, conditioning, x: torch.Tensor, source: SourceRun) -> Conds:
    """A CONDITIONING encoded for the model of a run, for latents like x, as it was at the inversion.

    Apart from the edit's: core would hand the target's old-style ControlNet on to every conditioning that has none.
    """
    conds = {SOURCE: [cond.copy() for cond in convert_cond(conditioning)]}
    latent = source.trajectory[0].to(x)  # what a UNet for inpainting is given beside the noise
    return comfy.samplers.process_conds(guider.inner_model, x, conds, x.device, latent)[SOURCE]


class InversionBranch(EncodedSource):
    """FateZero: feeds the model at each step what the inversion fed it, so that the same attention comes out."""

    rows_per_frame = 1
    why_not_cached: str | None = None

    def __init__(self, source: SourceRun, edit: PromptEdit, settings: BlendSettings):
        super().__init__(source, edit, settings)
        self.fed: torch.Tensor | None = None

    def reads_at(self, step: int) -> bool:
        return bool(fused_kinds(self.edit, self.settings, step, self.source.steps))

    def begin_step(self, guider, x: torch.Tensor, sigma: float) -> None:
        self.word_maps = self.source.word_maps_at(sigma).to(x.device) if reads_words(self.settings) else None
        if self.reads_at(self.source.step_at(sigma)):
            self.encode(guider, x)
            self.fed = self.source.fed_at(sigma).to(x)

    def joined(self, call: ModelCall) -> ModelCall | None:
        conds = self.conds(call.frames)
        return join(call, conds, self.fed_to(call)) if can_join(conds, call.conds) else None

    def read(self, call: ModelCall) -> None:
        call.of_rows([self.conds(call.frames)], self.fed_to(call)).run()

    def fed_to(self, call: ModelCall) -> torch.Tensor:
        """What the source's rows of a chunk are fed, [b, c, h, w]."""
        assert self.fed is not None and call.active is not None
        return self.fed[call.active.chunk.index]

    def put_word_maps(self, active: ActiveChunk, maps: list[torch.Tensor]) -> None:
        """Nothing: the inversion has stored them."""

    def end_step(self) -> torch.Tensor | None:
        return self.word_maps

    def latent_at(self, sigma: float, x: torch.Tensor) -> torch.Tensor:
        return self.source.latent_at(sigma).to(x)

    def left_behind(self) -> None:
        """Nothing: everything follows from the source run."""

    def take_up(self, left, device) -> None:
        """As of SourceBranch."""


class ReconstructionBranch(EncodedSource):
    """Prompt-to-prompt and Video-P2P: denoises the inverted noise under the source prompt, beside the edit.

    Its guidance is that of its null text where it has some (decoupled guidance, Video-P2P 3.2: the edit keeps the plain
    negative), otherwise the edit's (prompt-to-prompt). It always has a call of its own: its negative may be the edit's
    own, whose rows carry other hidden states along.
    """

    rows_per_frame = 2
    why_not_cached: str | None

    def __init__(self, source: SourceRun, edit: PromptEdit, settings: BlendSettings):
        super().__init__(source, edit, settings)
        self.why_not_cached = f"'attention from' is {settings.attention_from}, which is computed anew in every edit"
        self.level: Reconstruction | None = None
        self.scale: float = 1.0
        self.negative: Conds | None = None
        self.words = WordMapSum()

    def reads_at(self, step: int) -> bool:
        """Until the last step that may need a reconstruction that has kept pace."""
        settings = self.settings
        windows = [settings.self_window, settings.cross_window, settings.temporal_window]
        windows.append(settings.latent_window or Window(0, 0))
        if reads_words(settings):
            windows.append(Window(0, settings.new_words_until))
        ends = [window.end for window in windows] + [end for _, _, end in self.edit.windows]
        return step <= max(ends) * self.source.steps

    def begin_step(self, guider, x: torch.Tensor, sigma: float) -> None:
        self.words.of_step = None
        if not self.reads_at(self.source.step_at(sigma)):
            return
        self.encode(guider, x)
        latent = self.source.latent_at(sigma).to(x) if self.level is None else self.level.at(sigma)
        # Until its rows have run. A node that skips steps (LazyCache) skips them, too: then the last one's stays.
        denoised = latent if self.level is None else self.level.denoised
        self.level = Reconstruction(latent, denoised.clone(), sigma)
        self.scale, negative = self.guidance(guider, x, sigma)
        self.negative = negative if self.scale != 1.0 else None

    def guidance(self, guider, x: torch.Tensor, sigma: float) -> tuple[float, Conds | None]:
        """The scale of the guidance, and the encoded negative that it leads away from."""
        null_text = self.source.null_text
        if null_text is None:
            return getattr(guider, "cfg", 1.0), guider.conds.get("negative")
        return null_text.guidance, encoded(
            guider, [[self.source.null_text_at(sigma), null_text.options]], x, self.source
        )

    def joined(self, call: ModelCall) -> ModelCall | None:
        return None

    def read(self, call: ModelCall) -> None:
        assert self.level is not None and call.active is not None
        frames = call.frames
        negative = conds_of_frames(self.negative, frames)
        apart = call.within(call.active.apart(SOURCE))
        latent = self.level.latent[call.active.chunk.index]
        denoised, unconditional = apart.of_rows([self.conds(frames), negative], latent).run()
        if negative is not None:
            denoised = unconditional + self.scale * (denoised - unconditional)
        call.active.put(denoised, self.level.denoised)

    def put_word_maps(self, active: ActiveChunk, maps: list[torch.Tensor]) -> None:
        self.words.put(active, maps)

    def end_step(self) -> torch.Tensor | None:
        """Video-P2P: of all steps so far."""
        return self.words.end_step()

    def latent_at(self, sigma: float, x: torch.Tensor) -> torch.Tensor:
        assert self.level is not None
        return self.level.at(sigma)

    def left_behind(self) -> "tuple[Reconstruction | None, torch.Tensor | None]":
        total = self.words.total
        return (None if self.level is None else self.level.to("cpu")), (None if total is None else total.cpu())

    def take_up(self, left, device) -> None:
        level, words = left
        self.level = None if level is None else level.to(device)
        self.words.total = None if words is None else words.to(device)


class FastReconstructionBranch(ReconstructionBranch):
    """Video-P2P's fast mode: a reconstruction without guidance."""

    rows_per_frame = 1

    def guidance(self, guider, x: torch.Tensor, sigma: float) -> tuple[float, Conds | None]:
        return 1.0, None
