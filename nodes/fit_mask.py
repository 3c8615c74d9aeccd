"""Fit Mask: a mask that was drawn or tracked on the original footage, for the frames that Video Load took."""

import torch

from ..fatezero.compat import io, schema
from ..fatezero.masks.fit import fit_boxes, fit_mask, stretch_notes
from ..fatezero.refusal import Refusal
from .shared.checked import checked
from .shared.wire_types import ClipFitType

FOOTAGE, FRAMES = "footage", "loaded frames"


class FitMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroFitMask",
            display_name="Fit Mask",
            category="FateZero/masks",
            description="Brings a mask that was drawn or tracked on the original footage to the frames that Video Load "
            "took from it: the same size, the same cut, the same frames. Boxes become a mask, too.",
            search_aliases=["resize mask", "crop mask", "mask video", "roto", "bounding box to mask", "boxes to mask"],
            inputs=[
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="One mask for all frames, one for each that was taken, or one for each frame of the "
                    "footage; in the footage's aspect, of any size.",
                ),
                ClipFitType.Input("fit", tooltip="Video Load's, which says how the frames came out of the footage."),
                io.BoundingBox.Input(
                    "boxes",
                    optional=True,
                    force_input=True,
                    tooltip="Boxes instead of a mask, or in addition to it, in pixels: one for all frames or some for "
                    "each, from Bounding Box, RT-DETR or SAM3.",
                ),
                io.Combo.Input(
                    "boxes_lie_on",
                    options=[FOOTAGE, FRAMES],
                    default=FOOTAGE,
                    optional=True,
                    tooltip="What the boxes' pixels are counted on: the original footage, or the frames that Video "
                    "Load gave out.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The mask for the frames, black on their bars.")],
        )

    @classmethod
    @checked
    def execute(cls, mask=None, fit=None, boxes=None, boxes_lie_on=FOOTAGE) -> io.NodeOutput:
        if mask is None and boxes is None:
            raise Refusal("'mask' and 'boxes' are both missing; connect one of them.")
        stretched = [] if mask is None else stretch_notes(mask, fit)
        masks = [] if mask is None else [fit_mask(mask[None] if mask.ndim == 2 else mask, fit)]
        if boxes is not None:
            masks.append(fit_boxes(boxes, boxes_lie_on == FOOTAGE, fit))
        fitted = masks[0] if len(masks) == 1 else torch.maximum(*masks)
        return io.NodeOutput(fitted, ui={"text": stretched})
