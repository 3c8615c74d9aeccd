"""The networks to train, in ComfyUI's own module classes, and the text encoder's forward pass with gradients."""

import os
import sys
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTokenizer

from ..world import COLORS, GROUNDS, SHAPES, STYLES
from .sizes import END

sys.path.insert(0, os.environ["COMFYUI_PATH"])
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = not torch.cuda.is_available()
comfy.cli_args.args.use_pytorch_cross_attention = True
import comfy.ldm.wan.model  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.text_encoders.t5  # noqa: E402
from comfy.clip_model import CLIPTextModel  # noqa: E402
from comfy.ldm.models.autoencoder import AutoencoderKL  # noqa: E402
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LATENT_SCALE = 0.18215  # SD 1.x
# Where a residual branch of the UNet or of the text encoder ends; it starts at zero.
RESIDUAL_ENDS = ("out_layers.3", "proj_out", "to_out.0", "ff.net.2", "self_attn.out_proj", "mlp.fc2")
# bfloat16 is quicker only where the device computes in it.
QUICK_BFLOAT16 = DEVICE.type == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16", False)


def autocast():
    """bfloat16 where it is quicker, else float32."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=QUICK_BFLOAT16)


def attention_options():
    """`transformer_options` for the quickest attention on this device."""
    quick = DEVICE.type == "cpu" and QUICK_BFLOAT16
    return {"optimized_attention_override": plain_attention} if quick else {}


def as_input(images):
    """uint8 (n, H, W, 3) -> float (n, 3, H, W) in -1..1 on the training device."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float().contiguous().to(DEVICE) / 127.5 - 1


def plain_attention(_, q, k, v, heads, **options):
    """Attention by plain products, which the CPU computes quicker in bfloat16 than torch's fused attention.

    Set as ComfyUI's `optimized_attention_override`: q [n, tokens, heads * dim], k and v likewise; the same shape comes
    out. Large maps are computed one by one, so that each stays in the processor's cache.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    with torch.autocast(DEVICE.type, enabled=False):
        if q.shape[2] * k.shape[2] <= 512**2:
            return _products(q, k, v).transpose(1, 2).flatten(2)
        rows = [torch.stack([_products(*head) for head in zip(*row)]) for row in zip(q, k, v)]
        return torch.stack(rows).transpose(1, 2).flatten(2)


def _products(q, k, v):
    """softmax(q k^T / sqrt(dim)) v."""
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), -1) @ v


@cache
def tokenizer():
    """The CLIP tokenizer that ComfyUI ships."""
    return CLIPTokenizer.from_pretrained(str(Path(os.environ["COMFYUI_PATH"]) / "comfy" / "sd1_tokenizer"))


def token_ids(texts):
    """Token ids (texts, 77), padded with the end token as SD 1.x does."""
    rows = [tokenizer()(text, truncation=True, max_length=77)["input_ids"] for text in texts]
    return torch.tensor([row + [END] * (77 - len(row)) for row in rows])


def encode_text(text_encoder, tokens):
    """What ComfyUI's CLIPTextModel computes, without its in-place additions, which autograd refuses: (n, 77, width)."""
    model = text_encoder.text_model
    x = model.embeddings.token_embedding.weight[tokens] + model.embeddings.position_embedding.weight
    for layer in model.encoder.layers:
        attention = layer.self_attn
        h = layer.layer_norm1(x)
        q, k, v = (
            project(h).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        x = x + attention.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        x = x + layer.mlp(layer.layer_norm2(x))
    return model.final_layer_norm(x)


def new_autoencoder(size):
    """An untrained autoencoder; the ends of its residual branches start small."""
    vae = AutoencoderKL(**size.autoencoder)
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
            if name.endswith(("conv2", "proj_out")):
                module.weight.data.mul_(0.3)
        elif isinstance(module, nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return vae.to(DEVICE)


def new_unet_and_text_encoder(size):
    """An untrained UNet and text encoder, and (vocabulary, 1): 1 for the tokens that this world uses, else 0.

    The embeddings of tokens that it does not use are zero, so that they cost little once the file is compressed.
    """
    unet = UNetModel(**size.unet, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    text_encoder = CLIPTextModel(size.text_encoder, torch.float32, "cpu", comfy.ops.disable_weight_init)
    for name, module in [*unet.named_modules(), *text_encoder.named_modules()]:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith(RESIDUAL_ENDS) or name == "out.2":
                nn.init.zeros_(module.weight)
        elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    used = torch.zeros(END + 1, 1)
    used[token_ids([*COLORS, *SHAPES, *GROUNDS, *GROUNDS.values(), *STYLES, "a and of nothing"]).unique()] = 1
    embeddings = text_encoder.text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.3).data.mul_(used)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.1)
    text_encoder.text_projection.requires_grad_(False)
    return unet.to(DEVICE), text_encoder.to(DEVICE), used.to(DEVICE)
