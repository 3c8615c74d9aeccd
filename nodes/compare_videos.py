"""Compare Videos: clips beside each other with labels, and what differs between them."""

from ..fatezero.compat import io, schema
from ..fatezero.report.comparison import LAYOUTS, SIDE_BY_SIDE, Compared, compare, differences, report
from .shared.checked import checked
from .shared.clip_preview import show_clip
from .shared.picture_words import picture_words

NAMES = ("first", "second", "third", "fourth")
OFF, TO_FIRST = "off", "to the first"


class CompareVideos(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroCompareVideos",
            display_name="Compare Videos",
            category="FateZero/result",
            description="Puts two to four clips into one, with labels: beside each other, above each other, in a grid "
            "or as parts of one picture. Shows and measures how they differ from the first.",
            search_aliases=["side by side", "before after", "difference", "diff", "split screen", "concatenate"],
            is_output_node=True,  # so that it can be looked at without saving it
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[
                io.Image.Input("first", tooltip="The clip to compare with, such as the clip before the edit."),
                io.Image.Input("second", tooltip="Another clip, such as the edit."),
                io.Image.Input("third", optional=True, tooltip="A third clip; a single picture stays throughout."),
                io.Image.Input("fourth", optional=True, tooltip="A fourth clip; a single picture stays throughout."),
                io.String.Input("first_label", default="before", tooltip="What is written above the first clip."),
                io.String.Input("second_label", default="after", tooltip="What is written above the second clip."),
                io.String.Input("third_label", default="third", tooltip="What is written above the third clip."),
                io.String.Input("fourth_label", default="fourth", tooltip="What is written above the fourth clip."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default=SIDE_BY_SIDE,
                    tooltip="How the clips are put together. split: one picture in which each clip fills "
                    "its own part, from left to right.",
                ),
                io.Combo.Input(
                    "difference",
                    options=[OFF, TO_FIRST],
                    default=OFF,
                    tooltip="Adds a picture for each other clip of how far its colours are from the "
                    "first's, with the mean absolute difference in levels of 255.",
                ),
                io.Float.Input(
                    "amplify",
                    default=4.0,
                    min=0.1,
                    max=255.0,
                    step=0.5,
                    round=0.01,
                    tooltip="Multiplies the difference, so that small ones can be seen.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The comparison, as long as the shortest clip.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        first,
        second,
        first_label="before",
        second_label="after",
        third_label="third",
        fourth_label="fourth",
        layout=SIDE_BY_SIDE,
        difference=OFF,
        amplify=4.0,
        third=None,
        fourth=None,
    ) -> io.NodeOutput:
        given = [
            (name, clip, label)
            for name, clip, label in zip(
                NAMES, (first, second, third, fourth), (first_label, second_label, third_label, fourth_label)
            )
            if clip is not None
        ]
        names, clips, labels = zip(*given)
        words = picture_words(cls.hidden)
        compared = Compared(clips, tuple(words.get(label, label) for label in labels), names)
        measured = differences(compared)
        images = compare(compared, layout, measured, amplify if difference == TO_FIRST else None)
        return io.NodeOutput(images, ui=show_clip(images, report(compared, measured)))
