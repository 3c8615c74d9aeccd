"""The training of the demo video model: what it draws, and that it reads prompts as the loaded model does."""

import numpy as np
import torch
from safetensors.torch import load_file

from fatezero_pack.demo import train_video, video_model
from fatezero_pack.demo.training.data import draw_family, load_data
from fatezero_pack.demo.training.sizes import SIZES
from fatezero_pack.demo.training.vae import load_vae
from fatezero_pack.demo.training.video import data, networks, text, transformer


def test_text_is_encoded_as_by_the_loaded_model():
    weights = {key: tensor.float() for key, tensor in load_file(video_model.WEIGHTS).items()}
    vocabulary = weights["spiece_model"].to(torch.uint8)
    _, encoder = networks.new_transformer_and_text_encoder(text.tokenizer(vocabulary).get_piece_size())
    encoder.load_state_dict({key[3:]: tensor for key, tensor in weights.items() if key.startswith("te.")})
    prompts = ["a red star and a blue circle on white snow", "a mosaic of a pink heart on a brick wall", ""]
    _, clip, _ = video_model.load_demo_video_model()
    with torch.inference_mode():
        ours = text.encode_text(encoder, text.token_ids(vocabulary, prompts))
        loaded = torch.cat([clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0] for prompt in prompts])
    torch.testing.assert_close(ours, loaded.float(), atol=1e-3, rtol=1e-3)


def test_clips_are_drawn_and_paired(tmp_path):
    """Six shapes of one thing that move alike; the windows lie on it, and a pair is of one family."""
    vocabulary = train_video.load_vocabulary(tmp_path, {})
    vae = load_vae(SIZES["small"], tmp_path, load_file(train_video.AUTOENCODER))
    data.make_clips(vae, vocabulary, tmp_path, "families", 6, 5, draw_family)
    found = load_data(tmp_path, "families_5")
    assert found["frames"].shape == (6, 5, 4, 16, 16) and found["masks"].shape == (6, 5, 16, 16)
    assert len(found["tokens"].unique(dim=0)) == 6
    torch.manual_seed(0)
    latents, masks, tokens = data.draw_pairs(found, 8, 8)
    assert latents.shape == (16, 16, 2, 8, 8) and masks.shape == (16, 1, 2, 8, 8)
    assert torch.equal(masks[:8], masks[8:]) and masks.amax((1, 2, 3, 4)).min() > 0.5
    assert (tokens[:8] != tokens[8:]).any(1).all()
    whole, masks, _ = data.draw_clips(found, 3, tokens[0])
    assert whole.shape == (3, 16, 2, 16, 16) and masks.shape == (3, 1, 2, 16, 16)


def test_the_loss_of_pairs_falls_when_words_tell_them_apart():
    """Unexplained is 1 for a model that does not listen, 0 for one that knows."""
    latents = torch.randn(8, 16, 1, 8, 8)
    mask, context = torch.ones(8, 1, 1, 8, 8), latents
    torch.manual_seed(1)
    deaf = transformer.flow_loss(lambda x, t, c, **_: torch.zeros_like(x), latents, mask, context, True, False)

    def knows(x, t, c, **_):
        level = t.view(-1, 1, 1, 1, 1) / 1000
        return (x - c) / level

    right = transformer.flow_loss(knows, latents, mask, context, True, False)
    assert abs(deaf[1] - 1) < 1e-5 and right[1] < 1e-5 and float(right[0]) < 1e-5 < float(deaf[0])


def test_sigmas_lie_where_words_decide():
    torch.manual_seed(0)
    assert 0.68 <= transformer.draw_sigmas(500, 0.0).min() and transformer.draw_sigmas(500, 0.0).max() <= 0.98
    assert transformer.draw_sigmas(500, 1.0).min() < 0.1


def test_an_exported_file_is_gone_on_from(tmp_path):
    start, minutes = train_video.read_start(video_model.WEIGHTS)
    assert minutes > 0 and torch.equal(
        train_video.load_vocabulary(tmp_path, start), load_file(video_model.WEIGHTS)["spiece_model"]
    )
    modules = networks.new_transformer_and_text_encoder(
        text.tokenizer(train_video.load_vocabulary(tmp_path, start)).get_piece_size()
    )
    run = transformer.Run(tmp_path / "run", dict(zip(("transformer", "te"), modules)), 1, 1e-3, start, minutes)
    assert all(torch.equal(run.weights[key], start[key]) for key in run.weights) and run.minutes_used == minutes
    assert np.isfinite(minutes)
