"""DDIM Invert + Store Attention on small Wan and LTX-Video models with random weights."""

import comfy.samplers
import pytest
import torch
from comfy.sd1_clip import SD1Tokenizer

from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.edit.settings import (
    CACHE,
    FAST_RECONSTRUCTION,
    FRESH_NOISE,
    INPUT_MASK,
    OUTLINE,
    RECONSTRUCTION,
    WORDS,
    BlendSettings,
)
from fatezero_pack.fatezero.network.inspection.model_identity import has_fingerprint
from fatezero_pack.fatezero.network.option_keys import TOKENS
from fatezero_pack.fatezero.network.transformer.families import family_of
from fatezero_pack.fatezero.null_text.null_text_check import check_null_text
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import ALWAYS, Window
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.inversion_check import check_inversion
from fatezero_pack.fatezero.source.latent_cell import Cell, as_video, frames_first
from fatezero_pack.fatezero.source.reconstruction import reconstruct, reconstruction_error
from fatezero_pack.fatezero.source.schedule import inversion_sigmas
from fatezero_pack.fatezero.source.source_file import read_source, write_source
from fatezero_pack.fatezero.source.source_run import CURRENT_LABEL, UNI_INV
from fatezero_pack.fatezero.source.video_inversion import invert_video
from fatezero_pack.fatezero.tuning.fit import require_sd
from fatezero_pack.nodes import blend_sampler as node
from fatezero_pack.nodes.attention_mask import AttentionMask
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.heat_map import AttentionHeatMap
from fatezero_pack.nodes.inflate import InflateUNet
from fatezero_pack.nodes.invert import Invert
from golden_unet import relative
from tiny_video_models import conditioning, ltx, tokenizer, wan

SOURCE, TARGET = "a red circle on green grass", "a blue square on green grass"
STEPS = 4


@pytest.fixture(scope="module")
def prompt(tmp_path_factory):
    tokens = tokenize_prompt(tokenizer(tmp_path_factory.mktemp("tokenizer")), SOURCE)
    ((embedding, options),) = conditioning(tokens)
    return [[embedding, {**options, TOKENS: tokens}]]


@pytest.fixture(scope="module")
def runs(video_model, video_latent, prompt):
    """runs(label, refinement): a source run, made once."""
    made = {}

    def run(label=UNI_INV, refinement=0):
        if (label, refinement) not in made:
            # Many small steps where it is refined: the weights are random, and of large steps nothing settles.
            sigmas = torch.linspace(0, 1, 17) if refinement else inversion_sigmas(video_model, "DDIM (official)", STEPS)
            made[label, refinement] = invert_video(
                video_model, prompt, video_latent, sigmas=sigmas, label=label, refinement=refinement, disable_pbar=True
            )
        return made[label, refinement]

    return run


def test_uni_inv_is_that_of_its_equation(video_model, video_latent, prompt, runs):
    """By hand: x' = x + (s' - s) v(x + (s' - s) v_before, s'), each velocity from a call of its own."""
    guider = comfy.samplers.CFGGuider(video_model.clone())
    guider.inner_set_conds({"positive": prompt})
    found = []

    class ByHand(comfy.samplers.Sampler):
        def sample(self, wrap, sigmas, extra, callback, noise, latent_image=None, *rest, **named):
            def velocity(x, sigma):
                return (x - wrap(x, x.new_full((1,), float(sigma)), **extra)) / sigma

            x, lowest = latent_image, video_model.get_model_object("model_sampling").sigma_min
            v = velocity(x, float(lowest))
            for s, following in zip(sigmas[:-1], sigmas[1:]):
                v = velocity(x + (following - s) * v, following)
                x = x + (following - s) * v
                found.append(x)
            return x

    guider.sample(torch.zeros_like(video_latent), video_latent, ByHand(), runs().sigmas, disable_pbar=True, seed=0)
    expected = torch.stack([frames_first(x) for x in found])
    assert runs().trajectory.shape[0] == STEPS + 1 and relative(runs().trajectory[1:], expected) < 1e-5
    assert relative(runs(CURRENT_LABEL).trajectory[-1], expected[-1]) > 1e-3, "Euler's method is another"


def test_a_refined_inversion_gives_the_clip_back(video_model, video_latent, runs):
    """Once settled, Euler's method undoes every step."""
    run = runs(refinement=20)
    assert reconstruction_error(video_model, run, reconstruct(video_model, run, disable_pbar=True)) < 1e-4
    assert relative(reconstruct(video_model, run, disable_pbar=True), video_latent) < 1e-4
    assert reconstruction_error(video_model, runs(), reconstruct(video_model, runs(), disable_pbar=True)) > 1e-3


