"""Composite Outside Mask: the edit inside the mask, the original's own pixels outside it."""
import torch

from ..fatezero.compat import io, schema
from ..fatezero.composite import composite, feather_mask
from ..fatezero.frames import check_images, check_same_size
from ..fatezero.masks import grow_mask

NODE = "Composite Outside Mask"


class CompositeOutsideMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroComposite", display_name=NODE, category="FateZero",
            description="Keeps the edit inside the mask and gives every pixel outside it back exactly as it was before "
                        "the edit, undoing the small changes that the VAE makes everywhere.",
            search_aliases=["paste back", "composite masked", "restore background"],
            inputs=[
                io.Image.Input("original", tooltip="The clip before the edit, such as Video Load's images."),
                io.Image.Input("edited", tooltip="The clip after the edit, of the same length and size."),
                io.Mask.Input("mask",
                              tooltip="White where the edit is kept; one mask for all frames, or one for each."),
                io.Int.Input("grow", default=4, min=-512, max=512,
                             tooltip="Pixels by which the mask is widened first; negative numbers narrow it."),
                io.Int.Input("feather", default=4, min=0, max=512,
                             tooltip="Pixels over which its edge then fades, to both sides; 0 cuts sharply."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The edit inside the mask, the original outside."),
                io.Mask.Output(display_name="mask", tooltip="The mask as it was used; where it is 0 nothing changed."),
            ],
        )

    @classmethod
    def execute(cls, original, edited, mask, grow=4, feather=4) -> io.NodeOutput:
        check_images(original, NODE, "original")
        check_images(edited, NODE, "edited")
        check_same_size(original, "original", edited, "edited", NODE)
        mask = _checked_mask(mask, original)
        if feather < 0:
            raise ValueError(f"{NODE}: 'feather' is {feather}; expected 0 or more pixels.")
        mask = feather_mask(grow_mask(mask, grow), feather)
        return io.NodeOutput(composite(original[..., :3], edited[..., :3], mask), mask)


def _checked_mask(mask: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """The mask as float [1 or n, H, W] of 0..1, if it suits the clip."""
    mask = mask[None] if mask.ndim == 2 else mask
    frames, height, width = original.shape[:3]
    if mask.ndim != 3 or mask.shape[1:] != (height, width):
        found = "x".join(str(side) for side in reversed(mask.shape[1:]))
        raise ValueError(f"{NODE}: 'mask' is {found} but 'original' is {width}x{height}; resize the mask to that size.")
    if len(mask) not in (1, frames):
        raise ValueError(f"{NODE}: 'mask' has {len(mask)} frames but 'original' has {frames}; connect one mask, or one "
                         "for each frame.")
    if not torch.isfinite(mask).all():
        raise ValueError(f"{NODE}: 'mask' has invalid numbers (NaN or infinite); look for the node that made them.")
    return mask.float().clamp(0, 1)
