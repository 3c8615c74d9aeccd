"""Wan 2.2 5B: 48 channels of latent, cells of 16 pixels, and a timestep for each latent frame."""

import comfy.samplers
import pytest
import torch

from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, INPUT_MASK
from fatezero_pack.fatezero.network.transformer.families import require_family
from fatezero_pack.fatezero.network.transformer.row_by_row import install
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.reconstruction import reconstruct
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.coupled_sampler import CoupledEditSampler
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative
from tiny_video_models import wan_5b

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
FRAMES = {17: 5, 33: 9}  # of the clip, and of its latent


@pytest.fixture(scope="module")
def model():
    return wan_5b()


def clip_latent(frames):
    random = torch.randn(1, 48, frames, 4, 6, generator=torch.Generator().manual_seed(3))
    return 3 * torch.nn.functional.avg_pool3d(random, 3, 1, 1)


@pytest.fixture(params=FRAMES.values(), ids=FRAMES.keys())
def latent(request):
    return clip_latent(request.param)


@pytest.fixture
def coupled(model, t5_tokens, t5_prompt):
    """coupled(latent, target, **settings): the edited latent, from the node."""

    def run(latent, target=TARGET, **settings):
        given = {"steps": 3, "cfg": 1.0, "scheduler": "simple", "seed": 0, "cross_until": 1.0, "self_until": 1.0}
        given |= {"skip": 0.0, "drift": 0.0, **settings}
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        clip = {"samples": latent} if isinstance(latent, torch.Tensor) else latent
        wires = edit, t5_prompt(SOURCE), t5_prompt(target), t5_prompt(SOURCE), clip
        return CoupledEditSampler.execute(model, *wires, **given).args[0]["samples"]

    return run


def test_a_clip_is_edited_by_coupled_sampling(coupled, latent):
    assert relative(coupled(latent, SOURCE), latent) < 1e-5, "the same prompt gives the clip back"
    edited = coupled(latent)
    assert edited.shape == latent.shape and relative(edited, latent) > 1e-2
    assert relative(coupled(latent, cross_until=0.0), edited) > 1e-3
    mask = torch.zeros(1 + 4 * (latent.shape[2] - 1), 64, 96)
    mask[5:, :, 48:] = 1
    masked = coupled(latent, mask=mask)
    assert relative(masked[:, :, :2], latent[:, :, :2]) < 1e-6
    assert relative(masked[..., :3], latent[..., :3]) < 1e-6
    assert relative(masked[:, :, 2:, :, 3:], latent[:, :, 2:, :, 3:]) > 1e-2
    assert 0 < float((coupled(latent, mask_from="words", mask_threshold=0.9) == latent).float().mean()) < 1


def test_a_clip_is_inverted_and_edited(model, t5_tokens, t5_prompt, latent):
    given = {"model": model, "source": t5_prompt(SOURCE), "latent": {"samples": latent}, "steps": 3}
    run = Invert.execute(**given, schedule="DDIM (official)", report_error=True).args[1]
    frames = 1 + 4 * (latent.shape[2] - 1)
    assert (run.cell.pixels, run.cell.frames, run.clip_frames) == (16, 4, frames)
    assert f"{frames} frames of 96x64, 3 steps" in str(run)
    assert run.word_maps.shape[1] == latent.shape[2] and run.word_maps.shape[-2:] == (2, 3)

    def edited(target, **preset):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        settings = {"preset": {"preset": "attribute", "mask_from": "off", "latent_blend": False, **preset}}
        wires = model, run, edit, t5_prompt(target), t5_prompt("snow")
        settings |= {"cfg": 1.0, "attention_from": FAST_RECONSTRUCTION, "mask": torch.zeros(frames, 64, 96)}
        return AttentionBlendSampler.execute(*wires, **settings).args[0]["samples"]

    assert relative(edited(SOURCE), reconstruct(model, run, disable_pbar=True)) < 1e-5
    assert relative(edited(TARGET), edited(SOURCE)) > 1e-3
    held = edited(TARGET, mask_from=INPUT_MASK, latent_blend=True, latent_from=0.0, latent_until=1.0)
    assert relative(held, edited(SOURCE)) < 1e-4, "nothing changes where the mask is black"


def test_a_timestep_for_each_latent_frame_passes_our_blocks(model, t5_prompt):
    """As ComfyUI gives them where a clip's first frame is a picture: its timestep is 0."""
    latent, seen = clip_latent(9), set()
    mask = torch.ones_like(latent)
    mask[:, :, :1] = 0

    def attend(kind, block, query, key, value, attention, mask):
        return attention(query, key, value, mask)

    def watched(args, extra):
        seen.add(tuple(args["vec"].shape[:2]))
        return extra["original_block"](args)

    class InRows(comfy.samplers.CFGGuider):
        def outer_sample(self, *args, **named):
            options = self.model_options["transformer_options"]
            install(options, model.model.diffusion_model, require_family(model), lambda row: False, attend)
            return super().outer_sample(*args, **named)

    def sampled(kind):
        patched = model.clone()
        patched.set_model_patch_replace(watched, "dit", "double_block", 1)
        guider = kind(patched)
        guider.set_conds(t5_prompt(TARGET), t5_prompt(SOURCE))
        guider.set_cfg(3.0)
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        sigmas = torch.tensor([1.0, 0.7, 0.0])
        return guider.sample(noise, latent, comfy.samplers.ksampler("euler"), sigmas, mask, disable_pbar=True, seed=0)

    assert relative(sampled(InRows), sampled(comfy.samplers.CFGGuider)) < 1e-5
    assert seen == {(1, 9), (2, 9)}, "a row of ours alone, both rows at once in ComfyUI"


def test_the_latent_of_a_first_frame_is_refused(coupled):
    """That of Wan22ImageToVideoLatent holds one picture and no clip."""
    with pytest.raises(Refusal, match="Coupled Edit Sampler: 'latent' has a noise mask, which is not used here"):
        coupled({"samples": clip_latent(9), "noise_mask": torch.ones(1, 1, 9, 4, 6)})