def test_it_goes_on_where_it_stopped(video_model, video_latent, prompt, runs):
    """The velocity that Uni-Inv starts from follows from the last two latents."""

    class Stopped:
        def __init__(self, count):
            self.count, self.written = count, []

        def finished_steps(self):
            yield from zip(runs().trajectory[1 : self.count + 1], runs().word_maps)

        def write(self, step, latent, maps):
            self.written.append(step)

    for count in (1, 3):
        stopped = Stopped(count)
        run = invert_video(
            video_model, prompt, video_latent, sigmas=runs().sigmas, disable_pbar=True, unfinished=stopped
        )  # fmt: skip
        assert stopped.written == list(range(count, STEPS)) and relative(run.trajectory, runs().trajectory) < 1e-5


def test_what_is_kept_is_counted_in_latent_frames(video_model, prompt, runs):
    run, family = runs(), family_of(video_model)
    tokens = prompt[0][1][TOKENS]
    assert run.frames == 3 and run.clip_frames == 1 + 2 * family.frames_per_latent
    assert run.word_maps.shape[:3] == (STEPS, 3, tokens.end + 1) and run.word_maps.min() >= 0
    cell = 32 if run.cell.frames == 8 else 8
    assert f"{run.clip_frames} frames of {10 * cell}x{8 * cell}, {STEPS} steps" in str(run)
    assert "every frame sees all others" in str(run) and "Uni-Inv" in str(run)
    assert Cell(frames=8).latent_frames_of(2) == [0] + 8 * [1]
    assert torch.equal(as_video(frames_first(torch.arange(24.0).view(1, 2, 3, 2, 2))).flatten(), torch.arange(24.0))


def test_files_hold_it_exactly(tmp_path, video_model, runs):
    path = str(tmp_path / "wan.safetensors")
    write_source(path, runs())
    read = read_source(path)
    assert torch.equal(read.trajectory, runs().trajectory) and torch.equal(read.word_maps, runs().word_maps)
    assert (read.cell, read.label, read.version) == (runs().cell, UNI_INV, 2)
    assert read.tokens == runs().tokens and read.tokens.is_t5 and read.tokens.end == runs().tokens.end
    assert (
        relative(reconstruct(video_model, read, disable_pbar=True), reconstruct(video_model, runs(), disable_pbar=True))
        == 0
    )


def test_masks_and_heat_maps_show_each_frame_of_the_clip(video_model, runs):
    run = runs()
    width, height = (size * run.cell.pixels for size in (10, 8))
    images = torch.zeros(run.clip_frames, height, width, 3)
    mask, _ = AttentionMask.execute(run, "circle", 0.95, "average of all steps", 0, 0, 0, images=images).args
    assert mask.shape == images.shape[:3] and 0 < mask.mean() < 1
    assert torch.equal(mask[1], mask[run.cell.frames]) and torch.equal(mask[-1], mask[-2])
    shown = AttentionHeatMap.execute(run, "circle, grass", "average of all steps", 0, images=images)
    assert shown.args[0].shape == images.shape and shown.args[2].shape == images.shape[:3]


def test_the_node_inverts_and_reports(video_model, video_latent, prompt):
    given = {
        "model": video_model,
        "source": prompt,
        "latent": {"samples": video_latent},
        "steps": 3,
        "schedule": "DDIM (official)",
    }
    noise, run, sigmas, report = Invert.execute(**given, report_error=True).args
    assert noise["samples"].shape == video_latent.shape and len(sigmas) == 4 and float(sigmas[0]) == pytest.approx(1)
    assert "reconstruction error" in report and "the whole clip goes through the model at once" in report
    again = Invert.execute(**given, report_error=True)
    assert "found again" in again.args[3] and torch.equal(again.args[1].trajectory, run.trajectory)
    euler = Invert.execute(**given, evaluate_at="current label (paper)").args[1]
    assert euler.label == CURRENT_LABEL and relative(euler.trajectory[-1], run.trajectory[-1]) > 1e-3


def test_the_models_of_two_checkpoints_are_told_apart(video_model, runs):
    assert has_fingerprint(video_model, runs().fingerprint)
    other = wan() if family_of(video_model).name == "Wan" else ltx()
    for name, parameter in other.model.diffusion_model.named_parameters():
        if "norm_q" in name or "q_norm" in name:
            parameter.data = 1.1 * parameter.data
    assert not has_fingerprint(other, runs().fingerprint)


