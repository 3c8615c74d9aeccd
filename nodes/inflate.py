"""Inflate UNet to ST-Attention: self-attention that spans the key frames of a clip."""

from functools import partial

from ..fatezero.compat import io, schema, show_text, ui
from ..fatezero.network.inspection.other_nodes import refuse_merging
from ..fatezero.network.key_frames import CHOICES, parse_key_frames
from ..fatezero.network.transformer.families import family_of
from ..fatezero.network.unet.check import require_unet
from ..fatezero.network.unet.chunked_sampling import sampled_in_chunks
from ..fatezero.network.unet.inflation import Inflation, inflate, inflation_of
from ..fatezero.refusal import Refusal
from ..fatezero.tuning.tuned_state import tuned_state_of
from ..fatezero.voice import Voice
from .shared.checked import checked

NODE = "Inflate UNet to ST-Attention"
CUSTOM = "custom"


class InflateUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroInflate",
            display_name=NODE,
            category="FateZero/model",
            description="Lets every frame look at key frames, so that the frames of a clip agree. Use the inflated "
            "model both for DDIM Invert and for the edit. For a single image it changes nothing.",
            search_aliases=[
                "consistent frames",
                "temporal consistency",
                "flicker",
                "video",
                "temporal",
                "spatio-temporal attention",
                "tune-a-video",
            ],
            inputs=[
                io.Model.Input("model", tooltip="An SD 1.x, SD 2.x or SDXL checkpoint, with the LoRAs you want."),
                io.Combo.Input(
                    "key_frames",
                    options=[*CHOICES, CUSTOM],
                    default=next(iter(CHOICES)),
                    tooltip="Which frames each frame looks at. 'current + middle' suits most clips; 'all' "
                    "agrees best and costs most.",
                ),
                io.Int.Input(
                    "minimum_width",
                    default=0,
                    min=0,
                    max=4096,
                    step=64,
                    advanced=True,
                    tooltip="Only layers with at least this many channels look at key frames; narrower ones "
                    "stay within their frame. The released style settings use 640 (SD 1.x).",
                ),
                io.Boolean.Input(
                    "normalise_across_frames",
                    default=False,
                    advanced=True,
                    tooltip="Group norms over all frames together, as in the official 3-D UNet. Needed "
                    "to match its results; otherwise leave off.",
                ),
                io.String.Input(
                    "custom_key_frames",
                    default="current, middle",
                    advanced=True,
                    tooltip="Used when 'key frames' is custom: current, first, middle, last, all, or "
                    "offsets such as -1 and +2, separated by commas.",
                ),
                io.Int.Input(
                    "frames_at_once",
                    default=0,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="How many frames go through the model together, here and in every inversion and "
                    "edit with this model: fewer need less memory, the result is the same. 0 chooses "
                    "by itself (8 at 512x512, fewer when memory is short).",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The inflated model; the one given in is unchanged.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        key_frames,
        minimum_width=0,
        normalise_across_frames=False,
        custom_key_frames="current, middle",
        frames_at_once=0,
    ) -> io.NodeOutput:
        family = family_of(model)
        if family is not None:
            raise Refusal(
                f"'model' is {family.name}, a video model, whose frames see each other already; leave this node out."
            )
        require_unet(model)
        refuse_merging(model)
        entries = parse_key_frames(CHOICES.get(key_frames, custom_key_frames))
        inflation = Inflation(entries, minimum_width, normalise_across_frames)
        inflated = sampled_in_chunks(inflate(model, inflation), frames_at_once, Voice(NODE, partial(show_text, cls)))
        note = _unlike_tuning(model, inflation)
        return io.NodeOutput(inflated, ui=ui.PreviewText(note) if note else None)


def _unlike_tuning(model, inflation: Inflation) -> str | None:
    """What a person should know who inflates a tuned model otherwise than it was."""
    before = inflation_of(model)
    if tuned_state_of(model) is None or before is None or before == inflation:
        return None
    return (
        f"! 'model' is tuned with [{before}], but is now inflated with [{inflation}]; leave this node out to keep what "
        "the tuning has learnt"
    )
