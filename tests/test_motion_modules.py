"""Temporal attention of motion modules, which AnimateDiff puts among a UNet's blocks: an edit can take the source's.

The modules here are small ones that are called as AnimateDiff-Evolved's; `benchmarks.compatibility.motion_modules`
examines the real ones.
"""

import comfy.model_management
import comfy.model_patcher
import pytest
import torch
from comfy.ldm.modules.attention import attention_basic
from comfy.patcher_extension import PatcherInjection
from torch import nn

from edit_cases import clip_latent, edited, inverted, prompt_edit, sampled, small_model
from fatezero_pack.fatezero.edit.settings import CACHE, FAST_RECONSTRUCTION, BlendSettings
from fatezero_pack.fatezero.edit.unet import source_branch
from fatezero_pack.fatezero.edit.unet.chunk_fusion import ChunkFusion
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
from fatezero_pack.fatezero.edit.unet.strangers import what_changed
from fatezero_pack.fatezero.network.attention_layers import TEMPORAL
from fatezero_pack.fatezero.network.unet.motion_modules import hooked_motion_modules
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.refusal import Refusal
from golden_unet import relative

FRAMES, HEADS = 3, 2
EDIT, NONE = prompt_edit(), Window(0, 0)
PLAIN, FUSED = BlendSettings(NONE, NONE), BlendSettings(NONE, NONE, temporal_window=Window(0, 1))


class TemporalLayer(nn.Module):
    """Each place attends to itself in all frames, or in each of some parts of the clip."""

    attention_mode = "Temporal"

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.actual_attention, self.parts = attention_basic, parts

    def forward(self, hidden):
        places = hidden.unflatten(0, (-1, FRAMES)).transpose(1, 2).flatten(0, 1)  # [rows·tokens, n, width]
        attended = []
        for part in places.tensor_split(self.parts, dim=1):
            qkv = self.to_q(part), self.to_k(part), self.to_v(part)
            try:
                attended.append(self.actual_attention(*qkv, HEADS, None))
            except RuntimeError:
                self.actual_attention = attention_basic
                attended.append(self.actual_attention(*qkv, HEADS, None))
        attended = torch.cat(attended, dim=1).unflatten(0, (-1, hidden.shape[1]))
        return hidden + attended.transpose(1, 2).flatten(0, 1)


class MotionModule(nn.Module):
    def __init__(self, width: int, parts: int):
        super().__init__()
        self.temporal_transformer = nn.Sequential(TemporalLayer(width, parts), TemporalLayer(width, parts))

    def forward(self, x):
        hidden = x.flatten(2).transpose(1, 2)
        return self.temporal_transformer(hidden).transpose(1, 2).unflatten(2, x.shape[-2:])


def with_motion(model, seed: int = 0, parts: int = 1):
    """A clone with motion modules behind the first block and in the middle one, while it samples."""
    torch.manual_seed(seed)
    network = nn.ModuleList([MotionModule(32, parts), MotionModule(64, parts)])
    model = model.clone()
    device = comfy.model_management.get_torch_device()
    motion = comfy.model_patcher.CoreModelPatcher(network, load_device=device, offload_device=torch.device("cpu"))
    model.set_additional_models("ADE", [motion])

    def places(patcher):
        unet = patcher.model.diffusion_model
        return unet.input_blocks[1], unet.middle_block

    def inject(patcher):
        for place, module in zip(places(patcher), network):
            place.append(module)

    def eject(patcher):
        for place in places(patcher):
            for index in reversed(range(len(place))):
                if isinstance(place[index], MotionModule):  # whoever's they are, as AnimateDiff does
                    place.pop(index)

    model.set_injections("ADE", [PatcherInjection(inject, eject)])
    return model


def layers(model) -> list[TemporalLayer]:
    (motion,) = model.additional_models["ADE"]
    return [module for module in motion.model.modules() if isinstance(module, TemporalLayer)]


@pytest.fixture(scope="module", params=[1, 2], ids=["whole clip", "views"])
def run(request):
    model = with_motion(small_model(), parts=request.param)
    return model, inverted(model, EDIT, clip_latent(FRAMES), schedule="normal")


