"""The sizes in which the demo model is trained: what they share, and where they differ."""

from dataclasses import dataclass

END = 49407  # the token that ends a prompt, and fills it up
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "num_heads": 4,
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1, 1],
    "transformer_depth_output": [1] * 6,
    "transformer_depth_middle": 1,
    "context_dim": 64,
    "legacy": False,
}
TEXT_ENCODER = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "eos_token_id": END,
    "vocab_size": 49408,
}
AUTOENCODER = {
    "ddconfig": {
        "double_z": True,
        "z_channels": 4,
        "resolution": 128,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 2, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
    "embed_dim": 4,
}


@dataclass(frozen=True)
class Size:
    """The sides of training pictures and of crops from them in pixels, and the settings of ComfyUI's classes."""

    pixels: int
    crop: int
    unet: dict
    text_encoder: dict
    autoencoder: dict

    @property
    def latents(self) -> int:
        """The side of a training picture's latents."""
        return self.pixels // 8

    def header(self) -> dict:
        """What the file of weights says of the networks."""
        return {"unet": self.unet, "te": self.text_encoder, "vae": self.autoencoder, "image_size": self.pixels}


# `large` adds transformer blocks and text layers to `small`. They start as the identity, so that it can start from the
# weights of `small`.
SIZES = {
    "small": Size(128, 64, UNET, TEXT_ENCODER, AUTOENCODER),
    "large": Size(
        256,
        128,
        {
            **UNET,
            "transformer_depth": [1, 2, 2],
            "transformer_depth_output": [1, 1, 2, 2, 2, 2],
            "transformer_depth_middle": 2,
        },
        {**TEXT_ENCODER, "num_hidden_layers": 4},
        {**AUTOENCODER, "ddconfig": {**AUTOENCODER["ddconfig"], "resolution": 256}},
    ),
}
