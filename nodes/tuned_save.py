"""Save Tuned Model: what tuning on a clip changed, as a file."""

from ..fatezero.compat import io, schema, ui
from ..fatezero.refusal import Refusal
from ..fatezero.tuning.tuned_file import write_tuned
from ..fatezero.tuning.tuned_state import in_half_precision, tuned_state_of
from .shared.checked import checked
from .shared.output_name import output_place, prefix_problem
from .shared.saved_once import save_once
from .shared.tuned_folder import SAVED_IN

NODE = "Save Tuned Model"
FULL, HALF = "as trained", "float16"


class SaveTunedModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroSaveTuned",
            display_name=NODE,
            category="FateZero/model",
            description="Saves what tuning has changed and added, in ComfyUI's output folder, so that Load Tuned Model "
            "brings it back in another session. The checkpoint itself is not in the file.",
            search_aliases=["save tune-a-video", "save tuning", "fatezero"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="From Tune Video Model or Load Tuned Model; its LoRAs are not saved."),
                io.String.Input(
                    "filename_prefix",
                    default=f"{SAVED_IN}/tuned",
                    tooltip="Folder and beginning of the name within ComfyUI's output folder; a number is added. Load "
                    f"Tuned Model lists what lies in the folder {SAVED_IN} and below.",
                ),
                io.Combo.Input(
                    "precision",
                    options=[FULL, HALF],
                    default=FULL,
                    optional=True,
                    advanced=True,
                    tooltip="float16 halves the file and rounds what was tuned; a tuning cannot be gone on with as "
                    "exactly from it.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The same model, to go on with.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None):
        # Before the tuning runs, not after it. A connected input arrives as None; execute checks that one.
        problem = None if filename_prefix is None else prefix_problem(filename_prefix)
        return f"{NODE}: {problem}" if problem else True

    @classmethod
    @checked
    def execute(cls, model, filename_prefix, precision=FULL) -> io.NodeOutput:
        state = tuned_state_of(model)
        if state is None:
            raise Refusal("'model' is not tuned; connect Tune Video Model or Load Tuned Model.")
        if precision == HALF:
            state = in_half_precision(state)
        place = output_place(filename_prefix, 0, 0)
        saved = save_once(place, ".safetensors", lambda path: write_tuned(path, state))
        shown = f"{saved}\n{state.summary()}"
        return io.NodeOutput(model, ui=ui.PreviewText(shown))
