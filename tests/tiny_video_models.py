"""Wan and LTX-Video in small, with random weights, and prompts as T5 reads them."""

from functools import cache

import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.text_encoders.wan import WanT5Tokenizer

WIDTH = 48  # of a text token
WORDS = "a red blue circle square on green grass white snow the in and cat dog"


def wan(model_type="t2v", **changes):
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
    return _patcher(comfy.supported_models.WAN21_T2V(config))


def ltx():
    config = {
        "image_model": "ltxv",
        "in_channels": 128,
        "cross_attention_dim": 96,
        "attention_head_dim": 32,
        "num_attention_heads": 3,
        "caption_channels": WIDTH,
        "num_layers": 3,
    }
    return _patcher(comfy.supported_models.LTXV(config))


def _patcher(config):
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.diffusion_model.named_parameters():
        random = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.data = torch.ones_like(parameter)
        elif parameter.ndim < 2:
            parameter.data = 0.05 * random
        else:
            parameter.data = random / parameter[0].numel() ** 0.5
    model.diffusion_model.eval().requires_grad_(False)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


@cache
def tokenizer(folder):
    """Wan's tokenizer, with a small vocabulary of its own kind."""
    import sentencepiece

    text = folder / "text.txt"
    words = WORDS.split()
    text.write_text("\n".join(" ".join(words[i:] + words[:i]) for i in range(len(words))))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "small"),
        vocab_size=36,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    proto = bytearray((folder / "small.model").read_bytes())
    return WanT5Tokenizer(tokenizer_data={"spiece_model": torch.frombuffer(proto, dtype=torch.uint8)})


def conditioning(tokens):
    """A CONDITIONING of a prompt: one random vector for each token's number, zeros, masked, for the padding."""
    table = torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(1))
    table[0] = 0
    ids = torch.tensor(tokens.ids)
    return [[table[ids][None], {"attention_mask": (ids > 0).long()[None]}]]
