"""Whether two models compute alike. Three questions, since there are three ways to know.

`fingerprint`: are weights, LoRA and model sampling the same? A short text, also kept in files. Other nodes' patches
are left out: an edit may well have other ones than the inversion.
`model_parts` and `same_parts`: are those the same, too? Compared by identity, while the objects live: what the
attention cache holds is good for one such model only.
`content_parts`: what names all of it by content? For digests, which outlive the objects. What another node has put
there has no content that we could name.
"""

import gc
import hashlib
import json
import zlib

import torch

from ...refusal import Refusal
from ..option_keys import FRAMES_AT_ONCE, OURS
from ..unet.inflation import KeyFramePatch
from ..unet.temporal_parts import temporal_parts_of

_PLAIN = (str, int, float, bool)
# A UNet's group norms, and the norms of queries and keys in Wan, LTX-Video and HunyuanVideo.
NORMS = (
    *(".in_layers.0.weight", ".out_layers.0.bias", "diffusion_model.out.0.weight"),
    *(".self_attn.norm_q.weight", ".attn1.q_norm.weight", ".img_attn.norm.query_norm.weight"),
)
SAMPLE = 16  # values of each weight: quick to read, and enough to tell two checkpoints apart


class Unrecognised(Refusal):
    """What cannot be named by its content, so that nobody can tell whether it is the same again."""


def fingerprint(model) -> str:
    """A short text that changes with checkpoint, tuning, model sampling and patches (LoRA), not with the device.

    The checkpoint is read at its norms only: they are small, no LoRA touches them, and every fine-tune differs.
    """
    return _fingerprint(model, _sampling(model))


def has_fingerprint(model, known: str) -> bool:
    """Whether a fingerprint, perhaps one that an earlier version wrote, is a model's."""
    if known == fingerprint(model):
        return True
    # Before, only the first values of a patch's tensors counted; 0.1.0 also told a model sampling that changes nothing
    # from the checkpoint's own.
    samplings = _sampling(model), model.get_model_object("model_sampling")
    return known in [_fingerprint(model, sampling, _add_first_values) for sampling in samplings]


def own_sampling(model):
    """The sampling of a model's checkpoint, whatever another node has put in its place."""
    return model.object_patches_backup.get("model_sampling", model.model.model_sampling)


def _sampling(model):
    """A model's sampling: the checkpoint's own where another node has put an equal one in its place."""
    sampling = model.get_model_object("model_sampling")
    own = own_sampling(model)
    tables = [getattr(one, "sigmas", None) for one in (sampling, own)]
    same_kind = type(sampling).__mro__[1:] == type(own).__mro__[1:]
    if same_kind and all(isinstance(table, torch.Tensor) for table in tables) and tables[0].shape == tables[1].shape:
        return own if torch.equal(tables[0].cpu(), tables[1].cpu()) else sampling
    return sampling


def _fingerprint(model, sampling, add_patch=None) -> str:
    """add_patch: adds a weight patch to a digest; None for `_add_contents`."""
    add_patch = add_patch or _add_contents
    digest = hashlib.sha256(type(model.model).__name__.encode())
    config = getattr(model.model.model_config, "unet_config", {})
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    digest.update(f"{[kind.__name__ for kind in type(sampling).__mro__]} {float(sampling.sigma_max):.4g}".encode())
    weights = _weights(model)
    for name in sorted(weights):
        if name.endswith(NORMS):
            backup = model.backup.get(name)
            _add_tensor(digest, name, weights[name] if backup is None else getattr(backup, "weight", backup))
    for name in sorted(model.patches):
        for strength, patch, model_strength, *_ in model.patches[name]:
            digest.update(f"{name} {strength} {model_strength}".encode())
            add_patch(digest, patch)
    parts = temporal_parts_of(model)
    if parts is not None:
        for name, weight in sorted(parts.state_dict().items()):
            _add_tensor(digest, name, weight)
    return digest.hexdigest()[:16]


def _weights(model) -> dict[str, torch.Tensor]:
    """A model's own weights. While it samples, AnimateDiff's modules stand among the UNet's and move its names."""
    if model.injections:
        gc.collect()  # a clone that is dead takes its modules out when it is collected: not in the middle of the walk
    with model.use_ejected():
        return model.model.state_dict()


def _add_contents(digest, held) -> None:
    """Adds all of a weight patch: tuples, lists and dicts, adapters that hold their `weights`, numbers such as a LoRA's
    alpha, and of each tensor the first values and a checksum of all of them."""
    if isinstance(held, torch.Tensor):
        _add_tensor(digest, "", held)
        digest.update(f"{_checksum(held)};".encode())
    elif isinstance(held, (tuple, list)):
        digest.update(f"{len(held)} items;".encode())
        for item in held:
            _add_contents(digest, item)
    elif isinstance(held, dict):
        _add_contents(digest, sorted(held.items(), key=str))
    elif hasattr(held, "weights"):
        digest.update(f"{type(held).__name__};".encode())
        _add_contents(digest, held.weights)
    else:
        digest.update(f"{held if type(held) in _PLAIN else type(held).__name__};".encode())


