"""The built-in model: ComfyUI's own classes, follows its words, can be patched; and the world it was trained on."""

import gc
import sys
from dataclasses import replace

import comfy.lora
import comfy.model_patcher
import comfy.sample
import comfy.sd
import comfy.supported_models
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fatezero_pack.demo import model, world
from fatezero_pack.demo import pixel_judge as judge
from fatezero_pack.fatezero.masks.source_mask import source_mask
from fatezero_pack.fatezero.masks.word_masks import AUTOMATIC
from fatezero_pack.fatezero.network.option_keys import TOKENS
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from fatezero_pack.nodes.demo_model import LoadDemoModel


@pytest.fixture(scope="module")
def loaded():
    return model.load_demo_model()


def test_loading_again_leaves_nothing():
    """With --cache-none, a server loads the model in every run."""

    def kept(times):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(times):
            model.load_demo_model()
        gc.collect()
        return (sys.getallocatedblocks() - before) / times

    kept(6)  # Python's own caches fill
    assert kept(4) < 400  # safetensors' safe_open alone left 1,240 of 620 tensors


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def generate(loaded, prompt, seed=0, steps=12, model_patcher=None, side=128):
    """One picture: uint8 RGB (side, side, 3)."""
    patcher, clip, vae = loaded
    latent = torch.zeros(1, 4, side // 8, side // 8)
    samples = comfy.sample.sample(
        model_patcher or patcher,
        comfy.sample.prepare_noise(latent, seed),
        steps,
        4.0,
        "euler",
        "normal",
        encode(clip, prompt),
        encode(clip, ""),
        latent,
        disable_pbar=True,
    )
    return (vae.decode(samples)[0].float().clamp(0, 1) * 255).round().byte().numpy()


def test_node_yields_comfyui_objects():
    patcher, clip, vae = LoadDemoModel.execute().result
    assert isinstance(patcher, comfy.model_patcher.ModelPatcher)
    assert isinstance(patcher.model.model_config, comfy.supported_models.SD15)
    assert isinstance(clip, comfy.sd.CLIP)
    assert isinstance(vae, comfy.sd.VAE)


def test_node_description_names_every_word_of_the_world():
    description = LoadDemoModel.define_schema().description
    for word in (*world.COLORS, *world.SHAPES, *world.GROUNDS.values(), *filter(None, world.STYLES)):
        assert word in description


def test_text_encoder_gives_its_normalised_last_layer(loaded):
    ((context, options),) = encode(loaded[1], "a red circle on green grass")
    assert context.shape == (1, 77, 64)
    norm = loaded[1].cond_stage_model.clip_l.transformer.text_model.final_layer_norm
    normalised = (context.float() - norm.bias.float()) / norm.weight.float()
    assert normalised.mean(-1).abs().max() < 1e-2
    assert (normalised.var(-1, unbiased=False) - 1).abs().max() < 5e-2


def test_autoencoder_returns_the_picture(loaded):
    truth = world.render(world.Scene("snow", (world.Thing("red", "star", 0.5, 0.5, 0.25),)))
    picture = loaded[2].decode(loaded[2].encode(torch.tensor(truth)[None] / 255))[0].float().clamp(0, 1).numpy() * 255
    assert np.square(picture - truth).mean() < 250  # 24 dB
    assert judge.judge_shape(judge.color_mask(picture.astype(np.uint8), "red", "snow"))[0] == "star"


@pytest.mark.parametrize(
    "color, ground", [("red", "grass"), ("blue", "snow"), ("yellow", "water"), ("white", "brick wall")]
)
def test_colour_and_ground_words_are_followed(loaded, color, ground):
    picture = generate(loaded, f"a {color} circle {world.GROUNDS[ground]}")
    assert judge.judge_ground(picture) == ground
    assert judge.judge_color(picture, ground) == color


@pytest.mark.parametrize("shape", ["circle", "square", "heart"])
def test_shape_words_are_followed(loaded, shape):
    picture = generate(loaded, f"a red {shape} on white snow", seed=2)
    assert judge.judge_shape(judge.color_mask(picture, "red", "snow"))[0] == shape


@pytest.mark.slow
def test_the_large_model_follows_its_words_with_sharp_edges():
    loaded = LoadDemoModel.execute(size="large").result
    truth = world.render(world.Scene("snow", (world.Thing("red", "star", 0.5, 0.5, 0.25),)), 256, 256)
    picture = loaded[2].decode(loaded[2].encode(torch.tensor(truth)[None] / 255))[0].float().clamp(0, 1).numpy() * 255
    assert np.square(picture - truth).mean() < 52  # 31 dB
    for shape, seed in (("heart", 1), ("triangle", 2)):
        picture = generate(loaded, f"a blue {shape} on white snow", seed, side=256)
        small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
        assert judge.judge_shape(judge.color_mask(small, "blue", "snow"))[0] == shape
        assert judge.judge_ground(small) == "snow"


@pytest.mark.slow
def test_the_large_model_sees_a_word_where_its_thing_is():
    patcher, clip, vae = LoadDemoModel.execute(size="large").result
    thing = world.Thing("red", "circle", 0.4, 0.55, 0.22)
    picture = torch.tensor(world.render(world.Scene("grass", (thing,)), 256, 256))[None] / 255
    ((embedding, options),) = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle on green grass"))
    conditioning = [[embedding, {**options, TOKENS: tokenize_prompt(clip, "a red circle on green grass")}]]
    source = invert(
        patcher, conditioning, vae.encode(picture), sigmas=inversion_sigmas(patcher, OFFICIAL, 4), disable_pbar=True
    )
    mask, truth = (
        source_mask(source, None, "red", AUTOMATIC, None)[0] > 0,
        torch.tensor(world.thing_mask(thing, 256, 256) > 0),
    )
    assert (mask & truth).sum() > 0.9 * truth.sum() and (mask & truth).sum() > 0.35 * (mask | truth).sum()


def test_lora_changes_the_picture_and_leaves_the_model_alone(loaded):
    patcher, clip, _ = loaded
    before = generate(loaded, "a red circle on green grass")
    keys = comfy.lora.model_lora_keys_unet(patcher.model, {})
    name = next(name for name in sorted(keys) if name.startswith("lora_unet_") and name.endswith("attn2_to_v"))
    weight = patcher.model.state_dict()[keys[name]]
    generator = torch.Generator().manual_seed(0)
    lora = {
        f"{name}.lora_up.weight": torch.randn(weight.shape[0], 4, generator=generator),
        f"{name}.lora_down.weight": torch.randn(4, weight.shape[1], generator=generator),
    }
    patched, _ = comfy.sd.load_lora_for_models(patcher, clip, lora, 1.0, 0.0)
    assert not np.array_equal(generate(loaded, "a red circle on green grass", model_patcher=patched), before)
    assert np.array_equal(generate(loaded, "a red circle on green grass"), before)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Load Demo Model: the weights file weights.safetensors is not in .*;"):
        model.load_demo_model(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("damage", ["git lfs pointer", "truncated", "another model"])
def test_damaged_weights_are_refused(tmp_path, damage):
    path = tmp_path / "weights.safetensors"
    if damage == "git lfs pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 22421990\n")
    elif damage == "truncated":
        path.write_bytes(model.WEIGHTS.read_bytes()[:1_000_000])
    else:
        save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="Load Demo Model: .*weights.safetensors .* is not the demo model's weights"):
        model.load_demo_model(path)


