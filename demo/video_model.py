"""The built-in video model: a tiny Wan 2.1 that knows the words of `world.py`, as ordinary ComfyUI objects."""

import math
from pathlib import Path

import comfy.latent_formats
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.t5
import comfy.utils
import folder_paths
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer

from .model import WEIGHTS as AUTOENCODER
from .model import DemoLatentFormat, load_network, load_vae, part_of, read_config, read_weights
from .stacked_frames import FRAMES_PER_LATENT, StackedFrames

WEIGHTS = Path(__file__).parent / "toy_wan.safetensors"
NODE = "Load Demo Video Model"
ENCODER = "umt5xxl"  # as ComfyUI calls Wan's text encoder


class DemoVideoLatentFormat(comfy.latent_formats.LatentFormat):
    """The image model's latents, four frames stacked; previews show their mean."""

    latent_channels = 4 * FRAMES_PER_LATENT
    latent_dimensions = 3
    temporal_downscale_ratio = FRAMES_PER_LATENT

    def __init__(self):
        image = DemoLatentFormat()
        self.scale_factor = image.scale_factor
        self.latent_rgb_factors_bias = image.latent_rgb_factors_bias
        self.latent_rgb_factors = FRAMES_PER_LATENT * [
            [factor / FRAMES_PER_LATENT for factor in row] for row in image.latent_rgb_factors
        ]


class DemoVideoModelConfig(comfy.supported_models.WAN21_T2V):
    """ComfyUI's Wan 2.1 in every respect but its widths, its latents and its schedule."""

    latent_format = DemoVideoLatentFormat
    trained_on = 128  # pixels of a side


def load_demo_video_model(path=WEIGHTS, autoencoder=AUTOENCODER):
    """Load the demo video model: (model, clip, vae) of ComfyUI's own classes (ModelPatcher, CLIP, VAE).

    Clips have 1 + 4 k frames, latents 16 channels at an eighth of the size, of 1 + k latent frames; the model was
    trained on 128 x 128 pixels and 9 frames. The autoencoder is the image model's. Raises as `read_config`.
    """
    config, image_config = read_config(path, NODE), read_config(autoencoder, NODE)
    weights, image_weights = read_weights(path), read_weights(autoencoder)
    model_config = DemoVideoModelConfig(config["transformer"])
    model_config.sampling_settings = {"shift": config["shift"]}
    return (
        load_network(model_config, part_of(weights, "transformer.")),
        load_text_encoder(part_of(weights, "te.", f"{ENCODER}.transformer."), weights["spiece_model"], config),
        stacked(load_vae(image_weights, image_config)),
    )


def load_text_encoder(weights, vocabulary, config):
    """The text encoder with its sentencepiece vocabulary."""

    class Tokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory=None, tokenizer_data=None):
            super().__init__(
                (tokenizer_data or {})["spiece_model"],
                pad_with_end=False,
                embedding_directory=embedding_directory,
                embedding_size=config["te"]["d_model"],
                embedding_key=ENCODER,
                tokenizer_class=SPieceTokenizer,
                has_start_token=False,
                pad_to_max_length=False,
                max_length=99999999,
                min_length=config["text_length"],
                pad_token=0,
                tokenizer_data=tokenizer_data or {},
            )

    class Tokenizers(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, embedding_directory=None, tokenizer_data=None):
            super().__init__(embedding_directory, tokenizer_data or {}, clip_name=ENCODER, tokenizer=Tokenizer)

    class Encoder(comfy.sd1_clip.SDClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None, **_):
            super().__init__(
                device=device,
                textmodel_json_config=dict(config["te"]),
                dtype=dtype,
                special_tokens={"end": 1, "pad": 0},
                model_class=comfy.text_encoders.t5.T5,
                enable_attention_masks=True,
                zero_out_masked=True,
                model_options=model_options or {},
            )

    class Encoders(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None):
            options = model_options or {}
            super().__init__(device=device, dtype=dtype, model_options=options, name=ENCODER, clip_model=Encoder)

    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(Tokenizers, Encoders),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        tokenizer_data={"spiece_model": vocabulary},
        state_dict=weights,
        parameters=comfy.utils.calculate_parameters(weights),
    )


def stacked(vae):
    """ComfyUI's VAE of pictures as one of clips, with the sizes that its nodes and its tiles ask for."""
    vae.first_stage_model = StackedFrames(vae.first_stage_model)
    vae.patcher = comfy.model_patcher.CoreModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=vae.patcher.offload_device
    )
    vae.latent_dim, vae.latent_channels = 3, 4 * FRAMES_PER_LATENT
    vae.upscale_ratio = (lambda latents: max(0, 4 * latents - 3), 8, 8)
    vae.downscale_ratio = (lambda frames: max(0, math.floor((frames + 3) / 4)), 8, 8)
    vae.upscale_index_formula = vae.downscale_index_formula = (FRAMES_PER_LATENT, 8, 8)
    for name in ("memory_used_encode", "memory_used_decode"):
        setattr(vae, name, of_eight_frames(getattr(vae, name)))
    return vae


def of_eight_frames(memory_used):
    """What a VAE of pictures says it takes, for the eight frames that are converted at once."""
    return lambda shape, dtype: 8 * memory_used((shape[0], shape[1], *shape[-2:]), dtype)
