"""Inversion and edit by other kernels than PyTorch's own: sage and flash attention, and torch.compile."""

from collections.abc import Callable

import torch
from comfy.ldm.modules.attention import get_attention_function
from comfy_api.torch_helpers import set_torch_compile_wrapper

from .figures import RATIO, Figure
from .runs import ClipRuns, fused_in_every_step, random_model
from .sizes import Plan, Size
from .timing import in_turn, ratio

ATTENTIONS = ("sage", "flash", "xformers")  # ComfyUI's names; it knows those that are installed
PLAIN, COMPILED = "PyTorch", "torch.compile"


def with_attention(model, function: Callable):
    """A clone of a ModelPatcher whose attention is another one of ComfyUI's functions."""

    def attend(_, *arguments, **options):
        return function(*arguments, **options)

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = attend
    return clone


def compiled(model, backend: str = "inductor"):
    """A clone as ComfyUI's node TorchCompileModel makes it."""
    clone = model.clone()
    set_torch_compile_wrapper(clone, backend=backend)
    return clone


def variants(model) -> dict:
    """{name: the model with other kernels}, of those that there are."""
    functions = {name: get_attention_function(name, default=None) for name in ATTENTIONS}
    others = {f"{name} attention": with_attention(model, found) for name, found in functions.items() if found}
    return {**others, COMPILED: compiled(model)}


def compared(size: Size, model, others: dict, rounds: int) -> dict[str, Figure]:
    """The time of inversion and edit with each of some models, beside a plain one.

    Each runs once before; what does not run is left out.
    """

    def both(runs: ClipRuns) -> None:
        runs.invert()
        runs.edit(fused_in_every_step())

    ways = {PLAIN: ClipRuns(size, model)}
    both(ways[PLAIN])
    for name, variant in others.items():
        runs = ClipRuns(size, variant)
        try:
            both(runs)
        except Exception as problem:  # installed, but not for this GPU or this size; the bench goes on
            print(f"{name} does not run here: {problem}", flush=True)
        else:
            ways[name] = runs
    times = in_turn({name: lambda runs=runs: both(runs) for name, runs in ways.items()}, rounds)
    figures = {}
    for name in list(ways)[1:]:
        value, spread = ratio([times[name]], [times[PLAIN]])
        key = f"{name.replace('.', '_').replace(' ', '_')}_ratio"
        meaning = f"time of inversion and edit with {name} / with PyTorch's own attention, not compiled"
        figures[key] = Figure(value, RATIO, meaning, str(size), rounds, None, spread)
    return figures


def other_kernels(plan: Plan) -> dict[str, Figure]:
    """Of what is installed. None on the CPU, where these attentions do not run and compiling takes minutes."""
    if not torch.cuda.is_available():
        return {}
    model = random_model(plan.joined[-1].unet)
    return compared(plan.joined[-1], model, variants(model), plan.repeats)
