"""What inversion leaves behind: the trajectory and the word maps, from which everything about the source follows."""

from dataclasses import dataclass, field

import torch

from ..network.transformer.two_models import share_in_words, steps_of_models
from ..network.unet.inflation import Inflation
from ..prompts.tokens import PromptTokens
from ..readable import readable
from ..refusal import counted
from .attention_cache import AttentionCache
from .latent_cell import Cell
from .schedule import at_position, rescaled, schedule_position
from .tensor_list import TensorList

TARGET_LABEL, CURRENT_LABEL, UNI_INV = "target", "current", "uni"
FAST_STEPS = 10  # with Uni-Inv and CFG_UNTIL what "Fast, by kind of edit" of benchmarks/RESULTS.md measures
# Of runs of UNets, of video models, of UNets by Uni-Inv, of two video models; files say it.
VERSION, VIDEO_VERSION, UNI_VERSION, PAIR_VERSION = 1, 2, 3, 4


@readable
@dataclass(frozen=True, eq=False)
class NullText:
    """Unconditional embeddings under which the source prompt, with guidance, draws the clip again; immutable.

    embeddings: float32 [N, 1 or n, T, C], ascending like the sigmas: that of the step from sigmas[k + 1] down to
    sigmas[k], shared by all frames or one for each; guidance: what they were made for; options: those of the
    conditioning they take the place of (pooled output of SDXL, a ControlNet ...).
    """

    embeddings: torch.Tensor
    guidance: float
    options: dict = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class LowNoiseModel:
    """The second of two models that a clip was inverted with: its fingerprint, and below which sigma it is asked."""

    fingerprint: str
    boundary: float


@readable
@dataclass(frozen=True, eq=False)
class SourceRun(TensorList):
    """The source clip's inversion (wire type FZ_SOURCE); immutable but for its cache.

    No attention need be kept: queries and keys are a deterministic function of what the model was fed, so an edit runs
    the source rows again (replay) and reads them as they pass, or keeps them in `cache` for the next edit.
    As a list it holds its tensors, which ComfyUI's RAM cache counts.

    sigmas: float32 [N + 1], ascending; trajectory: float32 [N + 1, n, c, h, w], the latent at each sigma in ComfyUI's
    own scale (x_0 + sigma·epsilon, of a flow (1 - sigma)·x_0 + sigma·epsilon), first the clean one, last the noise;
    word_maps: float32 [N, n, T', h', w'], the source's cross-attention of each call averaged over heads and mask
    layers, for the prompt's tokens up to the end of text; label: at which sigma each call was evaluated ("target", as
    the official code, or "current", as the paper prints it), or UNI_INV; conditioning: the source
    prompt's CONDITIONING; tokens: its PromptTokens, or None when it was not made by Edit Prompts; null_text: from
    Null-Text Optimization, or None; made_with: the nodes that had patched the model, as of `nodes_on`, or None where a
    file of version 0.1.0 does not say; cell: what a cell of the latents holds. Of a video model n counts latent frames.
    low_noise: the second of two models, or None; fingerprint and made_with are then of the one for high noise.
    """

    sigmas: torch.Tensor
    trajectory: torch.Tensor
    word_maps: torch.Tensor
    label: str
    refinement: int
    conditioning: list = field(repr=False)
    tokens: PromptTokens | None
    inflation: Inflation | None
    fingerprint: str
    version: int = VERSION
    null_text: NullText | None = None
    made_with: dict[str, str] | None = None
    cell: Cell = Cell()
    low_noise: LowNoiseModel | None = None
    cache: AttentionCache = field(default_factory=AttentionCache, repr=False)

    def __post_init__(self):
        self.extend([self.trajectory, self.word_maps, self.cache])
        if self.null_text is not None:
            self.append(self.null_text.embeddings)

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def frames(self) -> int:
        return self.trajectory.shape[1]

    @property
    def clip_frames(self) -> int:
        """Frames of the clip, where `frames` counts those of the latent."""
        return self.cell.clip_frames(self.frames)

    @property
    def stages(self) -> list[range]:
        """Which denoising steps (0 is the noisiest) each model makes: all, or those for high and those for low."""
        return steps_of_models(self.sigmas.flip(0), 0.0, None if self.low_noise is None else self.low_noise.boundary)

    def step_at(self, sigma: float) -> int:
        """Which denoising step (0 is the noisiest) a sigma belongs to."""
        return min(self.steps - 1, int(self.steps - schedule_position(self.sigmas, sigma) + 1e-6))

    def latent_at(self, sigma: float) -> torch.Tensor:
        """The inverted latent at a sigma, [n, c, h, w]; between steps interpolated linearly in sigma."""
        return self._at(sigma, self.trajectory)

    def fed_at(self, sigma: float) -> torch.Tensor:
        """What the model was fed when inversion evaluated it at this sigma, [n, c, h, w].

        With the target label, the latent one step cleaner, scaled as if it were at this sigma (the model divides by
        sqrt(1 + sigma²), so that it sees the cleaner latent as it is); otherwise the latent of this sigma.
        """
        if self.label != TARGET_LABEL or self.refinement:
            return self.latent_at(sigma)
        level = float(self._at(sigma, self.sigmas, steps_cleaner=1))
        return rescaled(self._at(sigma, self.trajectory, steps_cleaner=1), level, sigma)

    def word_maps_at(self, sigma: float) -> torch.Tensor:
        """The source's word maps of the call evaluated at this sigma, [n, T, h', w']."""
        # Step k is evaluated at sigmas[k + 1] unless the label is the current one and nothing refines it.
        return self._at(sigma, self.word_maps, steps_cleaner=int(self.label != CURRENT_LABEL or self.refinement > 0))

    def null_text_at(self, sigma: float) -> torch.Tensor:
        """The unconditional embedding of the denoising step that starts at a sigma, [1 or n, T, C]."""
        assert self.null_text is not None
        return self._at(sigma, self.null_text.embeddings, steps_cleaner=1)

    def _at(self, sigma: float, values: torch.Tensor, steps_cleaner: int = 0) -> torch.Tensor:
        """One of the run's sequences, read at a sigma or a number of steps on the cleaner side of it."""
        return at_position(values, schedule_position(self.sigmas, sigma) - steps_cleaner)

    def summary(self) -> str:
        """What was inverted, in a few readable lines."""
        height, width = (cells * self.cell.pixels for cells in self.trajectory.shape[-2:])
        frames, alone = self.clip_frames, "no key frames: every frame on its own"
        prompt = self.tokens.text if self.tokens is not None else "(not made by Edit Prompts)"
        lines = [
            f"source prompt: {prompt}",
            f"{counted(frames, 'frame')} of {width}x{height}, {counted(self.steps, 'step')}",
            str(self.inflation or ("every frame sees all others" if self.cell.is_video else alone)),
        ]
        if self.label == UNI_INV:
            lines.append("Uni-Inv: each step by what the model sees at its end")
        elif self.label != TARGET_LABEL:
            lines.append(f"evaluated at the {self.label} label")
        if self.refinement:
            lines.append(f"refinement {self.refinement}")
        if self.low_noise is not None:
            lines.append(share_in_words(len(self.stages[1]), self.low_noise.boundary))
        if self.null_text is not None:
            embeddings = (
                "one embedding per step"
                if self.null_text.embeddings.shape[1] == 1
                else "one embedding per step and frame"
            )
            lines.append(f"null text for guidance {self.null_text.guidance:g}, {embeddings}")
        return "\n".join(lines)

    __str__ = summary
