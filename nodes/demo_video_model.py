"""Load Demo Video Model: the built-in tiny Wan, to try edits with a video model on without a checkpoint file."""

from ..demo.video_model import NODE, load_demo_video_model
from ..fatezero.compat import io, schema


class LoadDemoVideoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="FateZeroLoadDemoVideoModel",
            display_name=NODE,
            category="FateZero/model",
            description=(
                "Loads the tiny text-to-video model that comes with this pack, in Wan 2.1's layout, to try Coupled "
                "Edit Sampler on, or DDIM Invert and Attention Blend Sampler. "
                "For clips of 128 x 128 pixels and 4n+1 frames. It knows these words only. "
                "Colours: red, blue, yellow, purple, orange, white, black, pink. "
                "Shapes: circle, square, triangle, star, heart, cross. "
                "Grounds: on green grass, on yellow sand, on white snow, on blue water, in a dark night sky, "
                "on a brick wall. "
                "Styles: a pencil sketch of, a mosaic of. "
                "For example: a red star on white snow."
            ),
            search_aliases=["toy model", "tiny wan", "example model"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The denoiser, for any node that takes a Wan 2.1."),
                io.Clip.Output(display_name="clip", tooltip="The text encoder, for CLIP Text Encode and Edit Prompts."),
                io.Vae.Output(
                    display_name="vae",
                    tooltip="The autoencoder between clips and latents: 8 pixels and 4 frames to one, the first frame "
                    "alone.",
                ),
            ],
        )

    @classmethod
    def execute(cls):
        return io.NodeOutput(*load_demo_video_model())
