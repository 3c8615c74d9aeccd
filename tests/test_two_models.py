"""Wan 2.2 14B's two models in DDIM Invert and the Attention Blend nodes, on two small Wans with random weights."""

import re

import comfy.latent_formats
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3

from fatezero_pack.fatezero.edit.settings import FAST_RECONSTRUCTION, INPUT_MASK
from fatezero_pack.fatezero.edit.stages import UNKNOWN_STEPS
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.latent_cell import frames_first
from fatezero_pack.fatezero.source.reconstruction import inverted_noise, reconstruct, reconstruction_error
from fatezero_pack.fatezero.source.source_document import read_low_noise
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, UNI_INV
from fatezero_pack.fatezero.source.video_inversion import invert_video
from fatezero_pack.fatezero.tensor_file import DefectiveFile
from fatezero_pack.nodes import attention_blend, invert
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.attention_mask import AttentionMask
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.source_load import LoadSourceRun
from golden_unet import relative
from nodes import KSamplerAdvanced
from tiny_video_models import ltx, two_wans, wan

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
STEPS, BOUNDARY = 6, 0.875
FREE = {"preset": "attribute", "self_until": 0.0, "cross_until": 0.0, "mask_from": "off", "latent_blend": False}
FUSED = {**FREE, "self_until": 1.0, "cross_until": 1.0}


@pytest.fixture(scope="module")
def pair():
    return two_wans()


@pytest.fixture(scope="module")
def high(pair):
    return pair[0]


@pytest.fixture(scope="module")
def low(pair):
    return pair[1]


@pytest.fixture(scope="module")
def inverted(latent, t5_prompt):
    """inverted(model, low_noise_model, **options): the outputs of DDIM Invert."""

    def make(model, low_noise_model=None, prompt=None, **options):
        given = {"model": model, "source": prompt or t5_prompt(SOURCE), "latent": {"samples": latent}, "steps": STEPS}
        given |= {"schedule": "simple", "low_noise_model": low_noise_model, **options}
        return Invert.execute(**given).args

    return make


@pytest.fixture(scope="module")
def run(high, low, inverted):
    return inverted(high, low)[1]


@pytest.fixture(scope="module")
def edited(high, low, run, t5_tokens, t5_prompt):
    """edited(target, preset, source, model, low_noise_model, cfg): the latent of Attention Blend Sampler."""

    def make(target=TARGET, preset=FREE, source=run, model=high, low_noise_model=low, cfg=1.0, **options):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        wires = model, source, edit, t5_prompt(target), t5_prompt("snow"), cfg, preset
        return AttentionBlendSampler.execute(*wires, low_noise_model=low_noise_model, **options).args[0]["samples"]

    return make


@pytest.fixture(scope="module")
def blended(high, low, run, t5_tokens):
    """blended(target, preset): both MODELs of Attention Blend."""

    def make(target=TARGET, preset=FUSED, **options):
        edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(target))
        return AttentionBlend.execute(high, run, edit, preset, low_noise_model=low, **options).args

    return make


@pytest.fixture
def stage(t5_prompt):
    """stage(model, latent, first, last, target, steps): the latent of KSampler (Advanced)."""

    def make(model, latent, first, last, target=TARGET, steps=STEPS, noise="disable"):
        settings = noise, 7, steps, 1.0, "euler", "simple"
        wires = t5_prompt(target), t5_prompt("snow"), {"samples": latent}
        left = "disable" if last == steps else "enable"
        return KSamplerAdvanced().sample(model, *settings, *wires, first, last, left)[0]["samples"]

    return make


