"""Temporal parts on ComfyUI's UNet, against the official tuned UNets and for what they leave behind."""

import comfy.model_management
import pytest
import torch

from fatezero_pack.fatezero.network.inspection.model_identity import fingerprint
from fatezero_pack.fatezero.network.option_keys import FRAMES_AT_ONCE
from fatezero_pack.fatezero.network.unet import temporal_attention, temporal_parts
from fatezero_pack.fatezero.network.unet.chunked_sampling import ChunkedRun, MemoryRefusal
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate, inflation_of
from fatezero_pack.fatezero.network.unet.temporal_parts import (
    active_temporal_parts,
    temporal_parts_of,
    with_temporal_parts,
)
from fatezero_pack.fatezero.tuning.tuned_state import (
    TunedState,
    checkpoint_fingerprint,
    tuned_model,
    tuned_state_of,
    untuned_model,
)
from golden_tuned_unet import CASES, base_model, evaluate, golden_tensors, inflated, tuned_state
from golden_unet import relative

# The cases of videos, and what is set to zero where a kind of part is left out.
EPS_CASES = [
    (which, case) for which in ("fatezero", "tav") for case in CASES[f"{which}_eps"] if case["name"] != "images"
]
ZEROED = {"without_temporal_attention": (".attn_temp", ".to_out.0."), "without_temporal_conv": ("conv_temporal.up",)}


@pytest.fixture(scope="module")
def models():
    """{which: (base, tuned)}"""
    bases = {which: base_model(which) for which in ("fatezero", "tav")}
    return {which: (base, tuned_model(base, tuned_state(which))) for which, base in bases.items()}


@pytest.fixture(scope="module")
def golden():
    return {which: golden_tensors(f"{which}_eps") for which in ("fatezero", "tav")}


def three_frames(model, golden, rows: int = 1):
    clip = golden["x.3x32x32"].repeat(rows, 1, 1, 1, 1)
    return evaluate(model, clip, 601, golden["emb_source"][1:].repeat(rows, 1, 1))


@pytest.mark.parametrize("which, case", EPS_CASES, ids=lambda value: value if isinstance(value, str) else value["name"])
def test_eps(models, golden, which, case):
    (base, model), golden = models[which], golden[which]
    if case["name"] in ZEROED:
        state = tuned_state(which)
        left_out = [name for name in state.tensors if all(part in name for part in ZEROED[case["name"]])]
        assert left_out
        zeros = {name: torch.zeros_like(state.tensors[name]) for name in left_out}
        model = tuned_model(base, TunedState(state.layout, {**state.tensors, **zeros}))
    x, embedding = golden.get(case["x"]), golden["emb_source"][1:]
    if case["name"] == "cfg":
        x, embedding = torch.cat([golden["x.3x32x32"], golden["x.3x32x32"] * 0.9]), golden["emb_target"]
    key_frames = case.get("sc") or case.get("SparseCausalAttention_index") or [-1, "first"]
    ours = evaluate(inflated(model, key_frames, case.get("least_sc_channel", 0)), x, case["t"], embedding)
    assert relative(ours, golden[case["name"] + ".eps"]) <= 1e-5


def test_pictures(models, golden):
    """Still pictures pass the changed queries alone, as the official code's 4-D input does."""
    base, model = models["fatezero"]
    golden = golden["fatezero"]
    pictures = with_temporal_parts(model, {})
    pictures = inflate(pictures, Inflation(("current",)))
    images = golden["x.3x32x32"][0].transpose(0, 1)[:, :, None]
    timesteps = next(case["t"] for case in CASES["fatezero_eps"] if case["name"] == "images")
    for image, timestep, expected in zip(images, timesteps, golden["images.eps"]):
        ours = evaluate(pictures, image[None], timestep, golden["emb_source"][1:])
        assert relative(ours[0, :, 0], expected) <= 1e-5


def test_places_in_parts(models, golden, monkeypatch):
    """Temporal attention is independent per place, a feed-forward per frame: they may go through in parts."""
    model = models["tav"][1]
    whole = three_frames(model, golden["tav"], rows=2)
    monkeypatch.setattr(temporal_attention, "ELEMENTS_AT_ONCE", 100 * 2 * 3 * 32)
    monkeypatch.setattr(temporal_parts, "ELEMENTS_AT_ONCE", 100 * 2 * 3 * 32)
    assert relative(three_frames(model, golden["tav"], rows=2), whole) < 1e-5


