"""The source's rows in the same call of the UNet as the edit's: its weights are read once, not twice."""

from dataclasses import replace
from functools import partial

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ..network.model_call import Conds, ModelCall
from ..network.option_keys import JOINED, wrap_run

APART = ("hooks", "control", "gligen", "area", "default")  # what makes ComfyUI evaluate a conditioning by itself


def can_join(source: Conds, conds) -> bool:
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


def join(call: ModelCall, source: Conds, latent: torch.Tensor) -> ModelCall:
    """A call that gives what `call` gives, and has the source's rows, of another latent, in the same call of the UNet.

    Args:
        call: The edit's call.
        source: A conditioning that can be joined.
        latent: What the source's rows are fed, of the shape of the call's x, [b, c, h, w].
    """
    wrapper = partial(feed_row, source[0]["uuid"], latent)

    def execute(model, conds, x, timestep, model_options):
        options = dict(model_options["transformer_options"])
        wrap_run(options, WrappersMP.APPLY_MODEL, JOINED, wrapper)
        model_options = {**model_options, "transformer_options": options}
        return call.executor(model, [*conds, source], x, timestep, model_options)[: len(conds)]

    return replace(call, executor=execute)


def feed_row(
    uuid,
    latent: torch.Tensor,
    executor,
    x,
    timestep,
    c_concat=None,
    c_crossattn=None,
    control=None,
    transformer_options=None,
    **named,
):
    """An APPLY_MODEL wrapper that gives the row of a conditioning another latent; uuid: the conditioning's.

    The source is a positive prompt, as in a call of its own (IPAdapter reads this), and comes after the edit's: other
    nodes take the first positive for the picture's own (NAG).
    """
    rows = transformer_options["uuids"]
    if uuid not in rows:
        return executor(x, timestep, c_concat, c_crossattn, control, transformer_options, **named)
    count, place = len(rows), rows.index(uuid)
    order = [row for row in range(count) if row != place] + [place]

    def ordered(value):
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == len(x):
            return torch.cat([value.chunk(count)[row] for row in order])
        return value

    fed = torch.cat([*ordered(x).chunk(count)[:-1], latent.to(x)])
    conditional = [*(transformer_options["cond_or_uncond"][row] for row in order[:-1]), 0]
    options = {**transformer_options, "cond_or_uncond": conditional, "uuids": [rows[row] for row in order]}
    if "sigmas" in options:
        options["sigmas"] = ordered(options["sigmas"])
    named = {name: ordered(value) for name, value in named.items()}
    result = executor(fed, ordered(timestep), ordered(c_concat), ordered(c_crossattn), control, options, **named)
    parts = list(result.chunk(count))
    return torch.cat([*parts[:place], parts[-1], *parts[place:-1]])
