"""The clip's own row in the call of a video model in which its edit is evaluated."""

from functools import partial

import torch
from comfy.patcher_extension import WrappersMP

from ...network.model_call import Conds
from ...network.option_keys import EDIT, JOINED, PADDING, wrap_run
from ...network.transformer.equal_text import with_equal_text
from ...network.transformer.families import reads_text_in_blocks, require_family
from ...network.transformer.row_by_row import RowsTogether, install
from ...refusal import Refusal
from ..joined_rows import can_join, feed_row
from .row_fusion import RowFusion


class SourceRow:
    """Lets a video model see the clip beside its edit, and the edit's attention be fused with the clip's.

    Attributes:
        fusion: What attention becomes in this step.
        fed: What the clip's row is fed in this step, [1, c, F, h, w].
        denoised: What the model has made of it.
    """

    def __init__(self) -> None:
        self.fusion = RowFusion()
        self.fed: torch.Tensor | None = None
        self.denoised: torch.Tensor | None = None
        self._conds: tuple[Conds, Conds] | None = None  # the source's and the edit's, until the step is evaluated
        self._fills_prompts = False

    def install(self, model, options: dict) -> None:
        """Hooks a run's private transformer_options; model: ModelPatcher."""
        self._fills_prompts = reads_text_in_blocks(model)
        hooked = self.fusion.is_source, self.fusion.attend
        install(options, model.model.diffusion_model, require_family(model), *hooked)
        wrap_run(options, WrappersMP.CALC_COND_BATCH, EDIT, self.calc_cond_batch)

    def begin_step(self, fed: torch.Tensor, source: Conds, positive: Conds) -> None:
        """Gets ready for a step; fed: as above; source, positive: the conditionings of the clip and of its edit."""
        self.fed, self._conds = fed, (source, positive)

    def calc_cond_batch(self, executor, model, conds, x, timestep, model_options):
        """A step's first evaluation: the CALC_COND_BATCH wrapper. Further passes of other nodes' guidance stay theirs.

        Raises:
            Refusal: For conditionings that ComfyUI would evaluate in calls of their own.
        """
        if self._conds is None:
            return executor(model, conds, x, timestep, model_options)
        (source, positive), self._conds = self._conds, None
        self.fusion.source = frozenset(cond["uuid"] for cond in source)
        self.fusion.positive = frozenset(cond["uuid"] for cond in positive)
        options, conds = dict(model_options["transformer_options"]), [*conds, source]
        if self._fills_prompts:
            conds, options[PADDING] = with_equal_text(conds)
        if not can_join(conds[-1], conds[:-1]):
            raise Refusal(
                "'source conditioning' and 'positive' are not alike (areas, ControlNets, hooks or frame rates); "
                "give both the same, or take those nodes out."
            )
        wrap_run(options, WrappersMP.APPLY_MODEL, JOINED, partial(feed_row, source[0]["uuid"], self.fed))
        model_options = {**model_options, "transformer_options": options}
        model_options.pop("multigpu_clones", None)  # rows on several cards would not see each other
        *denoised, self.denoised = executor(RowsTogether(model), conds, x, timestep, model_options)
        self.fusion.shown.clear()
        return denoised

    def let_go(self) -> None:
        """Forgets the clip."""
        self.fusion.shown.clear()
        self.fed = self.denoised = self._conds = None
