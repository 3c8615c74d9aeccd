"""What tells two models apart: the whole of their LoRAs, and the fingerprints that earlier versions wrote."""

import hashlib
import json
from dataclasses import astuple

import comfy_extras.nodes_model_advanced as nodes_model_advanced
import pytest
import torch
from comfy.weight_adapter.lora import LoRAAdapter

from edit_cases import (
    ATTENTION_ALONE,
    clip_latent,
    inverted,
    negative,
    prompt_edit,
    random_tuned_model,
    small_model,
    with_lora,
)
from fatezero_pack.fatezero.network.inspection.model_identity import NORMS, fingerprint, has_fingerprint
from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.network.unet.temporal_parts import temporal_parts_of
from fatezero_pack.fatezero.null_text.optimization import Optimization
from fatezero_pack.fatezero.source.digest import null_text_digest
from fatezero_pack.fatezero.tuning.first_weights import first_state
from fatezero_pack.fatezero.tuning.fit import fitted
from fatezero_pack.fatezero.tuning.tuned_state import TunedState, checkpoint_fingerprint
from unsuitable import other_checkpoint

LAYER = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture(scope="module")
def model():
    return small_model()


def adapted(model, alpha=4.0, changed=slice(0)):
    """A LoRA on one layer; changed: of the values of its first matrix, which are other ones then."""
    height, width = model.model.state_dict()[LAYER].shape
    up = torch.randn(height, 4, generator=torch.Generator().manual_seed(1))
    up.view(-1)[changed] *= 2
    down = torch.randn(4, width, generator=torch.Generator().manual_seed(2))
    with_it = model.clone()
    with_it.add_patches({LAYER: LoRAAdapter(set(), (up, down, alpha, None, None, None))}, 1.0)
    return with_it


def test_all_of_a_lora_counts(model):
    others = [adapted(model), adapted(model, 1.0), adapted(model, None), adapted(model, changed=slice(64, 65))]
    others += [adapted(model, changed=slice(-1, None)), model]
    known = [fingerprint(other) for other in others]
    assert len(set(known)) == len(others) and fingerprint(adapted(model)) == known[0]
    assert all(has_fingerprint(one, its) for one, its in zip(others, known))
    assert not has_fingerprint(adapted(model, 1.0), known[0])


def test_a_difference_counts_too(model):
    """ModelMergeSubtract and Load Diffusion Model's patches are tuples of tensors and options."""
    known = set()
    for padded in (False, True):
        merged = model.clone()
        merged.add_patches({LAYER: ("diff", (torch.ones(64, 64), {"pad_weight": padded}))})
        known.add(fingerprint(merged))
    assert len(known) == 2


def earlier_fingerprint(model) -> str:
    """As versions before this one wrote it into files: of patches, the first 64 values of each tensor alone."""
    digest = hashlib.sha256(type(model.model).__name__.encode())
    digest.update(json.dumps(model.model.model_config.unet_config, sort_keys=True, default=str).encode())
    sampling = model.get_model_object("model_sampling")
    digest.update(f"{[kind.__name__ for kind in type(sampling).__mro__]} {float(sampling.sigma_max):.4g}".encode())

    def add(name, tensor):
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.reshape(-1)[:64].float().numpy().tobytes())

    for name, weight in sorted(model.model.state_dict().items()):
        if name.endswith(NORMS):
            add(name, weight)
    for name in sorted(model.patches):
        for strength, patch, model_strength, *_ in model.patches[name]:
            digest.update(f"{name} {strength} {model_strength}".encode())
            for tensor in patch[1] if isinstance(patch, tuple) else patch.weights:
                if isinstance(tensor, torch.Tensor):
                    add("", tensor)
    parts = temporal_parts_of(model)
    for name, weight in sorted(parts.state_dict().items()) if parts is not None else ():
        add(name, weight)
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("put_on", [lambda model: model, with_lora, random_tuned_model, adapted])
def test_what_earlier_versions_wrote_is_known(model, put_on):
    with_it, other = put_on(model), put_on(other_checkpoint())
    known = earlier_fingerprint(with_it)
    assert has_fingerprint(with_it, known) and not has_fingerprint(other, known)
    assert (known == fingerprint(with_it)) == (not with_it.patches)


@pytest.mark.parametrize("kind", ["lcm", "v_prediction"])
def test_a_model_sampling_is_no_other_checkpoint(model, kind):
    """Beside Load Tuned Model, also where the file was tuned with it by an earlier version, which counted it."""
    sampled = nodes_model_advanced.ModelSamplingDiscrete().patch(model, kind, False)[0]
    assert checkpoint_fingerprint(sampled) == checkpoint_fingerprint(model) == fingerprint(model)
    state = first_state(model, ATTENTION_ALONE)
    for base, used, remarks in (
        (checkpoint_fingerprint(model), sampled, 1),
        (earlier_fingerprint(sampled), sampled, 1),
        (checkpoint_fingerprint(other_checkpoint()), sampled, 2),
    ):
        told = fitted(TunedState(state.layout, state.tensors, base=base), used)[1]
        assert len(told) == remarks, told


def test_null_text_knows_frames_at_once_where_they_matter(model):
    """With key frames in every chunk the result is the same; with all frames as key frames it is not quite."""
    settings = ["null-text optimization", *astuple(Optimization())]

    def digests(key_frames):
        inflated = inflate(model, Inflation(key_frames))
        source = inverted(inflated, prompt_edit(), clip_latent(3, 8, 8))
        return {
            null_text_digest(sampled_in_chunks(inflated, at_once), source, source.conditioning, negative(), settings)
            for at_once in (0, 1, 3)
        }

    assert len(digests(("current", "middle"))) == 1
    assert len(digests(("all",))) == 2
