"""Tuning beside what other nodes have put on the model, its prompt and its latent."""

import comfy.model_management
import comfy_extras.nodes_easycache as nodes_easycache
import comfy_extras.nodes_freelunch as nodes_freelunch
import comfy_extras.nodes_hypertile as nodes_hypertile
import comfy_extras.nodes_model_advanced as nodes_model_advanced
import comfy_extras.nodes_model_downscale as nodes_model_downscale
import comfy_extras.nodes_tomesd as nodes_tomesd
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from edit_cases import clip_latent, conditioning, prompt_edit, small_model
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.tuning.first_weights import first_state
from fatezero_pack.fatezero.tuning.layouts import TUNE_A_VIDEO
from fatezero_pack.fatezero.tuning.settings import Tuning
from fatezero_pack.fatezero.tuning.tune import tune
from fatezero_pack.fatezero.tuning.tuned_state import tuned_model, tuned_state_of
from fatezero_pack.fatezero.tuning.tuning_run import TuningRun
from fatezero_pack.nodes.tune import TuneVideoModel

CONDITIONING = conditioning(prompt_edit().source)
SETTINGS = Tuning(TUNE_A_VIDEO, 0, ("first",), steps=2, learning_rate=1e-3)


def losses_of(model, source=CONDITIONING, frames: int = 2):
    progress = tune(model, source, clip_latent(frames, 8, 8), SETTINGS)[1]
    return progress.losses, progress.watched


def started(model, frames: int = 2, embedding=CONDITIONING[0][0]) -> TuningRun:
    state = first_state(model, SETTINGS)
    working = tuned_model(model, state)
    comfy.model_management.load_models_gpu([working, *working.get_nested_additional_models()])
    return TuningRun(working, state, embedding, clip_latent(frames, 8, 8), SETTINGS)


def easy_cache(model):
    return nodes_easycache.EasyCacheNode.execute(model, 0.2, 0.0, 1.0, False).result[0]


def deep_shrink(model):
    arguments = (1, 2.0, 0.0, 1.0, True, "bicubic", "bicubic")
    return nodes_model_downscale.PatchModelAddDownscale.execute(model, *arguments).result[0]


def free_u(model):
    return nodes_freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2).result[0]


def asking_for_levels(model):
    """What finds its step among those of the sampler, as many packs' patches do."""

    def patch(query, key, value, options):
        (step,) = torch.nonzero(options["sample_sigmas"] == options["sigmas"][0])
        return query, key, value * (1 + step.to(value) / 1000)

    patched = model.clone()
    patched.set_model_attn2_patch(patch)
    return patched


def with_weights_without_gradient(model):
    """As IPAdapter: a network of its own, loaded by a node, adds to what attention gives."""
    with torch.inference_mode():
        weights = {width: torch.eye(width) for width in (32, 64, 128)}
    patched = model.clone()
    patched.set_model_attn2_output_patch(lambda out, options: out @ weights[out.shape[-1]])
    return patched


@pytest.fixture(scope="module")
def plain():
    return losses_of(small_model())


def test_nothing_is_answered_from_memory(plain):
    """EasyCache may stay on the model: a tuning needs every call."""
    assert losses_of(easy_cache(small_model())) == plain


@pytest.mark.parametrize("node", [deep_shrink, asking_for_levels])
def test_a_patch_that_asks_for_the_noise_level(plain, node):
    losses, watched = losses_of(node(small_model()))
    assert all(one != other for one, other in zip(losses, plain[0])) and len(losses) == 2
    assert watched[2] < watched[0]


@pytest.mark.parametrize(
    "node, said",
    [
        (lambda model: nodes_hypertile.HyperTile.execute(model, 32, 1, 1, False)[0], "carries HyperTile"),
        (lambda model: nodes_tomesd.TomePatchModel.execute(model, 0.3)[0], "carries ToMe"),
        (free_u, "cannot give gradients, because another node on it .*put it on the tuned model"),
        (with_weights_without_gradient, "cannot give gradients"),
    ],
)
def test_what_cannot_be_tuned_under(node, said):
    levels = dict(channel_mult=[1, 2, 4], num_res_blocks=[1] * 3, transformer_depth=[1] * 3)  # FreeU acts on the last
    model = small_model(**levels, transformer_depth_output=[1] * 6)
    with torch.inference_mode(), pytest.raises(Refusal, match=f"'model' {said}"):
        losses_of(node(model))


