"""What cannot work is refused before the first model call, in one plain sentence, and nothing is left behind."""

import re
from dataclasses import replace
from functools import cache

import comfy.context_windows
import comfy.model_base
import comfy.nested_tensor
import comfy.samplers
import comfy.supported_models
import comfy_extras.nodes_hypertile as hypertile
import comfy_extras.nodes_tomesd as tomesd
import pytest
import torch
from comfy.model_base import ModelType

from edit_cases import (
    TOKENIZER,
    CallCounter,
    clip_latent,
    conditioning,
    deterministic_samplers,
    inverted,
    inverted_noise,
    negative,
    prompt_edit,
    small_model,
    snapshot,
    with_lora,
)
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.fatezero.source.inversion_check import check_inversion
from fatezero_pack.fatezero.source.schedule import OFFICIAL
from fatezero_pack.fatezero.tuning.settings import PRESETS
from fatezero_pack.fatezero.tuning.tuning_check import check_tuning
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.attention_mask import AVERAGE, ONE_STEP, AttentionMask
from fatezero_pack.nodes.blend_sampler import AttentionBlendSampler
from fatezero_pack.nodes.composite import CompositeOutsideMask
from fatezero_pack.nodes.edit_prompts import EditPrompts
from fatezero_pack.nodes.inflate import CUSTOM, InflateUNet
from fatezero_pack.nodes.invert import Invert
from fatezero_pack.nodes.null_text import NEGATIVE_PROMPT, NullTextOptimization
from tiny_video_models import wan
from unsuitable import (
    NAN,
    audio_latent,
    audio_model,
    concatenated,
    context_windows,
    continuous_edm,
    flux,
    limited,
    other_checkpoint,
    spoilt,
    spoilt_latent,
    with_model_sampling,
)

EDIT = prompt_edit()
PLAIN = negative()
ADDED = prompt_edit(target="a silver jeep on a road at night", mode="refine")  # no word of the source changes
NODES = (
    "Edit Prompts",
    "Inflate UNet to ST-Attention",
    "DDIM Invert + Store Attention",
    "Attention Mask",
    "Attention Blend",
    "Attention Blend Sampler",
    "Composite Outside Mask",
)
INFINITE = float("inf")


@cache
def good_model():
    return small_model()


@pytest.fixture(scope="module")
def source():
    yield inverted(good_model(), EDIT)
    good_model.cache_clear()


# The nodes with good input everywhere but in what is named.


def edit_prompts(
    source_prompt="a silver jeep on a road",
    target_prompt="a red jeep on a road",
    mode="auto",
    emphasis="",
    mask_words="",
    target_mask_words="",
    windows="",
    clip=TOKENIZER,
):
    return EditPrompts.execute(
        clip, source_prompt, target_prompt, mode, emphasis, mask_words, target_mask_words, windows
    )


def inflate(model=None, key_frames="all", **options):
    return InflateUNet.execute(model or good_model(), key_frames, **options)


def invert(model=None, source=None, latent=None, steps=2, schedule=OFFICIAL, **options):
    latent = clip_latent() if latent is None else latent
    return Invert.execute(
        model or good_model(),
        conditioning(EDIT.source) if source is None else source,
        {"samples": latent},
        steps,
        schedule,
        **options,
    )


def mask(run, words="jeep", threshold=0.3, when=AVERAGE, step=0, **options):
    return AttentionMask.execute(run, words, threshold, when, step, 0, 0, **options)


def blend(run, edit=EDIT, model=None, preset="style", mask=None, **values):
    return AttentionBlend.execute(model or good_model(), run, edit, {"preset": preset, **values}, mask=mask).result[0]


def sampler(run, edit=EDIT, model=None, positive=None, negative=PLAIN, cfg=5.0, preset="style", mask=None, **values):
    positive = conditioning(edit.target) if positive is None else positive
    return AttentionBlendSampler.execute(
        model or good_model(), run, edit, positive, negative, cfg, {"preset": preset, **values}, mask=mask
    )


