"""The networks to train, in ComfyUI's own module classes: WanModel and T5."""

import torch
from torch import nn

from ..networks import DEVICE, comfy
from .sizes import TEXT_ENCODER, TRANSFORMER


def new_transformer_and_text_encoder(vocabulary_size):
    """An untrained Wan and T5; the ends of Wan's residual branches and its head start at zero."""
    operations = comfy.ops.disable_weight_init
    sizes = {key: value for key, value in TRANSFORMER.items() if key != "image_model"}
    transformer = comfy.ldm.wan.model.WanModel(**sizes, dtype=torch.float32, device="cpu", operations=operations)
    config = {**TEXT_ENCODER, "vocab_size": vocabulary_size}
    text_encoder = comfy.text_encoders.t5.T5(config, torch.float32, "cpu", operations)
    for name, parameter in [*transformer.named_parameters(), *text_encoder.named_parameters()]:
        if name.endswith("modulation"):
            nn.init.zeros_(parameter)
        elif "norm" in name and name.endswith("weight"):
            nn.init.ones_(parameter)
        elif name.endswith("bias") or name == "head.head.weight":
            nn.init.zeros_(parameter)
        elif name == "shared.weight":
            nn.init.normal_(parameter, std=0.5)
        else:
            nn.init.xavier_uniform_(parameter.view(len(parameter), -1))
    for block in transformer.blocks:
        block.modulation.data[:, [2, 5]] = 0.3  # the gates of attention and of the feed-forward layer
    return transformer.to(DEVICE), text_encoder.to(DEVICE)
