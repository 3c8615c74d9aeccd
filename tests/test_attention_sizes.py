"""The sizes worked out from a UNet's modules against those that its attention layers are really called with."""

import comfy.model_base
import comfy.supported_models
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from edit_cases import small_model
from fatezero_pack.fatezero.network.attention_layers import CROSS, SELF
from fatezero_pack.fatezero.network.unet.attention import install_hooks
from fatezero_pack.fatezero.network.unet.inflation import KeyFramePatch
from fatezero_pack.fatezero.network.unet.layer_sizes import cached_bytes_per_frame, layer_sizes, read_bytes_per_frame
from golden_unet import UNET_CONFIG, random_model, randomise
from sdxl_cases import SDXL

BOTH = {SELF, CROSS}


def sdxl_unet():
    config = comfy.supported_models.SDXL(dict(SDXL))
    config.set_inference_dtype(torch.float32, None)
    network = comfy.model_base.SDXL(config, device=torch.device("cpu")).diffusion_model
    randomise(network)
    return network


UNETS = {
    "small": lambda: small_model().model.diffusion_model,
    "SD 1.x": lambda: random_model().model.diffusion_model,
    "SD 2.x": lambda: (
        random_model(
            num_heads=-1, num_head_channels=16, use_linear_in_transformer=True, channel_mult=[1, 2, 4, 4]
        ).model.diffusion_model
    ),
    "SDXL": sdxl_unet,
    "pooled": lambda: random_model(conv_resample=False).model.diffusion_model,
    "no attention in the middle": lambda: small_model(transformer_depth_middle=-1).model.diffusion_model,
}


@pytest.fixture(scope="module", params=UNETS)
def unet(request):
    return UNETS[request.param](), request.param


@pytest.fixture(scope="module")
def network():
    return random_model().model.diffusion_model


def called_with(network, height: int, width: int, frames: int = 1, patches=None):
    """{layer: (query, key)} of one real call."""
    seen = {}

    def attend(layer, query, key, value, extra, previous):
        seen[layer] = query, key
        return query

    options = {"cond_or_uncond": [0], "patches": patches or {}}
    install_hooks(options, network, attend)
    y = None if network.num_classes is None else torch.zeros(frames, network.label_emb[0][0].in_features)
    network(
        torch.randn(frames, 4, height, width),
        torch.ones(frames),
        torch.randn(frames, 77, 64),
        y=y,
        transformer_options=options,
    )
    return seen


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (17, 23), (9, 12), (5, 7), (3, 2)])
def test_sizes_are_those_of_a_real_call(unet, size):
    network, name = unet
    if name == "pooled":  # pooling cuts halves off, and cannot go below one pixel
        size = tuple(max(side, 8) for side in size)
    queries = {layer: query.shape[1:] for layer, (query, _) in called_with(network, *size).items()}
    assert {layer: (tokens, width) for layer, tokens, width in layer_sizes(network, *size)} == queries


def test_a_unet_without_a_middle_block():
    network = small_model(transformer_depth_middle=-2).model.diffusion_model
    whole = list(layer_sizes(small_model().model.diffusion_model, 9, 14))
    assert list(layer_sizes(network, 9, 14)) == [entry for entry in whole if entry[0].block[0] != "middle"]


def test_no_weight_is_read():
    network = random_model().model.diffusion_model
    before = list(layer_sizes(network, 17, 23))
    for module in network.modules():
        for name in list(module._parameters):
            module._parameters[name] = None
    assert list(layer_sizes(network, 17, 23)) == before


@pytest.mark.parametrize("kinds", [BOTH, {SELF}, {CROSS}, set()])
@pytest.mark.parametrize("finest_layers", [True, False])
def test_cached_bytes(network, kinds, finest_layers):
    frames = 3
    queries = [
        query
        for layer, (query, _) in called_with(network, 9, 14, frames).items()
        if layer.kind in kinds and (finest_layers or query.shape[1] < 9 * 14)
    ]
    assert cached_bytes_per_frame(network, 9, 14, kinds, finest_layers, torch.float32) * frames == sum(
        query.nbytes for query in queries
    )
    assert (
        cached_bytes_per_frame(network, 9, 14, kinds, finest_layers, torch.bfloat16) * frames
        == sum(query.nbytes for query in queries) // 2
    )


@pytest.mark.parametrize("kinds", [BOTH, {SELF}, {CROSS}])
@pytest.mark.parametrize("finest_layers", [True, False])
@pytest.mark.parametrize(
    "key_frames, minimum_width", [((), 0), (("current", "middle"), 0), (("first",), 0), (("current", "middle"), 64)]
)
def test_read_bytes(network, kinds, finest_layers, key_frames, minimum_width):
    frames = 3
    patches = {"attn1_patch": [KeyFramePatch(key_frames, minimum_width)]} if key_frames else {}
    seen = called_with(network, 9, 14, frames, patches)
    pairs = [
        pair for layer, pair in seen.items() if layer.kind in kinds and (finest_layers or pair[0].shape[1] < 9 * 14)
    ]
    assert read_bytes_per_frame(
        network, 9, 14, kinds, finest_layers, torch.float32, len(key_frames) or 1, minimum_width
    ) * frames == sum(query.nbytes + key.nbytes for query, key in pairs)


def test_stable_diffusion_1_5():
    """The sizes of SD 1.5 at 512x512, in closed form: 5 layers each of 64², 32² and 16², one of 8²."""
    config = {**UNET_CONFIG, "model_channels": 320, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "context_dim": 768}
    network = UNetModel(**config, dtype=torch.float16, device="meta")
    hidden = 2 * (5 * (4096 * 320 + 1024 * 640 + 256 * 1280) + 64 * 1280)
    assert cached_bytes_per_frame(network, 64, 64, {SELF}, True, torch.float16) == hidden == 23_101_440
    assert cached_bytes_per_frame(network, 64, 64, BOTH, True, torch.float16) == 2 * hidden
    assert read_bytes_per_frame(network, 64, 64, {SELF}, True, torch.float16) == 2 * hidden
    assert read_bytes_per_frame(network, 64, 64, {SELF}, True, torch.float16, key_frames=2) == 3 * hidden
