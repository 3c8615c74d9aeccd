"""Load Demo Model: the built-in tiny model, to try the nodes on without a checkpoint file."""

from ..demo.model import LARGE_WEIGHTS, WEIGHTS, load_demo_model
from ..fatezero.compat import io, schema
from .shared.checked import checked

FILES = {"small": WEIGHTS, "large": LARGE_WEIGHTS}


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroLoadDemoModel",
            display_name="Load Demo Model",
            category="FateZero/model",
            description=(
                "Loads the tiny text-to-image model that comes with this pack, in Stable Diffusion 1.x's layout, "
                "to try the nodes on. It knows these words only. "
                "Colours: red, blue, yellow, purple, orange, white, black, pink. "
                "Shapes: circle, square, triangle, star, heart, cross. "
                "Grounds: on green grass, on yellow sand, on white snow, on blue water, in a dark night sky, "
                "on a brick wall. "
                "Styles: a pencil sketch of, a mosaic of. "
                "For example: a pencil sketch of a red star and a blue circle on white snow."
            ),
            search_aliases=["toy model", "tiny checkpoint", "example model"],
            inputs=[
                io.Combo.Input(
                    "size",
                    options=list(FILES),
                    default="small",
                    optional=True,
                    tooltip="'small' draws at 128 x 128 pixels and is quick; 'large' at 256 x 256, with sharp edges, "
                    "and takes some ten times as long.",
                )
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The denoiser, for any node that takes an SD 1.x model."),
                io.Clip.Output(display_name="clip", tooltip="The text encoder, for CLIP Text Encode and Edit Prompts."),
                io.Vae.Output(display_name="vae", tooltip="The autoencoder between pictures and latents, factor 8."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, size="small"):
        return io.NodeOutput(*load_demo_model(FILES[size]))
