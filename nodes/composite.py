"""Composite Outside Mask: the edit inside the mask, the original's own pixels outside it."""

from ..fatezero.compat import io, schema
from ..fatezero.masks.composite import composite
from ..fatezero.masks.mask_pictures import checked_mask, feather_mask, grow_mask, stretch_notes
from ..fatezero.video.frames import check_same_size
from .shared.checked import checked


class CompositeOutsideMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroComposite",
            display_name="Composite Outside Mask",
            category="FateZero/masks",
            description="Keeps the edit inside the mask and gives every pixel outside it back exactly as it was before "
            "the edit, undoing the small changes that the VAE makes everywhere.",
            search_aliases=["paste back", "keep background", "composite masked", "restore background"],
            inputs=[
                io.Image.Input("original", tooltip="The clip before the edit, such as Video Load's images."),
                io.Image.Input("edited", tooltip="The clip after the edit, of the same length and size."),
                io.Mask.Input(
                    "mask", tooltip="White where the edit is kept; one mask for all frames, or one each, of any size."
                ),
                io.Int.Input(
                    "grow",
                    default=4,
                    min=-512,
                    max=512,
                    tooltip="Pixels by which the mask is widened first; negative numbers narrow it.",
                ),
                io.Int.Input(
                    "feather",
                    default=4,
                    min=0,
                    max=512,
                    tooltip="Pixels over which its edge then fades, to both sides; 0 cuts sharply.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The edit inside the mask, the original outside."),
                io.Mask.Output(display_name="mask", tooltip="The mask as it was used; where it is 0 nothing changed."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, original, edited, mask, grow=4, feather=4) -> io.NodeOutput:
        check_same_size(original, "original", edited, "edited", is_edited=True)
        stretched = stretch_notes(mask, (original.shape[2], original.shape[1]))
        mask = checked_mask(mask, original, "original")
        mask = feather_mask(grow_mask(mask, grow), feather)
        images = composite(original[..., :3], edited[..., :3], mask)
        return io.NodeOutput(images, mask, ui={"text": stretched})
