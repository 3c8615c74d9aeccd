"""Attention Heat-Map: where, and how strongly, the model saw each word of the source prompt."""

from ..fatezero.compat import io, schema
from ..fatezero.masks.source_mask import check_inverted_clip, clip_size, latent_frames
from ..fatezero.report.heat_map import (
    EACH_FRAME,
    WHOLE_CLIP,
    chosen_words,
    grid_clip,
    overlay_clip,
    percent,
    relative_heat,
    word_attention,
)
from .attention_mask import AVERAGE, ONE_STEP
from .shared.checked import checked
from .shared.clip_preview import show_clip
from .shared.picture_words import picture_words
from .shared.wire_types import PromptEditType, SourceRunType


class AttentionHeatMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroAttentionHeatMap",
            display_name="Attention Heat-Map",
            category="FateZero/masks",
            description="Shows in colours where the model saw each word of the source prompt, frame by frame, and how "
            "strongly. Costs nothing: the inversion has kept it.",
            search_aliases=["heatmap", "daam", "cross-attention", "attribution", "word map"],
            is_output_node=True,  # so that it can be looked at on its own
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[
                SourceRunType.Input("source", tooltip="The inverted clip, from DDIM Invert + Store Attention."),
                PromptEditType.Input(
                    "edit", optional=True, tooltip="Its words to mask are shown when 'words' is empty."
                ),
                io.Image.Input("images", optional=True, tooltip="The clip, to lay the heat over."),
                io.String.Input(
                    "words",
                    default="",
                    tooltip="Words of the source prompt, separated by commas; what "
                    "stands between two commas is shown as one. Empty for "
                    "those of 'edit', or for every word but a, on and the "
                    "like.",
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
                io.Combo.Input(
                    "scale",
                    options=[EACH_FRAME, WHOLE_CLIP],
                    default=EACH_FRAME,
                    tooltip="What the hottest colour stands for: the strongest place of each frame and "
                    "word, which shows where a word is; or of the whole clip and all words, so "
                    "that frames and words can be compared.",
                ),
                io.Float.Input(
                    "opacity",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How much of the clip the colours hide; the clip is shown in grey.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="overlay",
                    tooltip="The clip with the words' heat, added up, laid over it (on black without 'images').",
                ),
                io.Image.Output(
                    display_name="grid",
                    tooltip="A cell for each word, with the most attention that a place of the frame gives it.",
                ),
                io.Mask.Output(
                    display_name="heat",
                    tooltip="The words' heat, added up, from 0 to 1: one picture per frame, of the clip's size.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, source, words, when, step, scale=EACH_FRAME, opacity=0.6, edit=None, images=None) -> io.NodeOutput:
        size = clip_size(source)
        if images is not None:
            check_inverted_clip(images, source)
        chosen = chosen_words(source, edit, words)
        step = step if when == ONE_STEP else None
        each = word_attention(source, list(chosen.values()), step)[latent_frames(source)]
        together = word_attention(source, [tuple(dict.fromkeys(sum(chosen.values(), ())))], step)[latent_frames(source)]
        strengths = [[percent(share) for share in frame] for frame in each.amax(dim=(2, 3)).tolist()]
        clip_label = picture_words(cls.hidden).get("clip", "clip")
        grid = grid_clip(relative_heat(each, scale), images, size, list(chosen), strengths, opacity, clip_label)
        strengths = [percent(share) for share in together.amax(dim=(1, 2, 3)).tolist()]
        overlay, heat = overlay_clip(
            relative_heat(together, scale)[:, 0], images, size, " + ".join(chosen), strengths, opacity
        )
        return io.NodeOutput(overlay, grid, heat, ui=show_clip(grid if len(chosen) > 1 else overlay))
