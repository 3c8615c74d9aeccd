"""The training of the demo model: what it draws, and how the larger model starts from the smaller one."""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fatezero_pack.demo.model import WEIGHTS
from fatezero_pack.demo.training import data, networks, run, sizes, unet


def test_large_starts_as_small(tmp_path):
    """Its added blocks are the identity until they are trained."""
    torch.manual_seed(0)
    start = {key: tensor.float() for key, tensor in load_file(WEIGHTS).items()}
    tokens, noisy, t = (
        networks.token_ids(["a red star on white snow"]),
        torch.randn(1, 4, 32, 32),
        torch.tensor([500.0]),
    )
    predicted = []
    for name, size in sizes.SIZES.items():
        unet, text_encoder, _ = networks.new_unet_and_text_encoder(size)
        run.Run(tmp_path / name, {"unet": unet, "te": text_encoder}, 1, 1e-3, start)
        with torch.no_grad():
            context = networks.encode_text(text_encoder, tokens.to(networks.DEVICE))
            predicted.append(unet(noisy.to(networks.DEVICE), t.to(networks.DEVICE), context=context))
        if name == "large":
            assert sum(p.numel() for p in unet.parameters()) > 8_000_000
    assert predicted[0].std() > 0.5
    torch.testing.assert_close(predicted[1], predicted[0], atol=1e-4, rtol=1e-4)


def test_a_fifth_of_the_captions_have_two_things_alike():
    rng, alike = np.random.default_rng(0), 0
    for _ in range(1000):
        ((scene, looked_at),) = data.draw_one(rng)
        assert looked_at == scene.things
        if len(scene.things) == 2:
            first, second = scene.things
            alike += (first.color == second.color) != (first.shape == second.shape)
    assert 200 < alike < 350  # a few of the other pairs are alike by chance


def test_a_family_differs_in_one_shape_only():
    rng, companions = np.random.default_rng(0), 0
    for _ in range(40):
        family = data.draw_family(rng)
        assert [thing.shape for _, (thing,) in family] == list(data.SHAPES)
        others = {tuple(thing for thing in scene.things if thing != shaped) for scene, (shaped,) in family}
        assert len(others) == 1
        companions += len(others.pop())
    assert 10 < companions < 30


@pytest.mark.parametrize("name", sizes.SIZES)
def test_pairs_are_windows_around_the_thing_that_differs(name):
    side = sizes.SIZES[name].latents
    masks, numbers = torch.zeros(12, 1, side, side), torch.arange(12)[:, None]
    masks[:6, :, 1:4, 1:4], masks[6:, :, -4:-1, -4:-1] = 1, 1
    rows = {"latents": torch.rand(12, 4, side, side), "masks": masks, "tokens": numbers}
    latents, seen, tokens = data.draw_pairs(rows, 8, side // 2)
    first, second = tokens[:, 0].cpu().chunk(2)
    assert latents.shape == (16, 4, side // 2, side // 2)
    assert (first // 6 == second // 6).all() and (first != second).all()
    assert (seen.sum((1, 2, 3)) == 9).all()


def test_pictures_of_two_things_are_plain_and_apart():
    rng = np.random.default_rng(0)
    for _ in range(60):
        ((scene, looked_at),) = data.draw_two(rng)
        first, second = scene.things
        assert looked_at == scene.things and scene.style == ""
        assert np.hypot(first.x - second.x, first.y - second.y) > 1.15 * (first.r + second.r)


def test_processes_draw_what_one_draws():
    work = partial(data.draw_portion, data.draw_two, 64)
    alone, together = (list(data.in_processes(work, 5, 2, processes, seed=3)) for processes in (1, 2))
    assert [len(captions) for *_, captions in alone] == [2, 2, 1]
    for (pictures, masks, captions), others in zip(alone, together):
        assert pictures.shape[1:] == (64, 64, 3) and masks.shape[1:] == (8, 8) and masks.max() == 255
        assert np.array_equal(pictures, others[0]) and np.array_equal(masks, others[1]) and captions == others[2]
    assert len({caption for *_, captions in alone for caption in captions}) == 5


def test_what_is_drawn_beside_a_training_is_taken_up(tmp_path):
    data.write({"latents": torch.zeros(2, 4)}, tmp_path, "two", 1)
    first = data.load_data(tmp_path, "two")
    assert data.load_data(tmp_path, "two", first) is first
    data.write({"latents": torch.ones(3, 4)}, tmp_path, "two", 2)
    assert len(data.load_data(tmp_path, "two", first)["latents"]) == 5
    with pytest.raises(FileNotFoundError, match="stage 'families'"):
        data.load_data(tmp_path, "families")


@pytest.mark.parametrize("tokens", [(64, 64), (1024, 77), (1024, 1024)])
def test_plain_attention_is_attention(tokens):
    """All at once for small maps, and one by one for large ones."""
    torch.manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad():
        q, k, v = (torch.randn(2, count, 32, requires_grad=True) for count in (tokens[0], tokens[1], tokens[1]))
        heads = [x.unflatten(-1, (4, 8)).transpose(1, 2) for x in (q, k, v)]
        expected = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        attended = networks.plain_attention(None, q, k, v, 4)
        torch.testing.assert_close(attended, expected, atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(result.square().sum(), (q, k, v)) for result in (attended, expected)]
        torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("anywhere, others, most", [(0.0, (600, 1000), 20.0), (1.0, (350, 950), 8.0)])
def test_timesteps_are_where_they_are_asked_for(anywhere, others, most):
    t, weight = unet.draw_timesteps(2000, anywhere, others, most)
    low, high = (0, 1000) if anywhere else others
    assert low <= t.min() < low + 20 and high - 20 < t.max() < high
    assert anywhere <= weight.min() and weight.max() == most
