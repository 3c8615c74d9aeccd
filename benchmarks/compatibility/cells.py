"""What is measured of a node beside the pack: relative L2 differences of latents, through the pack's own nodes.

The order of nodes must not matter; with all windows shut the edit is the node alone; frames in chunks, a cache and a
second run give the same.
"""

from dataclasses import dataclass, field

import comfy.samplers
import torch

from edit_cases import clip_latent, conditioning, negative, prompt_edit
from fatezero_pack.fatezero.refusal import Refusal
from fatezero_pack.nodes.attention_blend import AttentionBlend
from fatezero_pack.nodes.inflate import CUSTOM, InflateUNet
from fatezero_pack.nodes.invert import Invert

FRAMES, STEPS, CFG = 2, 3, 4.0
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

    effects: how far it moves inversion and edit; numbers: differences by name (see LIMITS); refused: the sentences with
    which a stage was refused; broken: errors that are none of ours, by stage.
    """

    effects: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        return [name for name, value in self.numbers.items() if not value <= LIMITS[name]]


class Bench:
    """A small model, a clip and the pack's nodes, to run a node beside them."""

    def __init__(self, model, key_frames: str = "current, middle"):
        self.model = model
        self.key_frames = key_frames
        self.latent = clip_latent(frames=FRAMES)
        self.baseline = self.inverted(unchanged)
        self.edit = self.edited(unchanged, AFTER, self.baseline)

    def built(self, apply, place: str, at_once: int = 0):
        """The model with the node before or after Inflate."""
        model = apply(self.model) if place == BEFORE else self.model
        if self.key_frames:
            model = InflateUNet.execute(
                model, CUSTOM, custom_key_frames=self.key_frames, frames_at_once=at_once
            ).result[0]
        return apply(model) if place == AFTER else model

    def inverted(self, apply, place: str = AFTER, at_once: int = 0):
        """(noise latent, source run) of an inversion with the node on the model."""
        noise, source, *_ = Invert.execute(
            self.built(apply, place, at_once),
            conditioning(EDIT.source),
            {"samples": self.latent},
            steps=STEPS,
            schedule="normal",
            reuse=False,
        ).result
        return noise["samples"], source

    def edited(self, apply, place: str, inversion, at_once: int = 0, shut: bool = False, cache: str = "replay"):
        """The edit with the node at a place."""
        noise, source = inversion
        windows = {"self_until": 0.0, "cross_until": 0.0} if shut else {}
        model = self.built(apply, place, at_once)
        preset = {**PRESET, **windows}
        blended = AttentionBlend.execute(model, source, EDIT, preset=preset, source_attention=cache).result[0]
        return self.sampled(apply(blended) if place == LAST else blended, noise, source)

    def alone(self, apply, inversion):
        """The same sampling without Attention Blend."""
        noise, source = inversion
        return self.sampled(self.built(apply, AFTER), noise, source)

    def sampled(self, model, noise, source):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(conditioning(EDIT.target), negative())
        guider.set_cfg(CFG)
        return guider.sample(
            torch.zeros_like(noise),
            noise,
            comfy.samplers.sampler_object("euler"),
            source.sigmas.flip(0),
            disable_pbar=True,
            seed=0,
        )


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative L2; infinite where a value is not finite."""
    distance = float((a - b).norm() / b.norm())
    return distance if distance == distance else float("inf")


def unchanged(model):
    return model


def examined(bench: Bench, apply) -> Cell:
    """All that is measured of a node: `apply(model)` gives the patched model."""
    cell = Cell()
    runs = _stage(cell, "without the pack", lambda: bench.alone(apply, bench.baseline))
    inversion = _stage(cell, "inversion", lambda: _inversion(bench, apply, cell))
    # As graphs are wired: the node stands before both. Where inversion refuses it, at the edit alone.
    if runs is not None:
        _stage(cell, "edit", lambda: _edit(bench, apply, cell, inversion or bench.baseline))
        _stage(cell, "edit alone", lambda: bench.edited(apply, LAST, bench.baseline))
    return cell


def _inversion(bench: Bench, apply, cell: Cell):
    inversion = bench.inverted(apply, AFTER)
    cell.effects["inversion"] = difference(inversion[0], bench.baseline[0])
    cell.numbers["order at inversion"] = difference(bench.inverted(apply, BEFORE)[0], inversion[0])
    cell.numbers["chunks at inversion"] = difference(bench.inverted(apply, AFTER, at_once=1)[0], inversion[0])
    return inversion


def _edit(bench: Bench, apply, cell: Cell, inversion) -> None:
    edit = bench.edited(apply, AFTER, inversion)
    cell.effects["edit"] = difference(edit, bench.edit)
    cell.numbers["order at edit"] = max(
        difference(bench.edited(apply, place, inversion), edit) for place in (BEFORE, LAST)
    )
    cell.numbers["second run"] = difference(bench.edited(apply, AFTER, inversion), edit)
    shut = bench.edited(apply, AFTER, inversion, shut=True)
    cell.numbers["windows shut = node alone"] = difference(shut, bench.alone(apply, inversion))
    cell.numbers["chunks at edit"] = difference(bench.edited(apply, AFTER, inversion, at_once=1), edit)
    bench.edited(apply, AFTER, inversion, cache="auto")
    cell.numbers["cache = replay"] = difference(bench.edited(apply, AFTER, inversion, cache="auto"), edit)


def _stage(cell: Cell, name: str, run):
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
