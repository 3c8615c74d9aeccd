"""Wan 2.2 14B's two models for image to video, in small and of random weights: each row sees its own first frame."""

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_wan import WanImageToVideo

from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, INVERSION
from fatezero_pack.fatezero.network.transformer.check import picture_note
from fatezero_pack.fatezero.network.transformer.two_models import pair_notes
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.reconstruction import denoise_by, reconstruct
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.shared.made_by import read_mark
from golden_unet import relative
from tiny_video_models import two_wans, wan

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
STEPS, BOUNDARY = 6, 0.9
FREE = {"preset": "attribute", "self_until": 0.0, "cross_until": 0.0, "mask_from": "off", "latent_blend": False}
FUSED = {**FREE, "self_until": 1.0, "cross_until": 1.0}
NOTE = "! 'model' is for image to video, but was given no picture; pass source conditioning, positive and negative"


class PictureVAE:
    """Encodes frames of 64x80 as their means, 4 frames a latent frame, as Wan's VAE shapes them."""

    def encode(self, frames):
        means = torch.nn.functional.avg_pool2d(frames.movedim(-1, 1), 8)
        groups = [means[:1], *means[1:].split(4)]
        latent = torch.stack([group.mean(dim=(0, 1)) for group in groups])
        return latent[None, None].expand(1, 16, -1, -1, -1) * torch.linspace(-3, 3, 16).view(1, -1, 1, 1, 1)


@pytest.fixture(scope="module")
def pair():
    """Both read a picture beside the latent, in text to video's form: Wan 2.2's have no CLIP vision."""
    return two_wans(in_dim=36)


@pytest.fixture(scope="module")
def shown(t5_prompt):
    """shown(text, grey): the prompt after WanImageToVideo with a first frame of that grey, and the negative one."""

    def make(text, grey):
        wires = t5_prompt(text), t5_prompt("snow"), PictureVAE(), 80, 64, 9, 1
        return WanImageToVideo.execute(*wires, start_image=torch.full((1, 64, 80, 3), grey)).args[:2]

    return make


@pytest.fixture(scope="module")
def inverted(pair, latent):
    """inverted(source): the outputs of DDIM Invert."""

    def make(source, model=pair[0], low_noise_model=pair[1]):
        given = model, source, {"samples": latent}, STEPS, "simple"
        return Invert.execute(*given, low_noise_model=low_noise_model, boundary=BOUNDARY).args

    return make


@pytest.fixture(scope="module")
def run(inverted, shown):
    return inverted(shown(SOURCE, 0.2)[0])[1]


@pytest.fixture(scope="module")
def edited(pair, run, t5_tokens):
    """edited(target, (positive, negative), preset, source, cfg): the latent of Attention Blend Sampler."""

    def make(target, prompts, preset=FREE, source=run, cfg=1.0, **options):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        wires = pair[0], source, edit, *prompts, cfg, preset
        return AttentionBlendSampler.execute(*wires, low_noise_model=pair[1], **options).args[0]["samples"]

    return make


@pytest.fixture(scope="module")
def coupled(pair, latent, t5_tokens):
    """coupled(target, source, (positive, negative)): the LATENT of Coupled Edit Sampler."""

    def make(target, source, prompts, cfg=1.0):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        wires = pair[0], edit, source, *prompts, {"samples": latent}, STEPS, cfg, "simple", 4
        options = {"cross_until": 1.0, "self_until": 0.0, "skip": 0.0, "drift": 0.0}
        second = {"low_noise_model": pair[1], "boundary": BOUNDARY}
        return CoupledEditSampler.execute(*wires, **second, **options).args[0]

    return make


def test_the_same_prompt_and_picture_are_the_clip(pair, latent, run, edited, coupled, shown):
    drawn = reconstruct(pair[0], run, disable_pbar=True, low_noise_model=pair[1])
    for preset, attention_from in ((FREE, INVERSION), (FUSED, FAST_RECONSTRUCTION)):
        assert relative(edited(SOURCE, shown(SOURCE, 0.2), preset, attention_from=attention_from), drawn) < 1e-5
    source, negative = shown(SOURCE, 0.2)
    assert relative(coupled(SOURCE, source, (source, negative))["samples"], latent) < 1e-5


def test_each_row_sees_its_own_first_frame(pair, run, edited, coupled, shown):
    """The edit is what ComfyUI's own sampling makes of the target and its picture; the clip's row keeps the clip's."""
    new = shown(SOURCE, 0.9)
    guiders = []
    for model in pair:
        guiders.append(comfy.samplers.CFGGuider(model))
        guiders[-1].set_conds(*new)
        guiders[-1].set_cfg(1.0)
    plain = denoise_by(guiders, run, comfy.samplers.ksampler("euler"), disable_pbar=True)
    of_new = edited(SOURCE, new)
    assert relative(of_new, plain) < 1e-5 and relative(of_new, edited(SOURCE, shown(SOURCE, 0.2))) > 1e-3
    assert relative(edited(SOURCE, new, FUSED), of_new) > 1e-3, "fused with the clip's row, of another picture"
    both = [coupled(SOURCE, shown(SOURCE, 0.2)[0], prompts)["samples"] for prompts in (new, shown(SOURCE, 0.2))]
    assert relative(*both) > 1e-3


def test_a_file_holds_the_picture(tmp_path, run, edited, shown):
    path = str(tmp_path / "pair.safetensors")
    write_source(path, run)
    again = read_source(path)
    assert torch.equal(again.conditioning[0][1]["concat_latent_image"], run.conditioning[0][1]["concat_latent_image"])
    prompts = shown(TARGET, 0.2)
    assert torch.equal(edited(TARGET, prompts, FUSED, again), edited(TARGET, prompts, FUSED))


def test_a_picture_that_some_lack_is_refused_or_said(pair, latent, inverted, edited, coupled, shown, t5_prompt):
    prompts = shown(TARGET, 0.2)
    with pytest.raises(Refusal, match="'negative' was not given the picture.* such as WanImageToVideo"):
        edited(TARGET, (prompts[0], t5_prompt("snow")), cfg=2.0)
    for sample in (edited, lambda target, both: coupled(target, shown(SOURCE, 0.2)[0], both)):
        with pytest.raises(Refusal, match="'positive' was not given the picture.* such as WanImageToVideo"):
            sample(TARGET, (t5_prompt(TARGET), t5_prompt("snow")))
    assert NOTE in inverted(t5_prompt(SOURCE))[3] and "picture" not in inverted(shown(SOURCE, 0.2)[0])[3]
    plain = [t5_prompt(text) for text in (SOURCE, TARGET, "snow")]
    told = read_mark(coupled(TARGET, plain[0], plain[1:]))[2]
    assert NOTE in told and f"takes {STEPS - 3} steps, below sigma 0.9\n" in told
    assert picture_note(wan(), t5_prompt(SOURCE)) is None, "a model for text to video needs none"


def test_a_pair_of_two_kinds_is_said(pair):
    of_text = two_wans()
    for high, low, names in (
        (pair[0], of_text[1], "'model' is for image to video and 'low noise model' is not"),
        (of_text[0], pair[1], "'low noise model' is for image to video and 'model' is not"),
    ):
        assert pair_notes(high, low) == [f"! {names}; connect two of one kind"]
    assert pair_notes(*pair) == []