@pytest.mark.parametrize("label", [UNI_INV, CURRENT_LABEL])
def test_each_step_of_the_inversion_is_made_by_its_model(high, low, latent, t5_prompt, label):
    """By hand: every step by a call of the one model or of the other, whichever makes it on the way down."""
    sigmas = torch.tensor([0, 0.3, 0.6, 0.86, 0.9, 0.96, 1.0])
    options = {"sigmas": sigmas, "label": label, "disable_pbar": True}
    run = invert_video(high, t5_prompt(SOURCE), latent, **options, low_noise_model=low, boundary=BOUNDARY)
    assert run.stages == [range(3), range(3, 6)], "0.86 is below the boundary"
    asked = []

    class ByHand(comfy.samplers.Sampler):
        def __init__(self, x, sigma):
            self.x, self.sigma = x, sigma

        def sample(self, wrap, sigmas, extra, callback, noise, latent_image=None, *rest, **named):
            asked.append((self.x - wrap(self.x, self.x.new_full((1,), self.sigma), **extra)) / self.sigma)
            return latent_image

    def velocity(model, x, sigma):
        guider = comfy.samplers.CFGGuider(model)
        guider.inner_set_conds({"positive": t5_prompt(SOURCE)})
        sampler = ByHand(x, max(sigma, float(model.get_model_object("model_sampling").sigma_min)))
        guider.sample(torch.zeros_like(latent), latent, sampler, sigmas, disable_pbar=True, seed=0)
        return asked[-1]

    levels, x = sigmas.tolist(), high.model.process_latent_in(latent)
    v = None
    for i, (sigma, following) in enumerate(zip(levels, levels[1:])):
        model = low if i < 3 else high
        if label == UNI_INV:
            v = velocity(model, x, sigma) if v is None else v
            v = velocity(model, x + (following - sigma) * v, following)
        else:
            v = velocity(model, x, sigma)
        x = x + (following - sigma) * v
        assert relative(run.trajectory[i + 1], frames_first(x)) < 1e-5, i
    for alone in (high, low):
        other = invert_video(alone, t5_prompt(SOURCE), latent, **options)
        assert relative(other.trajectory[-1], run.trajectory[-1]) > 1e-3


def test_the_same_model_twice_is_that_model_alone(high, inverted, edited):
    alone, *_ = inverted(high)[1:]
    noise, twice, _, report = inverted(high, wan())
    assert relative(twice.trajectory, alone.trajectory) < 1e-5 and relative(twice.word_maps, alone.word_maps) < 1e-5
    assert "! 'low noise model' is the same as 'model'" in report
    pair = edited(preset=FUSED, source=twice, low_noise_model=wan())
    assert relative(pair, edited(preset=FUSED, source=alone, low_noise_model=None)) < 1e-5
    assert twice.trajectory.shape[0] == STEPS + 1 and noise["samples"].shape[2] == 3


def test_a_boundary_at_an_end_leaves_one_model(high, low, inverted):
    for boundary, alone, said in ((0.0, high, "'low noise model' takes no step"), (1.0, None, None)):
        _, run, _, report = inverted(high, low, boundary=boundary)
        if alone is not None:
            assert relative(run.trajectory, inverted(alone)[1].trajectory) < 1e-5 and said in report
        else:
            assert run.stages == [range(1), range(1, STEPS)], "the level 1 is the model's for high noise"


def test_the_same_prompt_is_the_reconstruction(high, low, latent, run, edited, t5_prompt):
    drawn = reconstruct(high, run, disable_pbar=True, low_noise_model=low)
    assert relative(edited(SOURCE), drawn) < 1e-5
    assert relative(edited(SOURCE, FUSED, attention_from=FAST_RECONSTRUCTION), drawn) < 1e-5
    assert relative(edited(), drawn) > 1e-3 and relative(edited(preset=FUSED), edited()) > 1e-3
    sigmas = torch.linspace(0, 1, 17)
    options = {"sigmas": sigmas, "refinement": 20, "disable_pbar": True, "low_noise_model": low, "boundary": 0.6}
    exact = invert_video(high, t5_prompt(SOURCE), latent, **options)
    assert relative(reconstruct(high, exact, disable_pbar=True, low_noise_model=low), latent) < 1e-4
    for preset in (FREE, FUSED):
        assert relative(edited(SOURCE, preset, source=exact), latent) < 1e-4


def test_two_ksamplers_make_the_edit_of_the_node(run, blended, edited, stage, latent, t5_prompt, monkeypatch):
    told = []
    monkeypatch.setattr(attention_blend, "show_text", lambda _, text: told.append(text))
    change = run.stages[0].stop
    assert 0 < change < STEPS
    for options in ({}, {"attention_from": FAST_RECONSTRUCTION}):
        models, expected = blended(**options), edited(preset=FUSED, **options)
        for noise in ("disable", "enable"):
            begun = stage(models[0], latent if noise == "enable" else _noise(run, models[0]), 0, change, noise=noise)
            assert told[-1].startswith(f"steps of 'model':\n{change} of {STEPS} steps, 2 rows each")
            assert relative(stage(models[1], begun, change, STEPS), expected) < 1e-5
            both = (
                f"steps of 'model':\n{change} of {STEPS} .*\nsteps of 'low noise model':\n{STEPS - change} of {STEPS} "
            )
            assert re.match(both, told[-1], re.S) and UNKNOWN_STEPS not in told[-1]
    middle = stage(models[1], stage(models[0], _noise(run, models[0]), 0, change), change, change + 1)
    assert relative(stage(models[1], middle, change + 1, STEPS), expected) < 1e-5, "three stages"