# ---- the world ----


def test_world_draws_the_same_picture_for_a_seed():
    """The mean colour was recorded from the code that drew the training pictures."""
    scene = world.random_scene(np.random.default_rng(7))
    assert world.caption(scene) == "a mosaic of a pink star and a yellow square in a dark night sky"
    np.testing.assert_allclose(world.render(scene).mean((0, 1)), [44.263, 39.490, 50.036], atol=0.01)


def test_edited_clip_moves_as_the_original():
    scene = world.Scene("snow", (world.Thing("red", "circle", 0.5, 0.5, 0.2),), ground_seed=3)
    edited = replace(scene, things=(replace(scene.things[0], color="blue", shape="star"),))
    for before, after in zip(world.video(scene, 4, seed=1), world.video(edited, 4, seed=1)):
        assert replace(after, things=before.things) == before
        assert replace(after.things[0], color="red", shape="circle") == before.things[0]
        outside = np.maximum(world.thing_mask(before.things[0]), world.thing_mask(after.things[0])) == 0
        assert np.array_equal(world.render(before)[outside], world.render(after)[outside])


def test_pictures_of_other_sizes():
    scene = world.Scene("grass", (world.Thing("red", "square", 0.5, 0.5, 0.25),), style="mosaic")
    assert world.render(scene, 128, 192).shape == (128, 192, 3)
    mask = world.thing_mask(scene.things[0], 128, 192)
    rows, columns = np.nonzero(mask > 0.5)
    assert mask.shape == (128, 192)
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1
    assert abs(columns.mean() - 95.5) <= 1


@pytest.mark.parametrize("style", world.STYLES)
@pytest.mark.parametrize("ground", world.GROUNDS)
def test_a_scene_looks_the_same_at_twice_the_size(ground, style):
    scene = world.Scene(ground, (world.Thing("pink", "star", 0.4, 0.55, 0.2, 0.2),), style, ground_seed=4, shift=5)
    large = world.render(scene, 256, 256)
    reduced = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)
    assert np.square(reduced - world.render(scene)).mean() < 0.25 * np.square(reduced - reduced.mean((0, 1))).mean()


def test_edges_are_smooth_at_twice_the_size():
    """A pixel on the edge of a turned square shows how much of it the square covers."""
    scene = world.Scene("snow", (world.Thing("black", "square", 0.5, 0.5, 0.25, 0.3),))
    gray = world.render(scene, 256, 256).mean(2)
    between = gray[(gray > 50) & (gray < 200)]
    assert len(between) > 200 and len(np.unique(between.round())) > 50


def test_unknown_shape_and_ground_are_named():
    with pytest.raises(ValueError, match="the shape is 'moon', but only circle, .* can be drawn"):
        world.outline("moon")
    with pytest.raises(ValueError, match="the ground is 'lava', but only grass, .* can be drawn"):
        world.ground_image("lava", 0, 0)


def test_judge_knows_true_pictures():
    for shape in world.SHAPES:
        scene = world.Scene("water", (world.Thing("pink", shape, 0.45, 0.55, 0.2, 0.15),))
        picture = world.render(scene)
        assert judge.judge_ground(picture) == "water"
        assert judge.judge_color(picture, "water") == "pink"
        assert judge.judge_shape(judge.color_mask(picture, "pink", "water"))[0] == shape


def test_judge_counts_the_things_of_a_pair():
    red_star, red_cross, blue_star = (
        world.Thing(color, shape, x, 0.5, 0.2)
        for color, shape, x in (("red", "star", 0.27), ("red", "cross", 0.73), ("blue", "star", 0.73))
    )
    for things in ((red_star, red_cross), (red_star, blue_star), (red_star,)):
        found = judge.judge_things(world.render(world.Scene("snow", things)), "snow")
        assert sorted(found) == sorted((thing.color, thing.shape) for thing in things)
