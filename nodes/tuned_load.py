"""Load Tuned Model: a checkpoint as it was after tuning on a clip, from a file."""

import os

from ..fatezero.compat import io, schema, ui
from ..fatezero.network.key_frames import CHOICES, parse_key_frames
from ..fatezero.refusal import Refusal, shortened
from ..fatezero.tuning.fit import fitted, require_sd
from ..fatezero.tuning.tuned_file import read_tuned
from ..fatezero.tuning.tuned_state import tuned_model
from .shared.checked import checked
from .shared.tuned_folder import tuned_files, tuned_path

NODE = "Load Tuned Model"
AS_TUNED = "as tuned"


class LoadTunedModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroLoadTuned",
            display_name=NODE,
            category="FateZero/model",
            description="Puts what tuning on one clip has made (Tune-A-Video, FateZero, Video-P2P) on its checkpoint: "
            "attention and convolutions along the frames, and the weights that were changed. Needs no Inflate UNet.",
            search_aliases=["tune-a-video", "video-p2p", "one-shot tuning", "fatezero", "text-to-set"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The checkpoint that was tuned, SD 1.x or SD 2.x; LoRAs may be on it or follow."
                ),
                io.Combo.Input(
                    "file",
                    options=tuned_files(),
                    tooltip="A file of Save Tuned Model or the UNet of the official codes (.safetensors or .bin), in "
                    "models/fatezero or the output folder fatezero_tuned.",
                ),
                io.Combo.Input(
                    "key_frames",
                    options=[AS_TUNED, *CHOICES],
                    default=AS_TUNED,
                    optional=True,
                    advanced=True,
                    tooltip="Which frames each frame looks at. Files of the official codes do not say theirs: 'as "
                    "tuned' then takes previous + first; models of Video-P2P were tuned with first.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The tuned model; the one given in is unchanged."),
                io.String.Output(display_name="report", tooltip="What was loaded, and what does not fit quite."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file=None):
        # A connected input arrives as None, here and in fingerprint_inputs.
        return True if file is None or tuned_path(file) is not None else f"{NODE}: {_missing(file)}"

    @classmethod
    def fingerprint_inputs(cls, file=None, **settings):
        path = tuned_path(file) if file else None
        if path is None:
            return ""
        facts = os.stat(path)
        return f"{path} {facts.st_mtime_ns} {facts.st_size}"

    @classmethod
    @checked
    def execute(cls, model, file, key_frames=AS_TUNED) -> io.NodeOutput:
        require_sd(model)
        path = tuned_path(file)
        if path is None:
            raise Refusal(_missing(file))
        state, remarks = fitted(read_tuned(path), model)
        entries = None if key_frames == AS_TUNED else parse_key_frames(CHOICES[key_frames])
        report = "\n".join([file, state.summary(), *remarks])
        return io.NodeOutput(tuned_model(model, state, entries), report, ui=ui.PreviewText(report))


def _missing(file: str) -> str:
    return f"'file' is {shortened(file)}, which is not in models/fatezero; choose another one, or put it there."
