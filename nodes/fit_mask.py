"""Fit Mask: a mask that was drawn or tracked on the original footage, for the frames that Video Load took."""

from ..fatezero.compat import io, schema
from ..fatezero.masks.fit import fit_mask
from .shared.checked import checked
from .shared.wire_types import ClipFitType


class FitMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroFitMask",
            display_name="Fit Mask",
            category="FateZero/masks",
            description="Brings a mask that was drawn or tracked on the original footage to the frames that Video Load "
            "took from it: the same size, the same cut, the same frames.",
            search_aliases=["resize mask", "crop mask", "mask video", "roto"],
            inputs=[
                io.Mask.Input(
                    "mask",
                    tooltip="One mask for all frames, one for each that was taken, or one for each frame of the "
                    "footage; in the footage's aspect, of any size.",
                ),
                ClipFitType.Input("fit", tooltip="Video Load's, which says how the frames came out of the footage."),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The mask for the frames, black on their bars.")],
        )

    @classmethod
    @checked
    def execute(cls, mask, fit) -> io.NodeOutput:
        return io.NodeOutput(fit_mask(mask[None] if mask.ndim == 2 else mask, fit))