@pytest.mark.parametrize("kind, every", [("eps", 1), ("lcm", 20)])
def test_the_unet_is_told_the_timestep_of_its_noise(kind, every):
    """LCM's sampling has every 20th level only; its number is not the timestep."""
    model = nodes_model_advanced.ModelSamplingDiscrete().patch(small_model(), kind, False)[0]
    asked = []

    def seen(executor, x, timesteps, *arguments, **options):
        asked.append(timesteps)
        return executor(x, timesteps, *arguments, **options)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "seen", seen)
    run = started(model)
    run.drawn(25, torch.randn(run.clip.shape, generator=torch.Generator().manual_seed(1)))
    assert asked[0].tolist() == [26.0 * every - 1] * 2
    assert run.told.tolist() == [every * (level + 1) - 1.0 for level in range(1000 // every)]


def test_prompts_are_dealt_out():
    """As ComfyUI deals fewer prompts out than there are frames: it begins again with the first."""
    ((embedding, options),) = CONDITIONING
    three = torch.cat([embedding * share for share in (1.0, 0.5, 0.1)])
    four = torch.cat([three, three[:1]])
    model = small_model()
    assert started(model, 4, three).embedding.tolist() == started(model, 4, four).embedding.tolist()
    assert len(losses_of(model, [[three, options]], 4)[0]) == 2


@pytest.mark.parametrize("name, held", [("hooks", object()), ("gligen", ("position", object(), []))])
def test_what_a_prompt_carries(name, held):
    ((embedding, options),) = CONDITIONING
    with pytest.raises(Refusal, match=f"'source conditioning' carries '{name}', but tuning needs a plain prompt"):
        losses_of(small_model(), [[embedding, {**options, name: held}]])


@pytest.mark.parametrize("name", ["latent", "pictures"])
def test_a_noise_mask(name):
    latents = {other: {"samples": clip_latent(2, 8, 8)} for other in ("latent", "pictures")}
    latents[name]["noise_mask"] = torch.ones(1, 64, 64)
    with pytest.raises(Refusal, match=f"'{name}' carries a noise mask .*but a tuning learns the whole picture"):
        TuneVideoModel.execute(
            small_model(),
            CONDITIONING,
            latents["latent"],
            "Video-P2P",
            2,
            1e-3,
            pictures=latents["pictures"],
            pictures_prompt=CONDITIONING,
        )


def reported(model, learning_rate=1e-3, rank=0, source=CONDITIONING):
    """(tuned, the report's lines)"""
    latent = {"samples": clip_latent(2, 8, 8)}
    tuned, _, report = TuneVideoModel.execute(model, source, latent, "FateZero", 1, learning_rate, 0, rank).result
    return tuned, report.splitlines()


def memory_in(lines):
    return next(line for line in lines if "beside the model" in line)


def test_going_on_with_another_rank_and_prompt():
    """The parts stay as large as they are, which is told where a person has asked for others; and whoever does not say
    what the new prompt is leaves none, instead of the one before it."""
    tuned, before = reported(small_model(), rank=4)
    assert "prompt: a silver jeep on a road" in before and not any(line.startswith("!") for line in before)
    further, told = reported(tuned, rank=8, source=[[CONDITIONING[0][0], {}]])
    assert told[0].startswith("! 'rank' is 8, but 'model' is tuned with rank 4 already, which stays;")
    assert tuned_state_of(further).prompt is None and not any(line.startswith("prompt") for line in told)
    unasked = reported(tuned)[1]
    assert not any("'rank'" in line for line in unasked)
    assert memory_in(before) == memory_in(told) == memory_in(unasked)


def test_a_tuning_that_learns_nothing_says_so():
    lines = reported(small_model(), learning_rate=1.0, rank=4)[1]
    assert lines[0].startswith("! no step made the loss smaller, so that the model has learnt nothing; lower 'learning")
    assert "(after step 0 of 1)" in lines[-1]