@pytest.fixture(scope="module")
def edited(video_model, prompt, runs, tmp_path_factory):
    """edited(target, cfg, run, patched, guided, **BlendSettings): the edited latent."""
    clip = tokenizer(tmp_path_factory.mktemp("edits"))
    source = prompt[0][1][TOKENS]

    def run(target=TARGET, cfg=1.0, run=None, patched=None, guided=ALWAYS, **settings):
        aimed = tokenize_prompt(clip, target)
        settings = BlendSettings(**{"self_window": Window(0, 0), "cross_window": Window(0, 0), **settings})
        return sample_edit(
            patched or video_model, run or runs(), make_prompt_edit(source, aimed), settings,
            conditioning(aimed), conditioning(tokenize_prompt(clip, "snow")), cfg, disable_pbar=True, guided=guided,
        )  # fmt: skip

    return run


ALL_FUSED = {"self_window": Window(0, 1), "cross_window": Window(0, 1)}


def test_the_same_prompt_is_the_reconstruction(video_model, edited, runs):
    """Free, and with all attention from the source that is drawn again beside it."""
    drawn = reconstruct(video_model, runs(), disable_pbar=True)
    assert relative(edited(SOURCE), drawn) < 1e-5
    assert relative(edited(SOURCE, attention_from=FAST_RECONSTRUCTION, **ALL_FUSED), drawn) < 1e-5
    refined = runs(refinement=20)
    drawn = reconstruct(video_model, refined, disable_pbar=True)
    assert relative(edited(SOURCE, run=refined, **ALL_FUSED), drawn) < 1e-4, "what was inverted, once it is exact"
    assert relative(edited(), edited(SOURCE)) > 1e-3, "another prompt is another clip"


@pytest.mark.parametrize("fused", [{"cross_window": Window(0, 1)}, {"self_window": Window(0, 1)}])
def test_fusion_is_that_of_a_coupled_edit_on_the_inverted_latents(edited, fused):
    """Rows in sequence; the fusion itself is held to stored maps in test_coupled.py."""
    free = edited()
    assert relative(edited(**fused), free) > 1e-3
    again = edited(attention_from=FAST_RECONSTRUCTION, **fused)
    assert relative(again, free) > 1e-4 and relative(again, edited(**fused)) > 1e-4, "another source"
    assert torch.equal(edited(**fused), edited(**fused))
    late = {name: Window(0.5, 1) for name in fused}
    assert relative(edited(**late), edited(**fused)) > 1e-5 and relative(edited(**late), free) > 1e-5


def test_guidance_leads_away_from_the_negative(edited):
    assert relative(edited(cfg=3.0), edited()) > 1e-3
    assert torch.equal(edited(cfg=3.0, guided=Window(0, 0)), edited()), "in the steps that it is for"
    half = edited(cfg=3.0, guided=Window(0, 0.5))
    assert relative(half, edited()) > 1e-3 and relative(half, edited(cfg=3.0)) > 1e-4


def test_masks_keep_the_source_outside(edited, video_latent, runs):
    half = torch.zeros(3, 8, 10)
    half[..., 5:] = 1
    given = {"mask_from": INPUT_MASK, "latent_window": Window(0, 1)}
    kept = edited(mask=half, **given)
    assert (
        relative(kept[..., :5], video_latent[..., :5]) < 1e-5 and relative(kept[..., 5:], video_latent[..., 5:]) > 1e-2
    )
    assert relative(edited(mask=torch.zeros(3, 8, 10), **given), video_latent) < 1e-5
    assert relative(edited(mask=torch.ones(3, 8, 10), **given), edited()) < 1e-6
    words = {"mask_from": WORDS, "threshold": 0.9, "latent_window": Window(0, 1)}
    by_words = edited(**words)
    same = ((by_words - video_latent).abs().amax(dim=1) < 1e-5).float().mean()
    assert 0 < same < 1
    fused = {"mask_from": INPUT_MASK, "self_window": Window(0, 1)}
    assert relative(edited(mask=torch.ones(3, 8, 10), **fused), edited()) < 1e-6, "inside the mask its own attention"
    assert relative(edited(mask=half, **fused), edited()) > 1e-4


def test_nothing_stays_on_the_model(video_model, edited):
    hooks = str(video_model.model_options)
    patched = video_model.clone()

    def fail(*_, **__):
        raise RuntimeError("in the middle")

    patched.model_options["model_function_wrapper"] = fail
    with pytest.raises(RuntimeError):
        edited(patched=patched)
    edited(**ALL_FUSED)
    assert str(video_model.model_options) == hooks


