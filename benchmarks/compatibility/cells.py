"""What is measured of a node beside the pack: relative L2 differences of latents, through the pack's own nodes.

The order of nodes must not matter; with all windows shut the edit is the node alone; frames in chunks, a cache and a
second run give the same.
"""

from dataclasses import dataclass, field, replace

import torch

from edit_cases import clip_latent, prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.inflate import CUSTOM, InflateUNet
from fatezero_pack.nodes.invert import Invert

from .graph import AS_USUAL, Graph, other_prompt, prompt, unchanged

FRAMES, STEPS = 2, 3
PRESET = {
    "preset": "attribute",
    "self_from": 0.0,
    "self_until": 0.8,
    "cross_from": 0.0,
    "cross_until": 0.8,
    "mask_from": "words",
    "mask_threshold": 0.5,
    "latent_blend": False,
    "latent_from": 0.0,
    "latent_until": 1.0,
    "mask_self_attention": True,
}
EDIT = prompt_edit("a silver jeep on a road", "a red jeep on a road")
BEFORE, AFTER, LAST = "before Inflate", "after Inflate", "after Blend"
EXACT, ROUNDING = 0.0, 1e-5
LIMITS = {
    "order at inversion": EXACT,
    "chunks at inversion": ROUNDING,
    "order at edit": EXACT,
    "windows shut = node alone": 1e-6,
    "chunks at edit": ROUNDING,
    "cache = replay": ROUNDING,
    "second run": EXACT,
}


@dataclass
class Cell:
    """One node's results.

    in_place: whether the node has changed the model's own layers, for every other user of the checkpoint; effects: how
    far it moves inversion and edit; numbers: differences by name (see LIMITS); refused: the sentences with which a
    stage was refused; broken: errors that are none of ours, by stage.
    """

    in_place: bool = False
    effects: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        return [name for name, value in self.numbers.items() if not value <= LIMITS[name]]


class Bench:
    """A small model, a clip and the pack's nodes, to run a graph with them."""

    def __init__(
        self,
        model,
        key_frames: str = "current, middle",
        usual: Graph = AS_USUAL,
        size: int = 16,
        steps: int = STEPS,
        frames: int = FRAMES,
        preset: dict | None = None,
    ):
        """usual: the graph without the nodes in question; size: of the latent; preset: other values than PRESET's."""
        self.preset = preset or {}
        self.model = model
        self.key_frames = key_frames
        self.steps = steps
        self.latent = clip_latent(frames, size, size)
        self.baseline = self.inverted(usual)
        self.edit = self.edited(usual, self.baseline)

    def built(self, graph: Graph, place: str, at_once: int = 0):
        """The model with the graph's patch before or after Inflate."""
        model = graph.patch(self.model) if place == BEFORE else self.model
        if self.key_frames:
            model = InflateUNet.execute(
                model, CUSTOM, custom_key_frames=self.key_frames, frames_at_once=at_once
            ).result[0]
        return graph.patch(model) if place == AFTER else model

    def inverted(self, graph: Graph, place: str = AFTER, at_once: int = 0):
        """(noise latent, source run) of an inversion."""
        noise, source, *_ = Invert.execute(
            self.built(graph, place, at_once),
            graph.source(prompt(EDIT.source)),
            {"samples": self.latent},
            steps=self.steps,
            schedule="normal",
            reuse=False,
        ).result
        return noise["samples"], source

    def edited(self, graph: Graph, inversion, place=AFTER, at_once: int = 0, shut: bool = False, cache: str = "replay"):
        """The edit, with the graph's patch at a place."""
        noise, source = inversion
        windows = {"self_until": 0.0, "cross_until": 0.0} if shut else {}
        model = self.built(graph, place, at_once)
        preset = {**PRESET, **self.preset, **windows}
        blended = AttentionBlend.execute(model, source, EDIT, preset=preset, source_attention=cache).result[0]
        return self.sampled(graph, graph.patch(blended) if place == LAST else blended, noise, source)

    def alone(self, graph: Graph, inversion):
        """The same sampling without Attention Blend."""
        noise, source = inversion
        return self.sampled(graph, self.built(graph, AFTER), noise, source)

    def sampled(self, graph: Graph, model, noise, source):
        positive, others = graph.positive(prompt(EDIT.target)), graph.negative(other_prompt())
        sigmas = source.sigmas.flip(0).clone()  # uni_pc writes into its own
        sampler = graph.sampler(model)
        guider = graph.guider(model, positive, others)
        return guider.sample(torch.zeros_like(noise), noise, sampler, sigmas, disable_pbar=True, seed=0)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative L2; infinite where a value is not finite."""
    distance = float((a - b).norm() / b.norm())
    return distance if distance == distance else float("inf")


def glanced(bench: Bench, graph: Graph) -> Cell:
    """Whether a graph works at all: one inversion, one edit and one with all windows shut."""
    cell, inversion = Cell(), bench.baseline
    if graph.touches_inversion:
        inversion = stage(cell, "inversion", lambda: bench.inverted(graph)) or inversion
    if "inversion" in cell.broken or "inversion" in cell.refused:
        return cell

    def edit() -> None:
        cell.effects["edit"] = difference(bench.edited(graph, inversion), bench.edit)
        shut = bench.edited(graph, inversion, shut=True)
        cell.numbers["windows shut = node alone"] = difference(shut, bench.alone(graph, inversion))

    stage(cell, "edit", edit)
    return cell


def examined(bench: Bench, graph: Graph) -> Cell:
    """All that is measured of a graph."""
    cell, inversion, layers = Cell(), bench.baseline, own_layers(bench.model)
    alone = graph if graph.source is unchanged else replace(graph, source=unchanged, positive=graph.source)
    works_alone = stage(cell, "without the pack", lambda: bench.alone(alone, bench.baseline)) is not None
    if graph.touches_inversion and (works_alone or graph.source is unchanged):
        inversion = stage(cell, "inversion", lambda: _inversion(bench, graph, cell))
    # As graphs are wired: a node on the model stands before both. Where inversion refuses it, at the edit alone.
    if works_alone:
        stage(cell, "edit", lambda: _edit(bench, graph, cell, inversion or bench.baseline))
        stage(cell, "edit in chunks", lambda: _edit_in_chunks(bench, graph, cell, inversion or bench.baseline))
        if graph.patch is not unchanged:
            stage(cell, "edit alone", lambda: bench.edited(graph, bench.baseline, LAST))
    cell.in_place = own_layers(bench.model) != layers
    return cell


def own_layers(model) -> list:
    """What a ModelPatcher's layers are and which of them have a `forward` of their own: no node should change it."""
    return [(type(module), vars(module).get("forward")) for module in model.model.diffusion_model.modules()]