def _noise(run, model):
    return inverted_noise(model, run)


def test_a_second_attention_blend_is_told_of_either_model(high, low, run, blended, stage, t5_tokens, monkeypatch):
    told = []
    monkeypatch.setattr(attention_blend, "show_text", lambda _, text: told.append(text))
    first, second = blended()
    edit = make_prompt_edit(t5_tokens(SOURCE), t5_tokens(TARGET))
    for models, named in (((first, low), ["model"]), ((high, second), ["low noise model"]), ((high, low), [])):
        again = AttentionBlend.execute(models[0], run, edit, FUSED, low_noise_model=models[1]).args[0]
        stage(again, _noise(run, again), 0, run.stages[0].stop)
        assert re.findall("^! '(.*)' carries another Attention Blend", told[-1], re.M) == named


def test_steps_of_the_other_model_are_refused(run, blended, stage):
    change, (first, second) = run.stages[0].stop, blended()
    where = f"let 'model' end and 'low noise model' begin at sigma 0.875, which is step {change} of {STEPS}"
    with pytest.raises(Refusal, match=f"^Attention Blend: 'model' makes steps that the other .*{where}"):
        stage(first, _noise(run, first), 0, STEPS)
    with pytest.raises(Refusal, match=f"^Attention Blend: 'low noise model' makes steps that the .*{where}"):
        stage(second, stage(first, _noise(run, first), 0, change - 1), change - 1, STEPS)


def test_masks_and_words_hold_what_is_outside(run, edited, latent):
    mask = torch.zeros(run.clip_frames, 64, 80)
    mask[..., 40:] = 1
    preset = {**FREE, "mask_from": INPUT_MASK, "latent_blend": True, "latent_from": 0.0, "latent_until": 1.0}
    kept = edited(preset=preset, mask=mask)
    assert relative(kept[..., :5], latent[..., :5]) < 1e-5 and relative(kept[..., 5:], latent[..., 5:]) > 1e-2
    shown, _ = AttentionMask.execute(run, "circle", 0.95, "average of all steps", 0, 0, 0).args
    assert shown.shape == mask.shape and 0 < shown.mean() < 1
    assert relative(edited(cfg=3.0), edited()) > 1e-3


def test_files_hold_it_and_the_models_are_told_apart(tmp_path, monkeypatch, high, low, run, inverted, edited):
    path = str(tmp_path / "pair.safetensors")
    write_source(path, run)
    read = read_source(path)
    assert (read.version, read.low_noise, read.stages) == (4, run.low_noise, run.stages)
    assert torch.equal(edited(preset=FUSED, source=read), edited(preset=FUSED))
    monkeypatch.setattr("fatezero_pack.nodes.source_load.input_path", lambda file: path)
    for changed in ({"boundary": 1.5}, {"boundary": "low"}, {"fingerprint": None}):
        with pytest.raises(DefectiveFile, match="its '(low_noise|boundary|fingerprint)' is wrong"):
            read_low_noise({"version": 4, "low_noise": {"fingerprint": "known", "boundary": 0.875, **changed}})
    report = LoadSourceRun.execute(high, "pair.safetensors", low).args[3]
    assert f"two models: the one for low noise takes {len(run.stages[1])} steps, below sigma 0.875" in report
    third, alone = wan(), inverted(high)[1]
    for parameter in third.model.diffusion_model.parameters():
        parameter.data = parameter.data * 0.9
    missing = "the source was inverted with two models, but 'low noise model' is not connected; connect the model"
    for model, second, source, said in (
        (high, None, run, missing),
        (high, low, alone, "'low noise model' is connected, but the source was inverted with one model; disconnect"),
        (low, high, run, "'model' is the one that the source was inverted with for low noise; swap it with 'low noise"),
        (high, third, run, "'low noise model' is not the one the source was inverted with"),
        (third, low, run, "'model' is not the one the source was inverted with"),
        (high, high, run, "'low noise model' is not the one the source was inverted with"),
    ):
        with pytest.raises(Refusal, match=f"^Attention Blend Sampler: {said}"):
            edited(source=source, model=model, low_noise_model=second)
    with pytest.raises(Refusal, match=f"^Load Inverted Clip: {missing}"):
        LoadSourceRun.execute(high, "pair.safetensors")


