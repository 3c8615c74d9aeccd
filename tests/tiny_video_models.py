"""Wan and LTX-Video in small, with random weights, and prompts as T5 reads them."""

import inspect
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.text_encoders.hunyuan_video
import comfy.text_encoders.llama
import comfy.text_encoders.t5
import pytest
import torch
from comfy.sd1_clip import SD1ClipModel, SDClipModel
from comfy.supported_models_base import ClipTarget
from comfy.text_encoders.hunyuan_video import HunyuanVideoClipModel
from comfy.text_encoders.wan import WanT5Tokenizer
from transformers import PreTrainedTokenizerFast

WIDTH = 48  # of a text token
WORDS = "a red blue circle square on green grass white snow the in and cat dog"


def wan(model_type="t2v", kind=None, stored=torch.float32, operations=None, **changes):
    """A ModelPatcher; kind: of ComfyUI's supported_models, None for text or image to video; stored: what its weights
    are held as, beside float32 in which it computes; operations: what its layers are, None for ComfyUI's own."""
    config = {
        "image_model": "wan2.1",
        "model_type": model_type,
        "patch_size": (1, 2, 2),
        "in_dim": 16,
        "dim": 96,
        "ffn_dim": 192,
        "freq_dim": 64,
        "text_dim": WIDTH,
        "out_dim": 16,
        "num_heads": 2,
        "num_layers": 3,
        "qk_norm": True,
        "cross_attn_norm": True,
        **changes,
    }
    is_image = model_type == "i2v"
    kind = kind or (comfy.supported_models.WAN21_I2V if is_image else comfy.supported_models.WAN21_T2V)
    return patcher(kind(config), stored, operations)


def two_wans(**changes):
    """Wan 2.2 14B's form: two models of unlike weights."""
    high, low = wan(**changes), wan(**changes)
    for parameter in low.model.diffusion_model.parameters():
        parameter.data = parameter.data * 1.1
    return high, low


def wan_5b():
    """Wan 2.2 5B's form: 48 channels of latent, cells of 16 pixels."""
    return wan(kind=comfy.supported_models.WAN22_T2V, in_dim=48, out_dim=48)


def ltx(**changes):
    config = {
        "image_model": "ltxv",
        "in_channels": 128,
        "cross_attention_dim": 96,
        "attention_head_dim": 32,
        "num_attention_heads": 3,
        "caption_channels": WIDTH,
        "num_layers": 3,
        **changes,
    }
    return patcher(comfy.supported_models.LTXV(config))


def hunyuan(kind=comfy.supported_models.HunyuanVideo, **changes):
    config = {
        "image_model": "hunyuan_video",
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": [1, 2, 2],
        "vec_in_dim": 32,
        "context_in_dim": WIDTH,
        "hidden_size": 96,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 2,
        "depth_single_blocks": 2,
        "axes_dim": [16, 16, 16],
        "theta": 256,
        "qkv_bias": True,
        "guidance_embed": True,
        "byt5": False,
        "meanflow": False,
        "use_cond_type_embedding": False,
        "vision_in_dim": None,
        "meanflow_sum": False,
        **changes,
    }
    return patcher(kind(config))


def patcher(config, stored=torch.float32, operations=None):
    """A ModelPatcher of random weights; config: of ComfyUI's supported_models."""
    config.set_inference_dtype(stored, None if stored == torch.float32 else torch.float32)
    config.custom_operations = operations
    model = config.get_model({}, device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.diffusion_model.named_parameters():
        random = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith(("weight", "scale")):
            value = torch.ones(parameter.shape)
        elif parameter.ndim < 2:
            value = 0.05 * random
        else:
            value = random / parameter[0].numel() ** 0.5
        parameter.data = value.to(parameter.dtype)
    model.diffusion_model.eval().requires_grad_(False)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def vocabulary(folder):
    """A sentencepiece model like umt5's, of few words; as ComfyUI's checkpoints hold it."""
    import sentencepiece

    text, words = folder / "text.txt", WORDS.split()
    text.write_text("\n".join(" ".join(words[i:] + words[:i]) for i in range(len(words))))
    numbers = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "small"), vocab_size=36, model_type="unigram", **numbers
    )
    return torch.frombuffer(bytearray((folder / "small.model").read_bytes()), dtype=torch.uint8)