def _checksum(tensor: torch.Tensor) -> int:
    """Over the bytes of all values; quicker than to take them all into the digest."""
    if tensor.is_meta:
        return 0
    return zlib.crc32(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)


def _add_first_values(digest, patch) -> None:
    """What earlier versions added of a weight patch."""
    for tensor in _tensors(patch):
        _add_tensor(digest, "", tensor)


def _tensors(patch):
    """The tensors inside a weight patch: tuples, lists and adapters that hold their `weights`."""
    if isinstance(patch, torch.Tensor):
        yield patch
    elif isinstance(patch, (tuple, list)):
        for item in patch:
            yield from _tensors(item)
    elif hasattr(patch, "weights"):
        yield from _tensors(patch.weights)


def _add_tensor(digest, name: str, tensor: torch.Tensor):
    if not isinstance(tensor, torch.Tensor) or tensor.is_meta:
        return
    sample = tensor.detach().reshape(-1)[:64].float().cpu()
    digest.update(f"{name} {tuple(tensor.shape)}".encode() + sample.numpy().tobytes())


def content_parts(model) -> list:
    """All that determines a model's answers, as values that can be named by their content.

    Raises:
        Unrecognised: Where another node has put something on it.
    """
    foreign = foreign_parts(model)
    if foreign:
        raise Unrecognised(f"'model' carries what another node has put there ({foreign[0][0]})")
    own = {name: held for name, held in _transformer_options(model).items() if name.startswith(OURS)}
    own.pop(FRAMES_AT_ONCE, None)  # how many frames go together does not change the result
    sampling = model.get_model_object("model_sampling")
    noise_levels = [getattr(sampling, "sigmas", None), getattr(sampling, "zsnr", None)]
    return [fingerprint(model), sampled_weights(model), str(model.model.get_dtype_inference()), own, *noise_levels]


def sampled_weights(model) -> list[torch.Tensor]:
    """A little of every weight, before patches; tells checkpoints apart that differ by a merged LoRA only."""
    weights = model.model.state_dict()
    backups = {name: getattr(backup, "weight", backup) for name, backup in model.backup.items()}
    samples = [backups.get(name, weights[name]).detach().reshape(-1)[:SAMPLE] for name in sorted(weights)]
    return [sample.float().cpu() for sample in samples if not sample.is_meta]


def model_parts(model) -> list:
    """What besides its weights makes a model compute as it does, for `same_parts`: its dtype, and what other nodes have
    put on it."""
    return [model.model.get_dtype_inference(), *_leaves(foreign_parts(model))]


def same_parts(before: list, now: list) -> bool:
    """Whether two lists of `model_parts` are of models that compute alike; unlike objects count as different."""
    return len(before) == len(now) and all(
        one is other or (type(one) in _PLAIN and type(other) is type(one) and one == other)
        for one, other in zip(before, now)
    )


def foreign_parts(model) -> list[tuple[str, object]]:
    """What other nodes have put on a model, each with the name of its place; empties are left out."""
    transformer_options = _transformer_options(model)
    patches = dict(transformer_options.pop("patches", {}))
    patches["attn1_patch"] = [patch for patch in patches.get("attn1_patch", []) if not isinstance(patch, KeyFramePatch)]
    places = [(name, held) for name, held in model.model_options.items() if name != "transformer_options"]
    places += [*transformer_options.items(), *patches.items()]
    places += [(name, patch) for name, patch in model.object_patches.items() if name != "model_sampling"]
    for kind in (*model.wrappers.values(), *model.callbacks.values()):
        places += kind.items()
    # A clone of a model has clones of its additional models, around the same networks.
    places += [(name, [other.model for other in held]) for name, held in model.additional_models.items()]
    places += [*model.injections.items(), *model.weight_wrapper_patches.items(), ("hooks", model.hook_patches)]
    return [(str(name), held) for name, held in places if not str(name).startswith(OURS) and not _is_empty(held)]


def _transformer_options(model) -> dict:
    return dict(model.model_options.get("transformer_options", {}))


def _is_empty(held) -> bool:
    return held is None or (isinstance(held, (dict, list, tuple)) and len(held) == 0)


def _leaves(held):
    """What lies in containers within each other, and under which keys, one after the other."""
    if isinstance(held, dict):
        for key in held:
            yield str(key)
            yield from _leaves(held[key])
    elif isinstance(held, (list, tuple)):
        for item in held:
            yield from _leaves(item)
    else:
        yield held
