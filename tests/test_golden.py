"""Ours against the official FateZero code, number by number, through ComfyUI's real ModelPatcher and samplers."""

import comfy.samplers
import pytest
import torch
from comfy.sd1_clip import SD1Tokenizer

from fatezero_pack.fatezero.edit.settings import CACHE, NO_MASK, REPLAY, WORDS, BlendSettings
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.network.key_frames import parse_key_frames
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.schedule import OFFICIAL, inversion_sigmas
from golden_unet import CASES, golden_case, golden_model, relative

FASTEST = "image_swap"
KEY_FRAMES = {"mid": "middle", "first": "first", -1: "-1"}
# In shape_swap one place of one mask is on the threshold: 3e-7 above it with one CPU thread, 3e-6 below with two, where
# the maps differ by 3e-5. The official code found it above, as does a threshold lower by this; the next place lies 6e-4
# below.
UNDECIDED = 1e-4


@pytest.fixture(
    scope="module", params=[FASTEST, *(pytest.param(case, marks=pytest.mark.slow) for case in CASES if case != FASTEST)]
)
def golden(request):
    """A golden case with its inverted source run."""
    case = golden_case(request.param)
    key_frames = parse_key_frames(",".join(KEY_FRAMES[frame] for frame in case["sc"]))
    inflation = Inflation(key_frames, normalise_across_frames=True)
    model = sampled_in_chunks(inflate(golden_model(), inflation), 100)  # chunks would have other norms
    edit = edit_of(case["case"])
    conditioning = [[case["emb_source"][1:], {"fatezero_tokens": edit.source}]]
    latent = model.model.process_latent_out(case["trajectory"][0])
    source = invert(model, conditioning, latent, sigmas=inversion_sigmas(model, OFFICIAL, case["steps"]))
    return case, model, edit, source


def edit_of(case):
    tokenizer = SD1Tokenizer()
    settings = case["p2p"]
    words = settings.get("blend_words")
    equalizer = settings.get("eq_params", {"words": [], "values": []})
    return make_prompt_edit(
        tokenize_prompt(tokenizer, case["source"]),
        tokenize_prompt(tokenizer, case["target"]),
        "swap" if settings["is_replace_controller"] else "refine",
        emphasis=", ".join(f"{word}:{value}" for word, value in zip(equalizer["words"], equalizer["values"])),
        mask_words=", ".join(words[0]) if words else "",
    )


def test_trajectory(golden):
    case, _, _, source = golden
    ours = source.trajectory / (1 + source.sigmas**2).sqrt().view(-1, 1, 1, 1, 1)
    assert max(relative(*levels) for levels in zip(ours, case["trajectory"])) <= 1e-5


def test_word_maps(golden):
    case, _, edit, source = golden
    # Ours are averaged over heads and over the layers that masks are read from, the five of 16x16.
    layers = [maps for name, maps in case.items() if name.startswith("map.") and maps.shape[2] == 256]
    golden_maps = torch.stack([maps.mean(dim=1) for maps in layers]).mean(dim=0).transpose(1, 2).unflatten(-1, (16, 16))
    assert len(layers) == 5
    assert relative(source.word_maps[case["steps"] // 2], golden_maps[:, : edit.source.end + 1]) <= 1e-4


def test_edit(golden):
    assert edit_error(golden, REPLAY) <= 1e-3


@pytest.mark.slow
def test_edit_with_a_cache(golden):
    """The edit that fills it and the one that reads it."""
    *_, source = golden
    assert [edit_error(golden, CACHE) <= 1e-3 for _ in range(2)] == [True, True]
    assert source.cache.bytes.total > 0


def edit_error(golden, source_attention) -> float:
    case, model, edit, source = golden
    settings = case["case"]["p2p"]
    masked = settings.get("blend_self_attention", False)
    blended = blend_attention(
        model,
        source,
        edit,
        BlendSettings(
            self_window=Window(0, settings["self_replace_steps"]),
            cross_window=Window(0, settings["cross_replace_steps"]["default_"]),
            mask_from=WORDS if masked else NO_MASK,
            threshold=settings["blend_th"][0] - UNDECIDED if masked else 1.0,
            finest_until=0.0,
            source_attention=source_attention,
        ),
    )
    return relative(sample(blended, case, source, edit), case["edited"])


def test_uncontrolled(golden):
    """The same start and prompt without fusion, so that a failing edit can be told from a failing sampler."""
    case, model, edit, source = golden
    blended = blend_attention(model, source, edit, BlendSettings(Window(0, 0), Window(0, 0)))
    assert relative(sample(blended, case, source, edit), case["uncontrolled"]) <= 1e-3
    assert relative(case["uncontrolled"], case["edited"]) > 1e-2


def sample(model, case, source, edit):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds([[case["emb_target"][1:], {"fatezero_tokens": edit.target}]], [[case["emb_target"][:1], {}]])
    guider.set_cfg(7.5)
    noise = model.model.process_latent_out(source.trajectory[-1])
    samples = guider.sample(torch.zeros_like(noise), noise, comfy.samplers.ksampler("euler"), source.sigmas.flip(0))
    return model.model.process_latent_in(samples)
