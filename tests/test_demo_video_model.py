"""The built-in video model: ComfyUI's own classes, follows its words, and edits clips by coupled sampling."""

import comfy.ldm.wan.model
import comfy.model_patcher
import comfy.sample
import comfy.sd
import numpy as np
import pytest
import torch

from fatezero_pack.demo import pixel_judge as judge
from fatezero_pack.demo import video_model, world
from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.demo.stacked_frames import stack_frames, unstack_frames
from fatezero_pack.fatezero.edit.transformer.coupled_check import check_embeddings
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.inversion_check import check_inversion
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.demo_video_model import LoadDemoVideoModel
from fatezero_pack.nodes.edit_prompts import EditPrompts

SQUARE = world.Scene("snow", (world.Thing("blue", "square", 0.5, 0.5, 0.22),), ground_seed=5)


@pytest.fixture(scope="module")
def loaded():
    return video_model.load_demo_video_model()


def clip_of(scene, frames):
    """IMAGE [frames, 128, 128, 3] of 0..1."""
    return torch.tensor(np.stack([world.render(moved) for moved in world.video(scene, frames, 3)])) / 255


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def pictures(vae, latent):
    """uint8 [n, 128, 128, 3] of a clip's latent."""
    return (vae.decode(latent)[0].float().clamp(0, 1) * 255).round().byte().numpy()


def psnr(a, b):
    return float(-10 * (a.float() - b.float()).square().mean().log10())


def test_node_yields_comfyui_objects():
    patcher, clip, vae = LoadDemoVideoModel.execute().result
    assert isinstance(patcher, comfy.model_patcher.ModelPatcher)
    assert type(patcher.model.diffusion_model) is comfy.ldm.wan.model.WanModel
    assert isinstance(clip, comfy.sd.CLIP) and isinstance(vae, comfy.sd.VAE)


def test_node_description_names_every_word_of_the_world():
    description = LoadDemoVideoModel.define_schema().description
    for word in (*world.COLORS, *world.SHAPES, *world.GROUNDS.values(), *filter(None, world.STYLES)):
        assert word in description


def test_frames_are_stacked_as_wan_counts_them():
    frames = torch.arange(9.0).view(1, 9, 1, 1, 1).expand(2, 9, 4, 2, 3)
    latents = stack_frames(frames)
    assert latents.shape == (2, 16, 3, 2, 3)
    assert latents[0, ::4, :, 0, 0].T.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert torch.equal(unstack_frames(latents), frames)


def test_a_clip_comes_back_as_from_the_image_model(loaded):
    """Frame by frame; what does not fill a latent frame is left out, and tiles change little."""
    vae, clip = loaded[2], clip_of(SQUARE, 10)
    with torch.inference_mode():
        latent = vae.encode(clip)
        assert latent.shape == (1, 16, 3, 16, 16)
        image_vae = load_demo_model()[2]
        back = vae.decode(latent)[0]
        assert torch.allclose(back, image_vae.decode(image_vae.encode(clip[:9])), atol=1e-5)
        tiles = vae.decode_tiled(latent, tile_x=12, tile_y=12, overlap=4, tile_t=3, overlap_t=1)[0]
        assert tiles.shape == back.shape and psnr(tiles, back) > 22
        tiles = vae.encode_tiled(clip[:9], tile_x=96, tile_y=96, overlap=32, tile_t=8, overlap_t=4)
        assert tiles.shape == latent.shape and psnr(vae.decode(tiles)[0], back) > 25


def test_prompts_are_read_as_wan_reads_them(loaded):
    tokens = tokenize_prompt(loaded[1], "a pencil sketch of a red star on white snow, my dog")
    assert tokens.is_t5 and tokens.length == 32
    assert [word.text for word in tokens.words][:6] == ["a", "pencil", "sketch", "of", "a", "red"]
    pieces = {word.text: len(word.indices) for word in tokens.words}
    assert pieces["red"] == pieces["star"] == pieces["snow"] == 1 < pieces["pencil"]
    ((context, _),) = encode(loaded[1], "a red star on white snow")
    assert context.shape == (1, 32, 64) and not context[0, 7:].any() and context[0, :7].any(dim=1).all()


def test_weights_that_are_missing_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="Load Demo Video Model: the weights file wan.safetensors is not in .*;"
    ):
        video_model.load_demo_video_model(tmp_path / "wan.safetensors")


@pytest.fixture(scope="module")
def edited(loaded):
    """edited(target, **settings): the clip's latent and the edit's, after a few steps."""
    model, clip, vae = loaded
    with torch.inference_mode():
        latent = vae.encode(clip_of(SQUARE, 5))

    def run(target, **settings):
        source, positive, edit, *_ = EditPrompts.execute(
            clip, world.caption(SQUARE), target, mode="auto", emphasis="", mask_words="", target_mask_words="",
            windows="",
        ).result  # fmt: skip
        options = {"steps": 8, "cfg": 1.5, "scheduler": "simple", "seed": 0, "cross_until": 0.4, "self_until": 0.0}
        options |= {"skip": 0.0, "drift": 0.0, **settings}
        with torch.inference_mode():
            found = CoupledEditSampler.execute(
                model, edit, source, positive, encode(clip, ""), {"samples": latent}, **options
            )
        return latent, found.result[0]["samples"]

    return run


def test_the_same_prompt_gives_the_clip_back(edited):
    latent, same = edited(world.caption(SQUARE), cfg=1.0)
    assert (same - latent).abs().max() < 1e-4


def test_a_ground_word_changes_the_ground_and_the_thing_stays(loaded, edited):
    latent, changed = edited("a blue square on yellow sand")
    before, after = (pictures(loaded[2], samples) for samples in (latent, changed))
    for old, new in zip(before, after):
        assert judge.judge_ground(old) == "snow" and judge.judge_ground(new) == "sand"
        assert judge.judge_color(new, "sand") == "blue"
        assert judge.judge_shape(judge.color_mask(new, "blue", "sand"))[0] == "square"


@pytest.mark.parametrize("name", ["source", "positive", "negative"])
def test_a_prompt_of_a_clip_is_refused_though_it_is_as_wide(loaded, name):
    """T5 pools nothing; ComfyUI's T5 is what encodes here."""
    model, clip, vae = loaded
    _, clip_of_sd, _ = load_demo_model()
    own, clips = encode(clip, "a red circle on white snow"), encode(clip_of_sd, "a red circle on white snow")
    assert own[0][0].shape[-1] == clips[0][0].shape[-1] and own[0][1]["pooled_output"] is None
    prompts = {"source": own, "positive": own, "negative": own}
    check_embeddings(model, *prompts.values())
    check_embeddings(model, own, own, [[clips[0][0], {"pooled_output": torch.zeros(1, 64)}]])  # zeroed out
    called = {"source": "source conditioning"}.get(name, name)
    with pytest.raises(Refusal, match=f"'{called}' comes from a CLIP, but 'model' reads T5; use the model's own text"):
        check_embeddings(model, *(prompts | {name: clips}).values())
    latent = vae.encode(clip_of(SQUARE, 5))
    with pytest.raises(Refusal, match="'source conditioning' comes from a CLIP, but 'model' reads T5"):
        check_inversion(model, clips, latent)
