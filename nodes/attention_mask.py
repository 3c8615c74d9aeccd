"""Attention Mask: where the words of the source prompt are in every frame."""

from ..fatezero.compat import io, schema
from ..fatezero.masks.mask_pictures import grow_mask, overlay, smooth_mask
from ..fatezero.masks.source_mask import check_inverted_clip, latent_frames, source_mask
from .shared.checked import checked
from .shared.clip_preview import show_pictures
from .shared.wire_types import PromptEditType, SourceRunType

AVERAGE, ONE_STEP = "average of all steps", "one step"


class AttentionMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroAttentionMask",
            display_name="Attention Mask",
            category="FateZero/masks",
            description="Shows where the model saw the words of the source prompt, as a mask per frame and as an "
            "overlay. Costs nothing: the inversion has kept it.",
            search_aliases=["word mask", "text mask", "heatmap", "segment", "cross-attention", "daam"],
            inputs=[
                SourceRunType.Input("source", tooltip="The inverted clip, from DDIM Invert + Store Attention."),
                PromptEditType.Input(
                    "edit", optional=True, tooltip="Its words to mask are used when 'words' is empty."
                ),
                io.Image.Input("images", optional=True, tooltip="The clip, to lay the mask over."),
                io.String.Input(
                    "words",
                    default="",
                    tooltip="Words of the source prompt, separated by commas; empty for those of 'edit'.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="tau: how strongly a place must belong to the words, relative to the strongest "
                    "place in the frame; lower makes a larger mask. 0 finds it by itself in each "
                    "frame.",
                ),
                io.Combo.Input(
                    "when",
                    options=[AVERAGE, ONE_STEP],
                    default=AVERAGE,
                    tooltip="Read the attention averaged over the steps, or at one of them.",
                ),
                io.Int.Input(
                    "step",
                    default=25,
                    min=0,
                    max=998,
                    tooltip="The denoising step to read when 'when' is one step; 0 is the noisiest.",
                ),
                io.Int.Input("grow", default=0, min=-256, max=256, tooltip="Pixels to grow (or shrink) the mask by."),
                io.Int.Input(
                    "smooth_over_time",
                    default=0,
                    min=0,
                    max=16,
                    tooltip="Averages each frame's mask with this many neighbours on both sides.",
                ),
                io.Boolean.Input(
                    "to_the_edges",
                    default=False,
                    optional=True,
                    tooltip="Goes on from where the words are seen to the edges of the things in the picture, as "
                    "'mask from' words, to the edges does.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="One mask per frame, of the clip's size."),
                io.Image.Output(
                    display_name="overlay", tooltip="The clip with the mask tinted in (on black without 'images')."
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, source, words, threshold, when, step, grow, smooth_over_time, edit=None, images=None, to_the_edges=False
    ) -> io.NodeOutput:
        mask = source_mask(source, edit, words, threshold, step if when == ONE_STEP else None, to_the_edges)
        mask = mask[latent_frames(source)]
        mask = smooth_mask(grow_mask(mask, grow), smooth_over_time)
        if images is None:
            images = mask.new_zeros(*mask.shape, 3)
        else:
            check_inverted_clip(images, source)
        picture = overlay(images[..., :3], mask)
        return io.NodeOutput(mask, picture, ui=show_pictures(cls, picture))