def tokenizer(folder):
    return WanT5Tokenizer(tokenizer_data={"spiece_model": vocabulary(folder)})


class SmallT5(SDClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None, **_):
        config = {
            "d_ff": 64,
            "d_kv": 16,
            "d_model": WIDTH,
            "dense_act_fn": "gelu_pytorch_tanh",
            "is_gated_act": True,
            "model_type": "umt5",
            "num_heads": 2,
            "num_layers": 1,
            "vocab_size": 36,
        }
        super().__init__(
            device=device,
            textmodel_json_config=config,
            dtype=dtype,
            special_tokens={"end": 1, "pad": 0},
            model_class=comfy.text_encoders.t5.T5,
            enable_attention_masks=True,
            zero_out_masked=True,
            layer="last",
            model_options=model_options or {},
        )


class SmallT5Model(SD1ClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None):
        super().__init__(
            device=device, dtype=dtype, model_options=model_options or {}, name="umt5xxl", clip_model=SmallT5
        )


def text_encoder(folder):
    """ComfyUI's CLIP with Wan's kind of text encoder, small and of random weights."""
    target = ClipTarget(WanT5Tokenizer, SmallT5Model)
    clip = comfy.sd.CLIP(target, tokenizer_data={"spiece_model": vocabulary(folder)})
    generator = torch.Generator().manual_seed(2)
    for parameter in clip.cond_stage_model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return clip


class HunyuanTokenizer(comfy.text_encoders.hunyuan_video.HunyuanVideoTokenizer):
    """ComfyUI's own, with a class of transformers that reads spaces in all of its versions."""

    def __init__(self, embedding_directory=None, tokenizer_data=None):
        super().__init__(embedding_directory, tokenizer_data or {})
        folder = Path(inspect.getfile(HunyuanVideoClipModel)).parent / "llama_tokenizer"
        self.llama.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)


class SmallHunyuanClip(HunyuanVideoClipModel):
    """A Llama and a CLIP of random weights, with few and narrow layers."""

    def __init__(self, device="cpu", dtype=None, model_options=None):
        torch.nn.Module.__init__(self)
        small = {"num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
        llama = {**small, "hidden_size": WIDTH, "num_key_value_heads": 1, "vocab_size": 128320}
        clip = {**small, "hidden_size": 32, "hidden_act": "quick_gelu", "vocab_size": 49408, "eos_token_id": 49407}
        clip |= {"max_position_embeddings": 77, "projection_dim": 32}
        given = {"device": device, "dtype": dtype, "model_options": model_options or {}}
        self.clip_l = SDClipModel(return_projected_pooled=False, textmodel_json_config=clip, **given)
        self.llama = SDClipModel(
            layer="hidden",
            layer_idx=-3,
            textmodel_json_config=llama,
            special_tokens={"start": 128000, "pad": 128258},
            layer_norm_hidden_state=False,
            model_class=comfy.text_encoders.llama.Llama2,
            enable_attention_masks=True,
            return_attention_masks=True,
            **given,
        )
        self.dtypes = {dtype}


def hunyuan_text_encoder():
    """ComfyUI's CLIP with HunyuanVideo's kind of text encoders, small and of random weights."""
    clip = comfy.sd.CLIP(ClipTarget(HunyuanTokenizer, SmallHunyuanClip))
    generator = torch.Generator().manual_seed(2)
    for parameter in clip.cond_stage_model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return clip


def conditioning(tokens):
    """A CONDITIONING of a prompt: one random vector for each token's number, zeros, masked, for the padding."""
    table = torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(1))
    table[0] = 0
    ids = torch.tensor(tokens.ids)
    return [[table[ids][None], {"attention_mask": (ids > 0).long()[None]}]]


@pytest.fixture(scope="module", params=[wan, ltx], ids=["wan", "ltx"])
def video_model(request):
    """A ModelPatcher of each family."""
    return request.param()


@pytest.fixture(scope="module")
def video_latent(video_model):
    """A clip's latent for it, [1, c, 3, 8, 10]."""
    channels = video_model.model.latent_format.latent_channels
    random = torch.randn(1, channels, 3, 8, 10, generator=torch.Generator().manual_seed(3))
    return 3 * torch.nn.functional.avg_pool3d(random, 3, 1, 1)
