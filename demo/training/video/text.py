"""Prompts as umt5 reads them: a sentencepiece vocabulary of the world's words, and the encoder's forward pass."""

import io
import itertools

import torch
import torch.nn.functional as F

from ...world import COLORS, GROUNDS, SHAPES, STYLES
from ..networks import DEVICE
from .sizes import TEXT_LENGTH

PAD, END = 0, 1


def train_vocabulary():
    """A sentencepiece model of the world's prompts: uint8 (bytes,), as ComfyUI's checkpoints hold one.

    The words of things and grounds are whole pieces, other words are not.
    """
    import sentencepiece

    things = [f"a {color} {shape}" for color, shape in itertools.product(COLORS, SHAPES)]
    prompts = [f"{thing} {ground}" for thing, ground in itertools.product(things, GROUNDS.values())]
    prompts += [f"a {style} of {thing} and nothing" for style, thing in itertools.product(STYLES[1:], things)]
    letters = [" ".join("abcdefghijklmnopqrstuvwxyz,.-'")] * 20
    whole = sorted(
        {"\u2581" + word for name in (*COLORS, *SHAPES, *GROUNDS.values(), "a and of") for word in name.split()}
    )
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(prompts + letters),
        model_writer=written,
        model_type="unigram",
        vocab_size=128,
        user_defined_symbols=whole,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=PAD,
        eos_id=END,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8)


def tokenizer(vocabulary):
    """The sentencepiece model of a vocabulary, as ComfyUI makes it."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=vocabulary.numpy().tobytes(), add_eos=True)


def token_ids(vocabulary, texts):
    """Token ids (texts, TEXT_LENGTH), each ended and filled up as umt5's."""
    rows = tokenizer(vocabulary).encode(list(texts))
    return torch.tensor([row + [PAD] * (TEXT_LENGTH - len(row)) for row in rows])


def encode_text(text_encoder, tokens):
    """What ComfyUI's T5 computes, without its in-place additions, which autograd refuses: (n, TEXT_LENGTH, width).

    Padding is not seen, and zero where it stands, as Wan's.
    """
    seen = (tokens != PAD).to(DEVICE)
    hidden = text_encoder.shared.weight[tokens.to(DEVICE)]
    for block in text_encoder.encoder.block:
        attend, feed = block.layer
        attention, normed = attend.SelfAttention, attend.layer_norm(hidden)
        query, key, value = (
            project(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for project in (attention.q, attention.k, attention.v)
        )
        bias = attention.compute_bias(tokens.shape[1], tokens.shape[1], DEVICE, hidden.dtype)
        bias = bias.masked_fill(~seen[:, None, None], -torch.finfo(hidden.dtype).max)
        mixed = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), scale=1.0)
        hidden = hidden + attention.o(mixed.transpose(1, 2).flatten(2))
        hidden = hidden + feed.DenseReluDense(feed.layer_norm(hidden))
    return text_encoder.encoder.final_layer_norm(hidden) * seen[..., None]
