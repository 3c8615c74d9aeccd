"""Key frames and normalisation across frames."""

import pytest
import torch

from edit_cases import clip_latent, conditioning, prompt_edit, random_tuned_model, small_model
from fatezero_pack.fatezero.network.key_frames import CHOICES, key_frame_indices, parse_key_frames
from fatezero_pack.fatezero.network.unet.inflation import (
    Inflation,
    gather_frames,
    inflate,
    inflation_of,
    joint_group_norms,
    residual_group_norms,
)
from fatezero_pack.nodes.inflate import CUSTOM, InflateUNet
from golden_unet import relative

FIRST = "first (Video-P2P)"
CONTEXT = conditioning(prompt_edit().source)[0][0]


def predict(model, latent, rows: int = 1):
    """The model's prediction for a clip, as one or several conditioning rows."""
    batch = torch.cat([latent] * rows)
    options = {
        **model.model_options["transformer_options"],
        "cond_or_uncond": list(range(rows)),
        "wrappers": model.wrappers,
    }
    context = CONTEXT.expand(len(batch), -1, -1)
    return model.model.diffusion_model(
        batch, torch.full((len(batch),), 500.0), context=context, transformer_options=options
    )


FRAMES = clip_latent(5, 8, 8) * 0.2


@pytest.mark.parametrize(
    "choice, expected",
    zip(
        CHOICES,
        [
            [[0, 2], [1, 2], [2, 2], [3, 2], [4, 2]],
            [[2]] * 5,
            [[0, 0], [0, 0], [1, 0], [2, 0], [3, 0]],
            [[0]] * 5,
            [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4]],
            [[0, 1, 2, 3, 4]] * 5,
        ],
    ),
)
def test_choices(choice, expected):
    assert key_frame_indices(parse_key_frames(CHOICES[choice]), 5).tolist() == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("last", [[3]] * 4),
        ("-1", [[0], [0], [1], [2]]),
        ("+2", [[2], [3], [3], [3]]),
        ("0", [[0], [1], [2], [3]]),
        ("-99, +99", [[0, 3]] * 4),
        (" FIRST ,Middle", [[0, 1]] * 4),
    ],
)
def test_custom(text, expected):
    assert key_frame_indices(parse_key_frames(text), 4).tolist() == expected


@pytest.mark.parametrize("frames, middle", [(1, 0), (2, 0), (3, 1), (8, 3), (9, 4)])
def test_middle_frame(frames, middle):
    assert key_frame_indices(("middle",), frames).unique().tolist() == [middle]


def test_gather():
    hidden = torch.arange(12.0).reshape(2, 3, 2, 1)  # two rows of three frames of two tokens
    gathered = gather_frames(hidden, torch.tensor([[0, 2], [1, 2], [2, 2]]))
    assert gathered.shape == (6, 4, 1)
    assert gathered[1, :, 0].tolist() == [2, 3, 4, 5] and gathered[3, :, 0].tolist() == [6, 7, 10, 11]


def test_current_frame_alone_leaves_frames_independent():
    plain = small_model()
    model = inflate(plain, Inflation(("current",)))
    one_by_one = torch.cat([predict(plain, frame[None]) for frame in FRAMES])
    assert relative(predict(model, FRAMES), one_by_one) < 1e-5


def test_a_single_image_is_unchanged():
    plain = small_model()
    image = FRAMES[:1]
    for entries in (("current",), ("middle",), ("-1",), ("all",), ("current", "middle")):
        assert relative(predict(inflate(plain, Inflation(entries)), image), predict(plain, image)) < 1e-5


@pytest.mark.parametrize("text, frames, keys", [("current, middle", 1, 1), ("first, first", 4, 1), ("-1, first", 2, 1)])
def test_keys_that_are_there_twice_for_all_frames_are_taken_once(text, frames, keys):
    """They change no average, and cost twice as much."""
    assert key_frame_indices(parse_key_frames(text), frames).shape == (frames, keys)


def test_only_key_frames_are_looked_at():
    model = inflate(small_model(), Inflation(("first", "current")))
    changed = FRAMES.clone()
    changed[3] += 1
    before, after = predict(model, FRAMES), predict(model, changed)
    assert relative(after[[0, 1, 2, 4]], before[[0, 1, 2, 4]]) < 1e-6
    changed = FRAMES.clone()
    changed[0] += 1
    assert all(relative(after, before) > 1e-4 for after, before in zip(predict(model, changed), before))


def test_rows_do_not_mix():
    model = inflate(small_model(), Inflation(("all",), normalise_across_frames=True))
    together = predict(model, FRAMES, rows=2)
    assert relative(together, predict(model, FRAMES).repeat(2, 1, 1, 1)) < 1e-5


def test_minimum_width():
    """32 channels above, 64 below: 33 leaves the upper layers alone, 65 all of them."""
    plain = small_model()
    results = [predict(inflate(plain, Inflation(("middle",), width)), FRAMES) for width in (0, 32, 33, 64, 65)]
    assert torch.equal(results[0], results[1]) and torch.equal(results[2], results[3])
    assert relative(results[2], results[0]) > 1e-4
    assert torch.equal(results[4], predict(plain, FRAMES))


@pytest.mark.parametrize("rows", [1, 2])
def test_joint_norm_is_a_norm_over_the_clip(rows):
    """GroupNorm of the official 3-D UNet: on [rows, channels, frames, height, width]."""
    network = small_model().model.diffusion_model
    norm = next(residual_group_norms(network))
    x = torch.randn(rows * 3, norm.num_channels, 5, 7) * torch.rand(rows * 3, 1, 1, 1) * 3
    with joint_group_norms(network, {"cond_or_uncond": range(rows)}):
        joint = norm(x)
    clip = x.unflatten(0, (rows, 3)).transpose(1, 2)
    expected = torch.nn.functional.group_norm(clip, norm.num_groups, norm.weight, norm.bias, norm.eps)
    assert torch.allclose(joint, expected.transpose(1, 2).flatten(0, 1), atol=1e-5)
    assert not torch.allclose(norm(x), joint, atol=1e-2)


def test_which_norms_are_joined():
    """Every ResNet block's two and the output's; never the transformers' own."""
    network = small_model().model.diffusion_model
    names = {module: name for name, module in network.named_modules()}
    joined = {names[norm] for norm in residual_group_norms(network)}
    everything = {name for name, module in network.named_modules() if isinstance(module, torch.nn.GroupNorm)}
    transformers = {name for name in everything if name.endswith(".norm")}
    assert joined == everything - transformers and transformers and "out.0" in joined


def test_node_marks_the_model():
    plain = small_model()
    (model,) = InflateUNet.execute(plain, "first (Video-P2P)", 64, True).result
    assert inflation_of(model) == Inflation(("first",), 64, True) and inflation_of(plain) is None
    (again,) = InflateUNet.execute(model, CUSTOM, custom_key_frames="-1, last").result
    assert inflation_of(again) == Inflation(("-1", "last")) and not again.wrappers.get("diffusion_model", {})
    assert len(again.model_options["transformer_options"]["patches"]["attn1_patch"]) == 1


def test_a_tuned_model_inflated_otherwise_is_told():
    """Tuned with first alone and joint norms, which an inflation takes away; the same again is nothing to tell."""
    tuned = random_tuned_model(small_model())
    told = InflateUNet.execute(tuned, "current + middle (paper)").ui.as_dict()["text"][0]
    assert told.startswith("! 'model' is tuned with [key frames first; normalised across frames], but is now inflated")
    for model, settings in ((tuned, (FIRST, 0, True)), (small_model(), (FIRST,))):
        assert InflateUNet.execute(model, *settings).ui is None