def sample(
    run, model=None, latent=None, positive=None, negative=PLAIN, sigmas=None, sampler="euler", noise=0.0, **options
):
    """Attention Blend and then ComfyUI's own sampling."""
    model = blend(run) if model is None else model
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(EDIT.target) if positive is None else positive, negative)
    guider.set_cfg(5.0)
    latent = inverted_noise(model, run) if latent is None else latent
    sampler = comfy.samplers.sampler_object(sampler) if isinstance(sampler, str) else sampler
    nested = getattr(latent, "is_nested", False)
    empty = comfy.nested_tensor.NestedTensor([torch.zeros_like(part) for part in latent.unbind()]) if nested else None
    return guider.sample(
        empty if nested else torch.full_like(latent, noise),
        latent,
        sampler,
        run.sigmas.flip(0) if sigmas is None else sigmas,
        disable_pbar=True,
        seed=0,
        **options,
    )


def another_runs_noise():
    return inverted_noise(good_model(), inverted(good_model(), EDIT, clip_latent(seed=10)))


OTHER = prompt_edit("a dog in the snow", "a cat in the snow")
AREA = (4, 4, 0, 0)
BLACK = torch.zeros(2, 16, 16)
CLIP = torch.zeros(2, 64, 64, 3)

CASES = {
    # Edit Prompts
    "empty source": (lambda run: edit_prompts(source_prompt="  "), "Edit Prompts:", "is empty"),
    "empty target": (lambda run: edit_prompts(target_prompt=""), "Edit Prompts:", "is empty"),
    "no clip": (lambda run: edit_prompts(clip=None), "'clip' is empty", "connect"),
    "word to mask that is not there": (lambda run: edit_prompts(mask_words="zebra"), "'zebra'", "choose"),
    "emphasis on a word that is not there": (lambda run: edit_prompts(emphasis="zebra:2"), "'zebra'", "choose"),
    "emphasis without a number": (lambda run: edit_prompts(emphasis="red"), "emphasis", "red"),
    "emphasis out of range": (lambda run: edit_prompts(emphasis="red:1000"), "emphasis", "-20 to 20"),
    "window out of range": (lambda run: edit_prompts(windows="red:1.5"), "windows", "from 0 to 1"),
    "window reversed": (lambda run: edit_prompts(windows="red:0.8-0.2"), "windows", "below the end"),
    # Inflate
    "inflate a DiT": (lambda run: inflate(flux()), "Inflate", "'model' is a Flux", "SD 1.x"),
    "key frames of nonsense": (
        lambda run: inflate(key_frames=CUSTOM, custom_key_frames="current, centre"),
        "'custom key frames'",
        "'centre'",
        "write",
    ),
    "key frames between frames": (lambda run: inflate(key_frames=CUSTOM, custom_key_frames="1.5"), "'1.5'", "write"),
    "no key frames": (
        lambda run: inflate(key_frames=CUSTOM, custom_key_frames=" , "),
        "'custom key frames' is empty",
        "write",
    ),
    # Invert
    "invert a DiT": (lambda run: invert(flux()), "DDIM Invert", "'model' is a Flux", "load"),
    "invert an audio model": (lambda run: invert(audio_model()), "'model' is a StableAudio1", "load"),
    "an EDM model": (lambda run: invert(small_model(model_type=ModelType.EDM)), "'model'", "EDM", "use"),
    "an x0 model": (lambda run: invert(with_model_sampling(good_model(), "x0")), "'model'", "X0", "use"),
    "a flow model": (lambda run: invert(small_model(model_type=ModelType.FLOW)), "'model'", "CONST", "use"),
    "continuous EDM sampling": (lambda run: invert(continuous_edm(good_model())), "'model'", "EDM", "use"),
    "a video model's latent": (
        lambda run: invert(latent=torch.randn(1, 4, 3, 16, 16)),
        "'latent' has 5 dimensions",
        "use",
    ),
    "a sound and video latent": (lambda run: invert(latent=audio_latent()), "'latent'", "use"),
    "latent of 16 channels": (
        lambda run: invert(latent=clip_latent(channels=16)),
        "'latent' has 16 channels",
        "encode",
    ),
    "no frames": (lambda run: invert(latent=clip_latent(0)), "'latent' holds no frames", "load"),
    "NaN in the latent": (lambda run: invert(latent=spoilt_latent()), "'latent' holds NaN", "--fp32-vae"),
    "infinite latent": (lambda run: invert(latent=spoilt_latent(INFINITE)), "'latent' holds NaN or infinite", "use"),
    "no steps": (lambda run: invert(steps=0), "'steps' is 0", "choose 1 to 999"),
    "too many steps": (lambda run: invert(steps=5000), "'steps' is 5000", "choose 1 to 999"),
    "a schedule that repeats levels": (
        lambda run: invert(steps=1, schedule="kl_optimal"),
        "'schedule' kl_optimal repeats",
        "use",
    ),
    "combined conditionings": (
        lambda run: invert(source=conditioning(EDIT.source) * 2),
        "'source conditioning' holds 2",
        "use",
    ),
    "no conditioning": (lambda run: invert(source=[]), "'source conditioning' holds 0", "use"),
    "source with an area": (
        lambda run: invert(source=limited(conditioning(EDIT.source), area=AREA)),
        "'source conditioning' is limited to an area",
        "remove",
    ),
    "source with a mask": (
        lambda run: invert(source=limited(conditioning(EDIT.source), mask=BLACK)),
        "'source conditioning' is limited to an area or mask",
        "remove",
    ),
    "source for some steps": (
        lambda run: invert(source=limited(conditioning(EDIT.source), start_percent=0.2)),
        "'source conditioning' is limited to a part of the steps",
        "remove",
    ),
    "source of another encoder": (
        lambda run: invert(source=conditioning(EDIT.source, width=2048)),
        "'source conditioning' has 2048 channels but 'model' reads 64",
        "use",
    ),
    "NaN in the source": (
        lambda run: invert(source=spoilt(conditioning(EDIT.source))),
        "'source conditioning' holds NaN",
        "encode",
    ),
    "source concatenated": (
        lambda run: invert(source=concatenated(conditioning(EDIT.source))),
        "'source conditioning' has 154 tokens",
        "connect",
    ),
    "invert in context windows": (
        lambda run: invert(context_windows(good_model())),
        "'model' has context windows",
        "remove",
    ),
    # Attention Mask
    "mask of a word that is not there": (lambda run: mask(run, "zebra"), "Attention Mask", "'zebra'", "choose"),
    "mask without words": (lambda run: mask(run, ""), "'words' is empty", "name words"),
    "mask of an edit that changes no word": (lambda run: mask(run, "", edit=ADDED), "'words' is empty", "name words"),
    "mask of another clip's edit": (lambda run: mask(run, "", edit=OTHER), "'edit' starts from", "write that"),
    "mask of an unknown prompt": (
        lambda run: mask(replace(run, tokens=None)),
        "'inverted clip' was inverted with a prompt",
        "use",
    ),
    "mask at a step beyond": (lambda run: mask(run, when=ONE_STEP, step=3), "'step' is 3", "choose 0 to 2"),
    "mask at a step before": (lambda run: mask(run, when=ONE_STEP, step=-1), "'step' is -1", "choose 0 to 998"),
    "mask threshold above 1": (lambda run: mask(run, threshold=1.5), "'threshold' is 1.5", "choose"),
    "mask over other images": (
        lambda run: mask(run, images=torch.zeros(2, 64, 64, 3)),
        "'images' are 2 frames of 64x64",
        "connect",
    ),
    "mask over another number of images": (
        lambda run: mask(run, images=torch.zeros(5, 128, 128, 3)),
        "'images' are 5 frames",
        "connect",
    ),
    # Attention Blend: settings
    "blend a DiT": (lambda run: blend(run, model=flux()), "Attention Blend", "'model' is a Flux", "load"),
    "no preset": (lambda run: AttentionBlend.execute(good_model(), run, EDIT), "'preset' is None", "choose"),
    "unknown preset": (lambda run: blend(run, preset="magic"), "'preset' is magic", "choose"),
    "window above 1": (lambda run: blend(run, self_until=1.2), "'self-attention until' is 1.2", "choose"),
    "window below 0": (lambda run: blend(run, cross_from=-0.1), "'cross-attention from' is -0.1", "choose"),
    "window the wrong way round": (
        lambda run: blend(run, self_from=0.9, self_until=0.1),
        "'self-attention from' is 0.9",
        "choose",
    ),
    "window of NaN": (lambda run: blend(run, cross_until=NAN), "'cross-attention until' is nan", "choose"),
    "latent window the wrong way round": (
        lambda run: blend(run, preset="shape", latent_blend=True, latent_from=0.9, latent_until=0.2),
        "'latent blend from' is 0.9",
        "choose",
    ),
    "latent blending without a mask": (
        lambda run: blend(run, latent_blend=True),
        "'latent blend' is on but 'mask from' is off",
        "choose",
    ),
    "threshold out of range": (lambda run: blend(run, mask_threshold=-0.5), "'mask threshold' is -0.5", "choose"),
    "no mask connected": (
        lambda run: blend(run, mask_from="mask input"),
        "'mask from' is mask input",
        "connect a MASK",
    ),
    "mask of words without words": (
        lambda run: blend(run, ADDED, preset="shape"),
        "'mask from' is words",
        "'mask words'",
    ),
    "mask of another length": (
        lambda run: blend(run, mask_from="mask input", mask=torch.ones(3, 16, 16)),
        "'mask' has 3 frames but the clip has 2",
        "give",
    ),
    "mask of other values": (
        lambda run: blend(run, mask_from="mask input", mask=torch.full((1, 16, 16), 255.0)),
        "'mask' holds values outside 0..1",
        "use",
    ),
    "mask of NaN": (
        lambda run: blend(run, mask_from="words inside mask input", mask=torch.full((1, 16, 16), NAN)),
        "'mask' has invalid numbers",
        "look for the node",
    ),
    "mask with channels": (
        lambda run: blend(run, mask_from="mask input", mask=torch.ones(1, 16, 16, 3)),
        "'mask' has the shape",
        "use",
    ),
    "another clip's edit": (lambda run: blend(run, OTHER), "'edit' starts from \"a dog in the snow\"", "write that"),
    "edit by another text encoder": (
        lambda run: blend(run, replace(EDIT, source=replace(EDIT.source, ids=(7, *EDIT.source.ids[1:])))),
        "'edit' was made with another text encoder than the inverted prompt",
        "use the Edit Prompts node whose source conditioning DDIM Invert has",
    ),
    "edit of another length": (
        lambda run: blend(replace(run, tokens=None), prompt_edit("a " + "very " * 80 + "red car", "a car")),
        "154",
        "use",
    ),
    "NaN in the negative": (
        lambda run: sampler(run, negative=spoilt(negative())),
        "Attention Blend Sampler: 'negative' holds NaN",
        "encode",
    ),
    "no negative": (lambda run: sampler(run, negative=[]), "'negative' holds 0 conditionings", "use"),
    "negative of a video model's encoder": (
        lambda run: sampler(run, negative=[[torch.zeros(1, 32, 64), {}]]),
        "Attention Blend Sampler: 'negative' has 32 tokens where CLIP gives blocks of 77",
        "use the CLIP of the same checkpoint",
    ),
    "negative of another encoder": (
        lambda run: sampler(run, negative=conditioning(EDIT.source, width=768)),
        "Attention Blend Sampler: 'negative' has 768 channels but 'model' reads 64",
        "use",
    ),
    "positive of another encoder in the node": (
        lambda run: sampler(run, positive=conditioning(EDIT.target, width=768)),
        "Attention Blend Sampler: 'positive' has 768 channels but 'model' reads 64",
        "use",
    ),
    "guidance of NaN": (lambda run: sampler(run, cfg=NAN), "'cfg' is nan", "choose 1 to 30"),
    "infinite guidance": (lambda run: sampler(run, cfg=INFINITE), "'cfg' is inf", "choose 1 to 30"),
    "refinement of -1": (lambda run: invert(refinement=-1), "'refinement' is -1", "choose 0 to 10"),
    "frames at once of -1": (lambda run: inflate(frames_at_once=-1), "'frames at once' is -1", "choose 0 to 4096"),
    "a source run of the future": (
        lambda run: blend(replace(run, version=99)),
        "Attention Blend: 'inverted clip' is of version 99",
        "update FateZero",
    ),
    # Attention Blend: the sampling
    "another checkpoint": (lambda run: sampler(run, model=other_checkpoint()), "'model' is not the one", "connect"),
    "a LoRA that inversion had not": (
        lambda run: sampler(run, model=with_lora(good_model())),
        "other LoRAs",
        "invert again",
    ),
    "another model sampling": (
        lambda run: sampler(run, model=with_model_sampling(good_model(), "v_prediction")),
        "another model sampling",
        "connect",
    ),
    "another inflation": (
        lambda run: sampler(run, model=inflate().result[0]),
        "the model is inflated with [key frames all]",
        "use one Inflate UNet node",
    ),
    "frames that were not inverted": (
        lambda run: sample(run, latent=clip_latent(3)),
        "has 3 frames, the inverted clip 2",
        "connect",
    ),
    "another size": (
        lambda run: sample(run, latent=clip_latent(2, 16, 24)),
        "192x128",
        "128x128 was inverted",
        "connect",
    ),
    "another number of channels": (
        lambda run: sample(run, latent=clip_latent(channels=16)),
        "[2, 16, 16, 16]",
        "connect",
    ),
    "a 5-D latent": (lambda run: sample(run, latent=torch.randn(1, 4, 2, 16, 16)), "[1, 4, 2, 16, 16]", "connect"),
    "a nested latent": (lambda run: sample(run, latent=audio_latent()), "the sampler's latent", "connect"),
    "a NaN latent": (lambda run: sample(run, latent=spoilt_latent()), "latent holds NaN", "connect"),
    "another run's latent": (
        lambda run: sample(run, latent=another_runs_noise()),
        "latent is not the inverted one",
        "connect",
    ),
    "an empty latent": (
        lambda run: sample(run, latent=torch.zeros(2, 4, 16, 16)),
        "latent is not the inverted one",
        "connect",
    ),
    "a noise mask": (lambda run: sample(run, denoise_mask=torch.ones(1, 1, 16, 16)), "noise mask", "remove"),
    "blend in context windows": (lambda run: sample(run, context_windows(blend(run))), "context windows", "remove"),
    "sigmas that rise": (lambda run: sample(run, sigmas=run.sigmas), "sigmas do not fall", "use"),
    "sigmas that repeat": (
        lambda run: sample(run, sigmas=torch.tensor([4.0, 2.0, 2.0, 0.0])),
        "sigmas do not fall",
        "use",
    ),
    "sigmas far above inversion's": (
        lambda run: sample(run, sigmas=torch.tensor([50.0, 1.0, 0.0])),
        "starts at sigma 50.0",
        "use",
    ),
    "euler with churn": (
        lambda run: sample(run, sampler=comfy.samplers.ksampler("euler", {"s_churn": 1.0})),
        "random noise",
        "choose",
    ),
    "the source prompt as positive": (
        lambda run: sample(run, positive=conditioning(EDIT.source)),
        "the sampler's positive says",
        "connect",
    ),
    "the target prompt as negative": (
        lambda run: sample(run, positive=PLAIN, negative=conditioning(EDIT.target)),
        "negative conditioning is the target prompt",
        "connect",
    ),
    "the target prompt as negative of the sampler node": (
        lambda run: sampler(run, positive=PLAIN, negative=conditioning(EDIT.target)),
        "negative conditioning is the target prompt",
        "connect",
    ),
    "no positive": (lambda run: sample(run, positive=[]), "no positive", "use"),
    "positive concatenated": (
        lambda run: sample(run, positive=concatenated(conditioning(EDIT.target))),
        "154 tokens",
        "connect",
    ),
    "positive of another encoder": (
        lambda run: sample(run, positive=conditioning(EDIT.target, width=2048)),
        "2048 channels",
        "use",
    ),
    "positive with an area": (
        lambda run: sample(run, positive=limited(conditioning(EDIT.target), area=AREA)),
        "area or mask",
        "remove",
    ),
    "positive with a mask": (
        lambda run: sample(run, positive=limited(conditioning(EDIT.target), mask=BLACK)),
        "area or mask",
        "remove",
    ),
    "negative of another encoder in a sampler": (
        lambda run: sample(run, negative=conditioning(EDIT.source, width=768)),
        "the sampler's 'negative' has 768 channels but 'model' reads 64",
        "use",
    ),
    "NaN in a sampler's negative": (
        lambda run: sample(run, negative=spoilt(negative())),
        "the sampler's 'negative' holds NaN",
        "encode",
    ),
    "a sampler's negative without a prompt": (
        lambda run: sample(run, negative=[[None, {}]]),
        "the sampler's 'negative' holds no prompt",
        "use",
    ),
    "NaN in the positive": (
        lambda run: sample(run, positive=spoilt(conditioning(EDIT.target))),
        "'positive' holds NaN",
        "encode",
    ),
    "combined with another prompt": (
        lambda run: sample(run, positive=conditioning(EDIT.target) + conditioning(OTHER.target)),
        "a cat in the snow",
        "connect",
    ),
    # Composite
    "composite of other sizes": (
        lambda run: CompositeOutsideMask.execute(CLIP, CLIP[:, :32, :32], torch.ones(1, 64, 64)),
        "Composite Outside Mask",
        "edited",
    ),
}


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, run: invert(model),
        lambda model, run: NullTextOptimization.execute(model, run, PLAIN, 7.5, NEGATIVE_PROMPT, 1),
        lambda model, run: check_tuning(model, conditioning(EDIT.source), clip_latent(), PRESETS["FateZero"]),
        lambda model, run: check_inversion(wan(), [], None, low_noise_model=model),
    ],
    ids=["invert", "null text", "tune", "low noise model"],
)
def test_a_model_that_edits_is_for_edits_alone(ask, source):
    """Wherever nothing is to be edited, with the way to the right model."""
    with pytest.raises(Refusal, match="model' carries Attention Blend, .*; connect the model that goes into Attention"):
        ask(blend(source), source)
    assert blend(source, model=blend(source)) is not None  # another blend takes its place


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_sentence(name, source):
    call, *words = CASES[name]
    if "run's" not in name:
        check_refusal(lambda: call(source), words, calls=0)
    else:
        check_refusal(lambda: call(source), words, calls=source.steps)  # the other run's own inversion


