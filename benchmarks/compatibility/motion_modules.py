"""`python -m benchmarks.compatibility.motion_modules --pack PATH [--write]`: AnimateDiff's motion modules as the model.

PATH is a checkout of ComfyUI-AnimateDiff-Evolved. Each motion module has the keys and shapes of the released one and
random weights; its own loader reads it from a file. The checkpoint below it has real shapes, too (families.py).
"""

import argparse
import gc
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import folder_paths
import torch
from safetensors.torch import save_file

import nodes
from edit_cases import clip_latent

from .candidates import load_nodes
from .cells import BEFORE, EDIT, FRAMES, LAST, Bench, Cell, difference, stage
from .families import FAMILIES, SIZE, STEPS, random_checkpoint
from .graph import Graph, other_prompt, prompt
from .table import as_table, verdict, write_section

FOLDER = "animatediff_models"  # among ComfyUI's folders of models, registered by the pack
CONTEXT = 4  # frames that context and view options look at together
# Temporal attention alone: Video-P2P's preset without what it fuses besides.
TEMPORAL = {"preset": "word swap (Video-P2P)", "self_until": 0.0, "cross_until": 0.0, "mask_from": "off"}
FUSED_STEPS = 2  # of which that preset fuses the first


@dataclass(frozen=True)
class MotionModule:
    """A released motion module: what it stands on, its longest clip, and whether the middle block has one."""

    family: str
    widths: tuple[int, ...]
    longest: int
    has_middle: bool = False


MODULES = {
    "v1": MotionModule("SD 1.5", (320, 640, 1280, 1280), 24),
    "v2": MotionModule("SD 1.5", (320, 640, 1280, 1280), 32, has_middle=True),
    "v3": MotionModule("SD 1.5", (320, 640, 1280, 1280), 32),
    "SDXL beta": MotionModule("SDXL base", (320, 640, 1280), 32),
}


def random_weights(module: MotionModule) -> dict[str, torch.Tensor]:
    """The state of a motion module, in half precision."""
    places = [(f"down_blocks.{level}", width, 2) for level, width in enumerate(module.widths)]
    places += [(f"up_blocks.{level}", width, 3) for level, width in enumerate(reversed(module.widths))]
    places += [("mid_block", module.widths[-1], 1)] if module.has_middle else []
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for place, width, count in places:
        for index in range(count):
            for name, shape in _shapes(width, module.longest).items():
                key = f"{place}.motion_modules.{index}.temporal_transformer.{name}"
                weights[key] = _random(name, shape, generator).half()
    return weights


