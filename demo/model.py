"""The built-in model: a tiny Stable Diffusion 1.x that knows the words of `world.py`, as ordinary ComfyUI objects."""

import json
from pathlib import Path

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import folder_paths
import safetensors.torch
from safetensors import SafetensorError, safe_open

WEIGHTS, LARGE_WEIGHTS = (Path(__file__).parent / name for name in ("toy_sd.safetensors", "toy_sd_large.safetensors"))


class DemoLatentFormat(comfy.latent_formats.SD15):
    """SD 1.5's scale with the demo autoencoder's own colours, for live previews.

    The factors are a least-squares fit of 72 drawn scenes; on 24 others they miss by 0.16 (of -1 to 1), those of SD 1.5
    by 0.86.
    """

    latent_rgb_factors_bias = [0.1757, 0.1663, 0.0710]

    def __init__(self):
        super().__init__()
        self.latent_rgb_factors = [
            [0.1961, -0.0070, -0.2870],
            [0.4946, 0.2830, 0.4773],
            [-0.0010, 0.0082, 0.0254],
            [0.1617, 0.3267, 0.0135],
        ]
        self.taesd_decoder_name = None  # that of SD 1.5 would draw something else


class DemoModelConfig(comfy.supported_models.SD15):
    """ComfyUI's SD 1.5 in every respect but its widths; SD15 itself would overwrite the number of heads by 8."""

    unet_extra_config = {}
    latent_format = DemoLatentFormat
    trained_on = 128  # pixels of a side


def read_config(path, node="Load Demo Model"):
    """The sizes of the networks, from the header of the weights file.

    Raises FileNotFoundError where there is no file, ValueError where it is not a whole demo model; `node` says so.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{node}: the weights file {path.name} is not in {path.parent}; "
            "it belongs to the pack, so install the pack again or copy the file there."
        )
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})["config"])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{node}: {path} ({path.stat().st_size} bytes) is not the demo model's weights file or is "
            "damaged, as after a broken download; install the pack again or copy the file there anew."
        ) from error


def load_demo_model(path=WEIGHTS):
    """Load the demo model: (model, clip, vae) of ComfyUI's own classes (ModelPatcher, CLIP, VAE).

    Pictures have 3 channels, latents 4 at an eighth of the size; the model was trained on 128 x 128 pixels, the large
    one on 256 x 256. Devices and dtypes are chosen by ComfyUI's rules, as for a checkpoint file. Raises as
    `read_config`.
    """
    config = read_config(path)
    weights = read_weights(path)
    model_config = DemoModelConfig(config["unet"])
    model_config.trained_on = config["image_size"]
    return (
        load_network(model_config, part_of(weights, "unet.")),
        load_clip(part_of(weights, "te.", "clip_l.transformer."), config["te"]),
        load_vae(weights, config),
    )


def read_weights(path):
    """All tensors of a small safetensors file, {name: tensor}.

    safetensors 0.8 keeps 56 bytes of every tensor that `safe_open` reads for good, which adds up in a ComfyUI that
    loads anew in each run (--cache-none); bytes that are read at once leave nothing.
    """
    return safetensors.torch.load(Path(path).read_bytes())


def part_of(weights, prefix, new_prefix=""):
    """The weights whose names begin with `prefix`, without it."""
    return comfy.utils.state_dict_prefix_replace(dict(weights), {prefix: new_prefix}, filter_keys=True)


def load_network(model_config, weights):
    """A denoiser of one of ComfyUI's supported_models as a ModelPatcher."""
    parameters = comfy.utils.calculate_parameters(weights)
    device = comfy.model_management.get_torch_device()
    dtypes = model_config.supported_inference_dtypes
    dtype = comfy.model_management.unet_dtype(
        model_params=parameters, supported_dtypes=dtypes, weight_dtype=comfy.utils.weight_dtype(weights)
    )
    model_config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, device, dtypes))
    model = model_config.get_model(weights, device=comfy.model_management.unet_inital_load_device(parameters, dtype))
    patcher = comfy.model_patcher.CoreModelPatcher(
        model, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )
    model.load_model_weights(weights, assign=patcher.is_dynamic())
    return patcher


def load_vae(weights, config):
    """The autoencoder of a file of weights."""
    return comfy.sd.VAE(sd=part_of(weights, "vae."), config={"params": config["vae"]})


def load_clip(weights, config):
    """The text encoder with CLIP's tokenizer; its last layer is what the UNet was trained on."""
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    return comfy.sd.CLIP(
        target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        state_dict=weights,
        parameters=comfy.utils.calculate_parameters(weights),
        model_options={"clip_l_model_config": config},
    )
