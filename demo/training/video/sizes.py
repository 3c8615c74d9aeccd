"""The sizes of the demo video model: Wan 2.1's layout in small, with umt5's kind of text encoder."""

from ...stacked_frames import FRAMES_PER_LATENT

CHANNELS = 4 * FRAMES_PER_LATENT
TEXT_LENGTH = 32  # tokens to which a prompt is filled up; Wan has 512
SHIFT = 3.0  # of the sampling schedule
TEXT_ENCODER = {
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_heads": 4,
    "num_layers": 2,
    "dense_act_fn": "gelu_pytorch_tanh",
    "is_gated_act": True,
    "model_type": "umt5",
}
# A token is one latent pixel, where Wan's is four, of which a shape is too few wide here to be learnt.
TRANSFORMER = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "patch_size": [1, 1, 1],
    "in_dim": CHANNELS,
    "out_dim": CHANNELS,
    "dim": 128,
    "ffn_dim": 512,
    "freq_dim": 64,
    "text_dim": TEXT_ENCODER["d_model"],
    "num_heads": 2,
    "num_layers": 6,
    "qk_norm": True,
    "cross_attn_norm": True,
}
