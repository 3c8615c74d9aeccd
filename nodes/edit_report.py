"""Edit Report: what an edit did in numbers and curves, and when it did little, why and what to turn."""

from ..fatezero.compat import io, schema
from ..fatezero.masks.mask_pictures import checked_mask, stretch_notes
from ..fatezero.report.diagnosis import all_is_well, explain
from ..fatezero.report.edit_report import measure, panels
from ..fatezero.report.measure_table import numbers, table
from ..fatezero.report.plots import draw_panels
from ..fatezero.video.frames import check_same_size
from .shared.checked import checked
from .shared.clip_preview import show_pictures
from .shared.made_by import read_mark
from .shared.picture_words import picture_words
from .shared.wire_types import PromptEditType, SourceRunType

NUMBERS = "fatezero_numbers"  # in what the node shows: the measures for programs, such as `dev.py batch`


class EditReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroEditReport",
            display_name="Edit Report",
            category="FateZero/result",
            description="Measures an edit as FateZero and Video-P2P do, draws the measures frame by frame, and when an "
            "edit had little effect says why, and which setting to turn.",
            search_aliases=[
                "why did nothing change",
                "metrics",
                "psnr",
                "clip score",
                "lpips",
                "tem-con",
                "frame-acc",
                "no effect",
                "compare",
            ],
            is_output_node=True,
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[
                io.Image.Input("before", tooltip="The clip before the edit, such as Video Load's images."),
                io.Image.Input("after", tooltip="The clip after the edit, of the same length and size."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the edit was wanted, such as Attention Mask's: "
                    "inside and outside are measured apart.",
                ),
                PromptEditType.Input(
                    "edit",
                    optional=True,
                    tooltip="The edit, from Edit Prompts: its prompts are compared with the frames.",
                ),
                SourceRunType.Input(
                    "source",
                    optional=True,
                    tooltip="The inverted clip, from DDIM Invert + Store Attention: shows where the words' mask was.",
                ),
                io.MultiType.Input(
                    "made_by",
                    [io.Latent, io.Model],
                    optional=True,
                    tooltip="The latent of Attention Blend Sampler or Coupled Edit Sampler, or the model of Attention "
                    "Blend: tells with which settings the edit was made.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="A text encoder with its text projection (not that of an SD 1.x checkpoint, "
                    "which has none), of the same CLIP as 'clip vision'.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="From Load CLIP Vision: frames are compared with each other and with the prompts.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="The measures as a table, and what to turn, in words."),
                io.Image.Output(display_name="plot", tooltip="The measures over the frames, as curves."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, before, after, mask=None, edit=None, source=None, made_by=None, clip=None, clip_vision=None
    ) -> io.NodeOutput:
        check_same_size(before, "before", after, "after", is_edited=True)
        stretched = [] if mask is None else stretch_notes(mask, (before.shape[2], before.shape[1]))
        mask = None if mask is None else checked_mask(mask, before, "before")
        settings, cfg, run, automatic = read_mark(made_by)
        measured = measure(before[..., :3], after[..., :3].to(before.device), mask, edit, clip, clip_vision)
        notes = [f"! {sentence}" for sentence in explain(measured, edit, source, settings, cfg, automatic)]
        run = run and "\n".join(
            line for line in run.splitlines() if line not in notes
        )  # what was told is not told twice
        notes = notes or [all_is_well(measured)]
        report = "\n".join([*stretched, *notes, "", table(measured), *[f"\nhow the edit ran: {run}"] * bool(run)])
        words = picture_words(cls.hidden)
        plot = draw_panels([panel.in_words(words) for panel in panels(measured)])
        shown = {**show_pictures(cls, plot, report), NUMBERS: [numbers(measured)]}
        return io.NodeOutput(report, plot, ui=shown)