def blend(video_model, run, prompt, target, clip, **changes):
    aimed = tokenize_prompt(clip, target)
    edit = make_prompt_edit(prompt[0][1][TOKENS], aimed)
    given = {"cfg": 1.5, "preset": {"preset": "attribute"}, **changes}
    return AttentionBlendSampler.execute(video_model, run, edit, conditioning(aimed), conditioning(aimed), **given)


def test_the_node_edits_with_presets_and_says_what_does_not_serve(
    video_model, video_latent, prompt, runs, tmp_path, monkeypatch
):
    clip, told = tokenizer(tmp_path), []
    monkeypatch.setattr(node, "show_text", lambda _, text: told.append(text))
    made = blend(video_model, runs(), prompt, TARGET, clip, cfg=7.5)
    assert made.args[0]["samples"].shape == video_latent.shape and "rows each (clip, edit, negative)" in told[-1]
    assert "'cfg' 7.5 is high for a video model" in told[-1]
    blend(video_model, runs(), prompt, TARGET, clip, preset={"preset": "shape (as in the paper)", "latent_blend": True})
    assert "FateZero's code" in told[-1]
    to_the_edges = "does not go on to the edges"
    for mask_from, is_told in ((OUTLINE, True), (WORDS, False)):
        blend(video_model, runs(), prompt, TARGET, clip, preset={"preset": "attribute", "mask_from": mask_from})
        assert (to_the_edges in told[-1]) == is_told
    frames = runs().clip_frames
    mask = torch.ones(frames, 64, 80)
    by_mask = {"preset": {"preset": "attribute", "mask_from": INPUT_MASK}, "mask": mask}
    whole = blend(video_model, runs(), prompt, TARGET, clip, **by_mask).args[0]["samples"]
    longer = {**by_mask, "mask": torch.cat([mask, mask[:2]])}  # as the clip was before its VAE left two frames out
    assert torch.equal(blend(video_model, runs(), prompt, TARGET, clip, **longer).args[0]["samples"], whole)
    for changes, said in (
        ({"attention_from": RECONSTRUCTION}, "'attention from' is reconstruction, which a video model does not have"),
        ({"source_attention": CACHE}, "'keep attention' is cache"),
        ({"layers": "all but the finest (official code)"}, "'layers' leaves out the finest"),
        ({"preset": {"preset": "add"}, "mask": mask}, "'model' is a video model, for which there are no presets add"),
        ({"mask_noise": FRESH_NOISE, **by_mask, "mask": mask}, "'noise inside the mask' is fresh, but a video model"),
        ({**by_mask, "mask": mask[2:]}, f"'mask' has {frames - 2} frames, but of the clip the model's VAE has kept"),
    ):
        with pytest.raises(Refusal, match=f"^Attention Blend Sampler: {said}"):
            blend(video_model, runs(), prompt, TARGET, clip, **changes)
    styled = blend(video_model, runs(), prompt, TARGET, clip, preset={"preset": "style"})
    assert torch.isfinite(styled.args[0]["samples"]).all()


@pytest.mark.parametrize(
    "asked, told",
    [
        (lambda model: check_null_text(model, None, None, None), "no null text; leave this node out, and connect"),
        (require_sd, "knows motion without being tuned; leave this node out, and edit with Coupled Edit Sampler"),
        (lambda model: InflateUNet.execute(model, "all"), "frames see each other already; leave this node out"),
    ],
)
def test_nodes_for_unets_say_what_to_use_instead(video_model, asked, told):
    with pytest.raises(Refusal, match=f"'model' is {family_of(video_model).name}, a video model, .*{told}"):
        asked(video_model)


def test_prompts_of_another_text_encoder_are_refused(video_model, video_latent, prompt):
    with pytest.raises(Refusal, match="'source conditioning' has 96 channels but 'model' reads 48; use the model"):
        check_inversion(video_model, [[torch.zeros(1, prompt[0][0].shape[1], 96), {}]], video_latent)
    tokens = tokenize_prompt(SD1Tokenizer(), SOURCE)
    with pytest.raises(Refusal, match="'source conditioning' was made with a CLIP of Stable Diffusion; connect"):
        check_inversion(video_model, [[torch.zeros(1, tokens.length, 48), {TOKENS: tokens}]], video_latent)
    check_inversion(video_model, prompt, video_latent)