def test_nothing_is_left(models, golden):
    base, model = models["fatezero"]
    network = base.model.diffusion_model
    names, before = set(network.state_dict()), three_frames(base, golden["fatezero"])
    weight = network.middle_block[1].transformer_blocks[0].attn1.to_q.weight.clone()
    assert relative(three_frames(model, golden["fatezero"]), before) > 0.1
    assert torch.equal(three_frames(base, golden["fatezero"]), before)
    assert torch.equal(network.middle_block[1].transformer_blocks[0].attn1.to_q.weight, weight)
    assert set(network.state_dict()) == names
    with pytest.raises(KeyboardInterrupt):
        with active_temporal_parts(network, temporal_parts_of(model), {"cond_or_uncond": [0]}):
            assert any("forward" in vars(module) for module in network.modules())
            raise KeyboardInterrupt
    assert not any("forward" in vars(module) for module in network.modules())


def test_loras_add_to_tuned_queries(models, golden):
    """Whether the LoRA's node comes before or after."""
    base, model = models["fatezero"]
    name = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    lora = {name: ("diff", (torch.randn(64, 64, generator=torch.Generator().manual_seed(0)),))}
    before, after = base.clone(), model.clone()
    before.add_patches(lora)
    after.add_patches(lora)
    results = [three_frames(one, golden["fatezero"]) for one in (tuned_model(before, tuned_state("fatezero")), after)]
    assert torch.equal(*results) and relative(results[0], three_frames(model, golden["fatezero"])) > 1e-4


def test_taken_off_again(models, golden):
    base, model = models["fatezero"]
    again = tuned_model(tuned_model(model, tuned_state("fatezero")), tuned_state("fatezero"))
    assert {len(patches) for patches in again.patches.values()} == {1} and fingerprint(again) == fingerprint(model)
    bare = untuned_model(model)
    assert not bare.patches and temporal_parts_of(bare) is None and tuned_state_of(bare) is None
    assert fingerprint(bare) == fingerprint(base) == checkpoint_fingerprint(model) != fingerprint(model)
    state = tuned_state("fatezero")
    one = "mid_block.resnets.0.conv1.conv_temporal.up.weight"
    other = TunedState(state.layout, {**state.tensors, one: state.tensors[one] * 2})
    assert fingerprint(tuned_model(base, other)) != fingerprint(model)


def test_comfyui_counts_the_parts(models, golden):
    model = models["tav"][1]
    three_frames(model, golden["tav"])
    held = [entry.model for entry in comfy.model_management.current_loaded_models]
    loaded = {id(patcher.model) for patcher in held if patcher is not None}  # None: gone, and not swept up yet
    (parts,) = model.get_nested_additional_models()
    assert id(parts.model) in loaded
    assert parts.model_size() == sum(weight.nbytes for weight in parts.model.state_dict().values()) > 0


def test_all_frames_go_together(models):
    """Temporal attention spans the clip: a number of frames at once must not cut it up."""
    model = models["tav"][1].clone()
    model.model_options["transformer_options"][FRAMES_AT_ONCE] = 2
    run = ChunkedRun(model)
    assert run.wanted_at_once((24, 4, 8, 8)) == run.fitting((24, 4, 8, 8), free=0) == 24
    assert run.describe((24, 4, 8, 8)) == "all 24 frames at once, which the temporal attention spans"
    other = ChunkedRun(tuned_model(models["tav"][0], tuned_state("tav", frames=8)))
    assert other.describe((24, 4, 8, 8)).endswith("; it was tuned on 8 frames")
    other = ChunkedRun(tuned_model(models["tav"][0], tuned_state("tav", frames=24, size=(16, 8))))
    assert other.describe((24, 4, 8, 8)).endswith("; it was tuned on pictures of 64x128")

    def fail():
        raise MemoryError

    with pytest.raises(MemoryRefusal, match="memory ran out with 24 frames of 64x64, which must go together"):
        run.within_memory(torch.zeros(24, 4, 8, 8), fail)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(golden, dtype):
    base = base_model("fatezero", dtype)
    model = inflated(tuned_model(base, tuned_state("fatezero")), [-1, "first"])
    error = relative(three_frames(model, golden["fatezero"]), golden["fatezero"]["3x32x32.t601.eps"])
    assert 1e-5 < error < {torch.float16: 0.02, torch.bfloat16: 0.15}[dtype]
    assert {weight.dtype for weight in temporal_parts_of(model).parameters()} == {dtype}


def test_key_frames(models):
    base, model = models["tav"]
    assert inflation_of(model) == Inflation(("-1", "first"), 0, True)
    assert inflation_of(tuned_model(base, tuned_state("tav"), ("first",))).key_frames == ("first",)
