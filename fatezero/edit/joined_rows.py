"""The source's rows in the same call of the UNet as the edit's: its weights are read once, not twice."""

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ..network.option_keys import JOINED, wrap_run

APART = ("hooks", "control", "gligen", "area", "default")  # what makes ComfyUI evaluate a conditioning by itself


def can_join(source, conds) -> bool:
    """Whether ComfyUI evaluates the source's conditioning with, or before, every other one of a call.

    source, conds: a conditioning, and those of a call, as `calc_cond_batch` takes them. It batches what is alike, and
    of a batch that does not fit into memory the last conditioning first: so the source, put last, is never late.
    """
    entries = [entry for cond in conds if cond is not None for entry in cond]
    return len(source) == 1 and all(
        not any(entry.get(name) is not None for name in APART)
        and comfy.samplers.cond_equal_size(entry["model_conds"], source[0]["model_conds"])
        for entry in [*source, *entries]
    )


def evaluate_joined(executor, source, latent: torch.Tensor, model, conds, x, timestep, model_options):
    """What a CALC_COND_BATCH executor gives for `conds`, with the source's rows, of another latent, in the same call.

    source: a conditioning that can be joined; latent: what its rows are fed, of x's shape [n, c, h, w].
    """
    uuid = source[0]["uuid"]

    def apply_model(
        executor, x, timestep, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs
    ):
        rows = transformer_options["uuids"]
        if uuid in rows:
            place = rows.index(uuid)
            parts = list(x.chunk(len(rows)))
            parts[place] = latent.to(x)
            x = torch.cat(parts)
            conditional = list(transformer_options["cond_or_uncond"])
            conditional[place] = 0  # to other nodes (IPAdapter ...) the source is a positive prompt, as in a call apart
            transformer_options = {**transformer_options, "cond_or_uncond": conditional}
        return executor(x, timestep, c_concat, c_crossattn, control, transformer_options, **kwargs)

    options = dict(model_options["transformer_options"])
    wrap_run(options, WrappersMP.APPLY_MODEL, JOINED, apply_model)
    evaluated = executor(model, [*conds, source], x, timestep, {**model_options, "transformer_options": options})
    return evaluated[: len(conds)]
