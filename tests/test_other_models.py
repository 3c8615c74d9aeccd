"""Flux, which draws pictures under a joint attention, is refused by name in every node that takes a model."""

import asyncio

import pytest
import torch

from edit_cases import clip_latent, conditioning, inverted, negative, prompt_edit, small_model
from fatezero_pack.fatezero.compat import io
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes import FateZeroExtension
from unsuitable import flux

EDIT = prompt_edit()
NODES = {node.define_schema().node_id: node for node in asyncio.run(FateZeroExtension().get_node_list())}
LATENT, SOURCE, TARGET, PLAIN = (
    {"samples": clip_latent()},
    conditioning(EDIT.source),
    conditioning(EDIT.target),
    negative(),
)
PRESET, SHARES = {"preset": "style"}, {"cross_until": 0.4, "self_until": 0.0, "skip": 0.0, "drift": 0.0}
COUPLED = [EDIT, SOURCE, TARGET, PLAIN, {"samples": torch.zeros(1, 4, 3, 8, 8)}, 2, 1.5, "simple", 0]
# What each node that takes a model is given after it; RUN stands for an inverted clip.
RUN = object()
GIVEN = {
    "FateZeroInflate": ["all"],
    "FateZeroTune": [SOURCE, LATENT, "Tune-A-Video"],
    "FateZeroLoadTuned": ["any.safetensors"],
    "FateZeroInvert": [SOURCE, LATENT, 2, "normal"],
    "FateZeroNullText": [RUN, PLAIN, 7.5, "null-text optimization", 1],
    "FateZeroLoadSource": ["any.safetensors"],
    "FateZeroAttentionBlend": [RUN, EDIT, PRESET],
    "FateZeroBlendSampler": [RUN, EDIT, TARGET, PLAIN, 1.5, PRESET],
    "FateZeroCoupledSampler": COUPLED,
}
NEVER_FLUX = {"FateZeroSaveTuned"}  # takes what Tune Video Model gives


@pytest.fixture(scope="module")
def run():
    return inverted(small_model(), EDIT)


def test_every_node_that_takes_a_model_is_here():
    take = {
        name for name, node in NODES.items() for each in node.define_schema().inputs if isinstance(each, io.Model.Input)
    }
    assert take == GIVEN.keys() | NEVER_FLUX


@pytest.mark.parametrize("name", GIVEN)
def test_flux_is_refused_by_name(name, run):
    node, given = NODES[name], [run if each is RUN else each for each in GIVEN[name]]
    settings = SHARES if name == "FateZeroCoupledSampler" else {}
    with pytest.raises(
        Refusal, match=f"^{node.define_schema().display_name.replace('+', '.')}: 'model' is a Flux, but th"
    ):
        node.execute(flux(), *given, **settings)