def test_it_is_fused_where_a_preset_says_so(run, monkeypatch):
    """In any order of the nodes, joined or apart; with windows shut it is the sampler alone; nothing is left."""
    model, source = run
    bare = small_model()
    fused = edited(model, source, EDIT, FUSED)
    assert relative(fused, edited(model, source, EDIT, PLAIN)) > 1e-3
    assert torch.equal(edited(model, source, EDIT, FUSED), fused)
    assert torch.equal(edited(model, source, EDIT, PLAIN), sampled(model, source, EDIT))
    parts = layers(model)[0].parts
    last = sampled(with_motion(blend_attention(bare, source, EDIT, FUSED), parts=parts), source, EDIT)
    assert torch.equal(sampled(blend_attention(model, source, EDIT, FUSED), source, EDIT), last)
    monkeypatch.setattr(source_branch, "can_join", lambda *_: False)
    assert relative(edited(model, source, EDIT, FUSED), fused) < 1e-5
    assert all(layer.actual_attention is attention_basic for layer in layers(model))


def test_the_replayed_maps_are_those_of_the_inversion(run, monkeypatch):
    model, source = run
    stored, replayed = [], []

    def record(query, key, value, heads, mask):
        stored.append((query.clone(), key.clone()))
        return attention_basic(query, key, value, heads, mask)

    for layer in layers(model):
        layer.actual_attention = record
    inverted(model, EDIT, clip_latent(FRAMES), schedule="normal")
    for layer in layers(model):
        layer.actual_attention = attention_basic
    read = ChunkFusion.read_layer

    def read_and_keep(self, layer, query, key, extra):
        if layer.kind == TEMPORAL and self.source_row(query, extra) is not None:
            replayed.append((self.source_row(query, extra).clone(), self.source_row(key, extra).clone()))
        read(self, layer, query, key, extra)

    monkeypatch.setattr(ChunkFusion, "read_layer", read_and_keep)
    edited(model, source, EDIT, FUSED)
    calls = len(replayed) // source.steps
    steps = [replayed[start : start + calls] for start in range(0, len(replayed), calls)]
    again = [pair for step in reversed(steps) for pair in step]  # the inversion began with the last step
    assert len(again) == len(stored) > 0
    for one, other in zip(again, stored):
        assert max(map(relative, one, other)) < 1e-5


def test_a_reconstruction_lends_its_own(run):
    model, source = run
    settings = BlendSettings(NONE, NONE, temporal_window=Window(0, 0.7), attention_from=FAST_RECONSTRUCTION)
    fused = edited(model, source, EDIT, settings)
    assert relative(fused, edited(model, source, EDIT, PLAIN)) > 1e-3
    with pytest.raises(Refusal, match="temporal attention is fused, which no cache keeps"):
        edited(model, source, EDIT, BlendSettings(NONE, NONE, temporal_window=Window(0, 1), source_attention=CACHE))


def test_nothing_is_left_after_an_error(run, monkeypatch):
    model, source = run
    monkeypatch.setattr(ChunkFusion, "fuse_layer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        edited(model, source, EDIT, FUSED)
    assert all(layer.actual_attention is attention_basic for layer in layers(model))


def test_a_layer_may_take_another_function_meanwhile():
    """As AnimateDiff's do where the first one fails on a GPU."""

    def fail(*_):
        raise RuntimeError("CUDA error: invalid configuration argument")

    network, options = small_model().model.diffusion_model, {"original_shape": [6, 4, 2, 2], "cond_or_uncond": [0, 1]}
    module = MotionModule(8, 1)
    network.middle_block.append(module)
    layer = module.temporal_transformer[0]
    layer.actual_attention = fail
    with hooked_motion_modules(network, options, fail):
        module(torch.randn(6, 8, 2, 2))
    assert layer.actual_attention is attention_basic


def test_other_modules_than_at_the_inversion_are_told(run):
    model, source = run
    assert what_changed(model, source) == []
    assert what_changed(with_motion(small_model(), seed=1), source) == [
        "AnimateDiff has other values than at the inversion: the source is replayed with those of now"
    ]
    assert what_changed(small_model(), source) == [
        "AnimateDiff was on the model at the inversion, and is not now: the source is replayed without it"
    ]
    plain = inverted(small_model(), EDIT, clip_latent(FRAMES), schedule="normal")
    assert what_changed(model, plain) == [
        "AnimateDiff was not on the model at the inversion, and ties the frames together: the source is replayed "
        "through it"
    ]