def _shapes(width: int, longest: int) -> dict[str, tuple[int, ...]]:
    block = "transformer_blocks.0."
    matrices = {"proj_in": (width, width), "proj_out": (width, width)}
    matrices |= {f"{block}ff.net.0.proj": (8 * width, width), f"{block}ff.net.2": (width, 4 * width)}
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(2):
        attention = f"{block}attention_blocks.{index}."
        shapes |= {f"{attention}to_{part}.weight": (width, width) for part in "qkv"}
        shapes[f"{attention}pos_encoder.pe"] = (1, longest, width)
        matrices[f"{attention}to_out.0"] = (width, width)
    for name, shape in matrices.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in ("norm", f"{block}norms.0", f"{block}norms.1", f"{block}ff_norm"):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def _random(name: str, shape: tuple[int, ...], generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight") and "norm" in name))
    return torch.randn(shape, generator=generator) * shape[-1] ** -0.5 * (0.3 if "proj_out" in name else 1.0)


def context_options():
    """AnimateDiff's windows over the clip, each through the whole model."""
    node = nodes.NODE_CLASS_MAPPINGS["ADE_StandardStaticContextOptions"]()
    return getattr(node, node.FUNCTION)(context_length=CONTEXT, context_overlap=2)[0]


def views_only():
    """Its windows within the motion modules alone, while all frames are in the model."""
    views = nodes.NODE_CLASS_MAPPINGS["ADE_StandardStaticViewOptions"]()
    (views,) = getattr(views, views.FUNCTION)(view_length=CONTEXT, view_overlap=2)
    node = nodes.NODE_CLASS_MAPPINGS["ADE_ViewsOnlyContextOptions"]()
    return getattr(node, node.FUNCTION)(view_opts_req=views)[0]


def applied(name: str, options=None):
    """A function that puts the motion module of a file on a model, through the pack's own nodes; options: as given out
    by its nodes for long clips."""
    found = nodes.NODE_CLASS_MAPPINGS

    @cache  # in a graph one node feeds both the inversion and the edit
    def motion():
        (loaded,) = found["ADE_LoadAnimateDiffModel"]().load_motion_model(name)
        return found["ADE_ApplyAnimateDiffModelSimple"]().apply_motion_model(loaded)[0]

    def patch(model):
        apply = found["ADE_UseEvolvedSampling"]()
        return apply.use_evolved_sampling(model, "autoselect", m_models=motion(), context_options=options)[0]

    return torch.inference_mode()(patch)


@torch.inference_mode()
def examined_module(module: MotionModule, file: str) -> dict[str, Cell]:
    """Cells by what is done: edits that fit the module's window, with Video-P2P's preset and in views; longer clips."""
    family, model = FAMILIES[module.family], random_checkpoint(FAMILIES[module.family])
    graph = replace(family.graph(), patch=applied(file))
    in_views, in_windows = (replace(graph, patch=applied(file, make())) for make in (views_only, context_options))
    short, long, longer = FRAMES, CONTEXT + 2, module.longest + 1
    return {
        f"{short} frames": _edited(model, graph, short, preset={}),
        f"{short} frames, its temporal attention fused": _edited(model, graph, short, preset=TEMPORAL),
        f"{long} frames, views of {CONTEXT}, fused": _edited(model, in_views, long, preset=TEMPORAL),
        f"{longer} frames": _long(model, graph, longer),
        f"{longer} frames, views of {CONTEXT}": _long(model, in_views, longer),
        f"{long} frames, context options of {CONTEXT}": _long(model, in_windows, long),
    }


def _edited(model, graph: Graph, frames: int, preset: dict) -> Cell:
    cell, steps = Cell(), FUSED_STEPS if preset else STEPS
    bench = stage(
        cell, "inversion", lambda: Bench(model, usual=graph, size=SIZE, steps=steps, frames=frames, preset=preset)
    )
    if bench is not None:
        stage(cell, "edit", lambda: _edit(bench, graph, cell))
    return cell


def _edit(bench: Bench, graph: Graph, cell: Cell) -> None:
    alone = bench.alone(graph, bench.baseline)
    cell.effects["inversion"] = difference(bench.baseline[0], bench.latent)
    cell.effects["edit"] = difference(bench.edit, alone)
    others = [bench.edited(graph, bench.baseline, place) for place in (BEFORE, LAST)]
    cell.numbers["order at edit"] = max(difference(other, bench.edit) for other in others)
    cell.numbers["second run"] = difference(bench.edited(graph, bench.baseline), bench.edit)
    bench.edited(graph, bench.baseline, cache="auto")
    cell.numbers["cache = replay"] = difference(bench.edited(graph, bench.baseline, cache="auto"), bench.edit)
    if "preset" not in bench.preset:
        cell.numbers["windows shut = node alone"] = difference(bench.edited(graph, bench.baseline, shut=True), alone)


def _long(model, graph: Graph, frames: int) -> Cell:
    """More frames than the module looks at together; first sampled without the pack."""
    cell = Cell()
    if stage(cell, "without the pack", lambda: _sampled(model, graph, frames)) is not None:
        bench = stage(cell, "inversion", lambda: Bench(model, usual=graph, size=SIZE, steps=STEPS, frames=frames))
        if bench is not None:
            cell.effects["inversion"] = difference(bench.baseline[0], bench.latent)
            cell.effects["edit"] = difference(bench.edit, bench.alone(graph, bench.baseline))
    return cell


def _sampled(model, graph: Graph, frames: int):
    positive, others = graph.positive(prompt(EDIT.target)), graph.negative(other_prompt())
    latent = {"samples": clip_latent(frames, SIZE, SIZE)}
    return nodes.common_ksampler(graph.patch(model), 0, STEPS, 1.0, "euler", "normal", positive, others, latent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compatibility.motion_modules")
    parser.add_argument("--pack", type=Path, required=True, metavar="PATH", help="ComfyUI-AnimateDiff-Evolved")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="motion modules whose name contains one of these")
    parser.add_argument("--write", action="store_true", help="write the section of docs/compatibility.md")
    options = parser.parse_args()
    load_nodes(folders=[options.pack])
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.add_model_folder_path(FOLDER, folder)
        for name, module in MODULES.items():
            if options.only is None or any(part in name for part in options.only):
                save_file(random_weights(module), Path(folder, f"{name}.safetensors"))
                for what, cell in examined_module(module, f"{name}.safetensors").items():
                    cells[f"{name}, {what}"] = cell
                    print(name, what, verdict(cell), cell, flush=True)
                gc.collect()
    if options.write:
        write_section("Motion modules", [ABOUT, *as_table(cells, "motion module")])


ABOUT = """
What `python -m benchmarks.compatibility.motion_modules --pack PATH --write` found with ComfyUI-AnimateDiff-Evolved:
motion modules with the keys and shapes of the released ones and random weights, on checkpoints of real shapes; 64x64
pixels, one step, or two where it says *fused*: their temporal attention alone is taken from the source, as Video-P2P's
presets take it. A second run and another order of the nodes give the same to the bit. A clip longer than a module's
window goes through in views (Context Options, Views Only): the windows are then within the motion modules, and all
frames are in the model.

*moves the inversion* says how far the noise lies from the clip's latent, and *moves the edit* how far the edit lies
from the sampler alone, as shares of the latter's length (relative L2). Only 0 would be a fault: nothing would have been
done."""


if __name__ == "__main__":
    main()