def test_it_goes_on_where_it_stopped(high, low, latent, run, t5_prompt):
    class Stopped:
        def __init__(self, count):
            self.count, self.written = count, []

        def finished_steps(self):
            yield from zip(run.trajectory[1 : self.count + 1], run.word_maps)

        def write(self, step, latent, maps):
            self.written.append(step)

    pair = {"low_noise_model": low, "boundary": BOUNDARY}
    for count in range(STEPS + 1):
        stopped = Stopped(count)
        options = {"sigmas": run.sigmas, "disable_pbar": True, "unfinished": stopped}
        again = invert_video(high, t5_prompt(SOURCE), latent, **options, **pair)
        assert stopped.written == list(range(count, STEPS)) and relative(again.trajectory, run.trajectory) < 1e-5


def test_a_session_finds_it_again_by_both_models(high, low, run, inverted):
    _, again, _, report = [inverted(high, low, report_error=True) for _ in range(2)][1]
    assert "found again" in report and torch.equal(again.trajectory, run.trajectory)
    drawn = reconstruct(high, run, disable_pbar=True, low_noise_model=low)
    assert f"reconstruction error without guidance: {reconstruction_error(high, run, drawn):.2%}" in report
    for changed in ({"boundary": 0.5}, {"low_noise_model": high}):
        assert "found again" not in inverted(high, **{"low_noise_model": low, **changed})[3]


def test_what_is_no_pair_is_refused(high, low, latent, inverted, edited, t5_prompt):
    with pytest.raises(Refusal, match="'low noise model' is a LTXV, 'model' a WAN21; connect the two models of one"):
        inverted(high, ltx())
    others = wan()
    others.model.latent_format = comfy.latent_formats.Wan22()
    with pytest.raises(
        Refusal, match="'low noise model' works on latents of Wan22, 'model' on those of Wan21; connect"
    ):
        inverted(high, others)
    half = wan()
    half.cached_patcher_init = (None, ("/models/wan2.2_t2v_high_noise_14B_fp8.safetensors", {}))
    with pytest.raises(Refusal, match="'model' is wan2.2_t2v_high_noise_14B.*connect the one for high noise"):
        inverted(half)
    inverted(half, low)
    other_half = wan()
    other_half.cached_patcher_init = (None, ("/models/wan2.2_t2v_low_noise_14B_fp8.safetensors", {}))
    with pytest.raises(Refusal, match="'model' is .*low_noise.* and 'low noise model' .*high_noise.*; swap them"):
        inverted(other_half, half)
    with pytest.raises(Refusal, match="'latent' is empty, all zeros; connect your clip through VAE Encode"):
        inverted(high, low, latent={"samples": torch.zeros_like(latent)})
    windows = low.clone()
    windows.model_options["context_handler"] = object()
    with pytest.raises(Refusal, match="'low noise model' has context windows"):
        inverted(high, windows)


def test_unlike_shifts_are_said_before_the_first_step(high, low, inverted, monkeypatch):
    """The steps are those of the first model; two KSamplers would each have their own."""
    (shifted,) = ModelSamplingSD3().patch(low, 8.0 / 3)
    told, doubt = [], "! 'model' has shift 8 and 'low noise model' 2.66667; the steps are those of 'model' here"
    monkeypatch.setattr(invert, "show_text", lambda _, text: told.append(text))
    assert doubt in inverted(high, shifted, boundary=0.8)[3] and doubt in told[0]
    assert "shift" not in inverted(high, low, boundary=0.8)[3]


def test_nothing_stays_on_the_models(high, low, run, edited, t5_prompt):
    before = str(high.model_options), str(low.model_options)
    broken = low.clone()

    def fail(*_, **__):
        raise RuntimeError("in the middle")

    broken.model_options["model_function_wrapper"] = fail
    with pytest.raises(RuntimeError):
        edited(preset=FUSED, low_noise_model=broken)
    assert torch.equal(edited(preset=FUSED), edited(preset=FUSED))
    assert (str(high.model_options), str(low.model_options)) == before