def check_refusal(call, words, calls):
    before = snapshot(good_model())
    with CallCounter(good_model()) as counter, pytest.raises(ValueError) as refusal:
        call()
    message = str(refusal.value)
    assert message.startswith(tuple(f"{node}: " for node in NODES)), message
    for word in words:
        assert word in message, message
    assert "\n" not in message and message.endswith(".") and not re.search(r"[a-z)]\. [A-Z]", message), message
    assert re.search(r"; |: [a-z]+ ", message.split(": ", 1)[1]), message  # what is wrong, and what to do
    assert counter.calls == calls
    assert snapshot(good_model()) == before


# Samplers, by what they do and not by what they are called.


def depends_on_the_seed(name: str) -> bool:
    """Whether a sampler of ComfyUI gives another result with another seed, on a model that is a formula."""

    def denoiser(x, sigma, model_options, **_):
        for after_guidance in model_options.get("sampler_post_cfg_function", []):  # CFG++ asks for both predictions
            after_guidance({"denoised": x * 0.5, "uncond_denoised": x * 0.4})
        return x * 0.5

    denoiser.inner_model = denoiser
    denoiser.model_patcher = good_model()
    denoiser.model_sampling = good_model().get_model_object("model_sampling")
    denoiser.inner_model.inner_model = denoiser
    function = comfy.samplers.sampler_object(name)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        x = torch.ones(1, 4, 8, 8)
        results.append(
            function.sampler_function(
                denoiser,
                x,
                torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0]),
                disable=True,
                callback=None,
                extra_args={"seed": seed, "model_options": {"transformer_options": {}}},
                **function.extra_options,
            )
        )
    return not torch.allclose(*results, atol=1e-5)


