"""What other nodes put on a video model, and the models' other kinds, in small."""

import types

import comfy.ldm.modules.attention
import comfy.ops
import comfy.supported_models
import torch
from comfy_extras import nodes_easycache

from tiny_video_models import wan


def noise(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def easycache(model):
    return nodes_easycache.EasyCacheNode.execute(model, 3.0, 0.0, 1.0, False).result[0]


def lazycache(model):
    return nodes_easycache.LazyCacheNode.execute(model, 3.0, 0.0, 1.0, False).result[0]


def nag_of_other_nodes(model, context, hands_on=True):
    """NAG as KJNodes' WanVideoNAG has it: its text attention in the place of Wan's, with a negative prompt of its own.

    hands_on: whether it gives ComfyUI's attention the transformer_options, as it did not always.
    """
    patched, network = model.clone(), model.get_model_object("diffusion_model")
    negative = network.text_embedding(context)

    def forward(self, x, context, transformer_options=None, **_):
        given = {"transformer_options": transformer_options} if hands_on else {}

        def attend(context):
            wires = self.norm_q(self.q(x)), self.norm_k(self.k(context)), self.v(context)
            return comfy.ldm.modules.attention.optimized_attention(*wires, heads=self.num_heads, **given)

        return self.o(2 * attend(context) - attend(negative))

    for index, block in enumerate(network.blocks):
        place = f"diffusion_model.blocks.{index}.cross_attn.forward"
        patched.add_object_patch(place, types.MethodType(forward, block.cross_attn))
    return patched


def kind(name, model_type, **changes):
    """A model of one of Wan's kinds, made where ComfyUI knows it."""
    return lambda: wan(model_type, getattr(comfy.supported_models, name), **changes)


CONTROL, FRAME = (1, 16, 3, 8, 10), (1, 16, 1, 8, 10)
PICTURE = {"concat_latent_image": CONTROL}
# Each kind's model, and the shapes of what its conditionings carry. VACE's own blocks run beside those that we hook;
# Fun Control's control clip comes in as further channels; references and poses as further tokens of the clip.
KINDS = {
    "VACE": (kind("WAN21_Vace", "vace", vace_layers=3, vace_in_dim=96), {"vace_frames": (1, 32, 3, 8, 10)}),
    "Fun Control": (kind("WAN21_FunControl2V", "i2v", in_dim=48), {"concat_latent_image": (1, 32, 3, 8, 10)}),
    "Camera": (kind("WAN21_Camera", "camera", in_dim=32), {"camera_conditions": (1, 24, 3, 64, 80)}),
    "Animate": (
        kind("WAN22_Animate", "animate", in_dim=36, num_layers=5),
        {**PICTURE, "pose_video_latent": (1, 16, 2, 8, 10)},
    ),
    "S2V": (
        kind("WAN22_S2V", "s2v", audio_inject_layers=[0, 2], audio_dim=64),
        {"audio_embed": (1, 25, 64, 12), "reference_latents": FRAME, "control_video": CONTROL},
    ),
    "SCAIL": (
        kind("WAN21_SCAIL", "scail", in_dim=20),
        {"reference_latents": FRAME, "pose_video_latent": (1, 16, 3, 4, 5)},
    ),
    "WanDancer": (kind("WAN22_WanDancer", "wandancer", in_dim=36, audio_inject_layers=[0, 2]), PICTURE),
}


def given_of(shapes, seed):
    """What conditionings of a kind carry, at random."""
    given = {name: noise(*shape, seed=seed) for name, shape in shapes.items()}
    for name in ("vace_frames", "reference_latents"):
        if name in given:
            given[name] = [given[name]]
    return {**given, "vace_mask": [torch.ones(1, 64, 3, 8, 10)]} if "vace_frames" in given else given


class AsGGUF(comfy.ops.manual_cast):
    """Layers that make their weights anew for every call, from eight bits, as those of GGUF files do."""

    class Linear(comfy.ops.manual_cast.Linear):
        def forward(self, x):
            step = self.weight.abs().amax(dim=1, keepdim=True) / 127
            return torch.nn.functional.linear(x, (self.weight / step).round() * step, self.bias)


QUANTISED = {"fp8": {"stored": torch.float8_e4m3fn}, "as GGUF": {"operations": AsGGUF}}  # given to `wan`
