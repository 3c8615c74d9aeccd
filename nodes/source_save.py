"""Save Inverted Clip: the inverted clip as a file, for edits in another session."""

from ..fatezero.compat import io, schema, ui
from ..fatezero.masks.source_mask import clip_size
from ..fatezero.source.source_file import write_source
from .shared.checked import checked
from .shared.output_name import output_place, prefix_problem
from .shared.saved_once import save_once
from .shared.wire_types import SourceRunType

NODE = "Save Inverted Clip"


class SaveSourceRun(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroSaveSource",
            display_name=NODE,
            category="FateZero/inversion",
            description="Saves an inverted clip in ComfyUI's output folder, so that Load Inverted Clip brings it back "
            "in another session without inverting again.",
            search_aliases=["save inversion", "store source", "fatezero"],
            is_output_node=True,
            inputs=[
                SourceRunType.Input("source", tooltip="The inverted clip, from DDIM Invert + Store Attention."),
                io.String.Input(
                    "filename_prefix",
                    default="fatezero/source",
                    tooltip="Folder and beginning of the name within ComfyUI's output folder; a number is "
                    "added. Load Inverted Clip lists what lies in the folder fatezero and below.",
                ),
            ],
            outputs=[SourceRunType.Output(display_name="source", tooltip="The same inverted clip, to go on with.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None):
        # Before the inversion runs, not after it. A connected input arrives as None; execute checks that one.
        problem = None if filename_prefix is None else prefix_problem(filename_prefix)
        return f"{NODE}: {problem}" if problem else True

    @classmethod
    @checked
    def execute(cls, source, filename_prefix) -> io.NodeOutput:
        place = output_place(filename_prefix, *clip_size(source))
        shown = save_once(place, ".safetensors", lambda path: write_source(path, source))
        return io.NodeOutput(source, ui=ui.PreviewText(shown))