@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_samplers_that_add_noise_are_refused_by_name(name, source):
    if depends_on_the_seed(name):
        words = ["adds random noise", name.removesuffix("_gpu"), "choose euler"]
        check_refusal(lambda: sample(source, sampler=name), words, 0)
        assert name not in deterministic_samplers()
    else:
        assert name in deterministic_samplers()


# Nodes that rearrange a layer's queries: those that are known, and one that can only be met in the first call.


def halved_queries(model):
    model = model.clone()
    model.set_model_attn1_patch(lambda query, key, value, extra: (query[:, ::2], key, value))
    model.set_model_attn1_output_patch(lambda output, extra: output.repeat_interleave(2, dim=1))
    return (model,)


@pytest.mark.parametrize(
    "other, calls",
    [
        (lambda model: hypertile.HyperTile.execute(model, 32, 2, 0, False), 0),
        (lambda model: tomesd.TomePatchModel.execute(model, 0.5), 0),
        (halved_queries, 2),  # the source's rows and the edit's
    ],
    ids=["HyperTile", "ToMe", "unknown"],
)
def test_cut_and_merged_queries(other, calls, source):
    before = snapshot(good_model())
    with (
        CallCounter(good_model()) as counter,
        pytest.raises(ValueError, match="HyperTile|ToMe|another node on this model") as refusal,
    ):
        patched = other(blend(source))
        sample(source, getattr(patched, "result", patched)[0])
    assert "\n" not in str(refusal.value) and "remove" in str(refusal.value)
    assert counter.calls <= calls
    assert snapshot(good_model()) == before