def _inversion(bench: Bench, graph: Graph, cell: Cell):
    inversion = bench.inverted(graph)
    cell.effects["inversion"] = difference(inversion[0], bench.baseline[0])
    if graph.patch is not unchanged:
        cell.numbers["order at inversion"] = difference(bench.inverted(graph, BEFORE)[0], inversion[0])
    cell.numbers["chunks at inversion"] = difference(bench.inverted(graph, at_once=1)[0], inversion[0])
    return inversion


def _edit(bench: Bench, graph: Graph, cell: Cell, inversion) -> None:
    edit = bench.edited(graph, inversion)
    cell.effects["edit"] = difference(edit, bench.edit)
    if graph.patch is not unchanged:
        others = [bench.edited(graph, inversion, place) for place in (BEFORE, LAST)]
        cell.numbers["order at edit"] = max(difference(other, edit) for other in others)
    cell.numbers["second run"] = difference(bench.edited(graph, inversion), edit)
    shut = bench.edited(graph, inversion, shut=True)
    cell.numbers["windows shut = node alone"] = difference(shut, bench.alone(graph, inversion))
    bench.edited(graph, inversion, cache="auto")
    cell.numbers["cache = replay"] = difference(bench.edited(graph, inversion, cache="auto"), edit)


def _edit_in_chunks(bench: Bench, graph: Graph, cell: Cell, inversion) -> None:
    if "edit" in cell.effects:
        edit = bench.edited(graph, inversion)
        cell.numbers["chunks at edit"] = difference(bench.edited(graph, inversion, at_once=1), edit)


def stage(cell: Cell, name: str, run):
    """What a stage gives, or None after noting how it was refused or broke."""
    try:
        with torch.inference_mode():
            return run()
    except Exception as error:  # whatever another node raises
        if isinstance(error, Refusal):
            cell.refused[name] = str(error)
        else:
            cell.broken[name] = f"{type(error).__name__}: {error}"
        return None
