"""What an edit loses if the source's attention of one step serves the next ones as well.

`python -m benchmarks.studies.source_reuse [--cases 8]`, with COMFYUI_PATH set: *fast* edits of the rows' study
(`rows.py`), of one frame, on the small demo model, once with the source's attention of every step, then with that of
every second and third, in all layers or in those below the latent's own resolution ("coarse", as DeepCache keeps them;
their inputs are exact here, so that this is the best case). Prints the UNet rows of a frame that would be saved and
what changes in the edit, with 95 % intervals; beside them an edit of one step fewer, which saves rows as well.
"""

import argparse
import re
from dataclasses import replace
from statistics import mean
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from fatezero_pack.fatezero.edit.settings import CACHE
from fatezero_pack.fatezero.edit.unet import source_cache
from fatezero_pack.fatezero.network.unet.layer_sizes import layer_sizes
from fatezero_pack.fatezero.report import metrics

from ..cost.runs import weightless_unet
from ..cost.sizes import SD15
from ..quality import measures
from ..quality.cases import Case
from ..quality.editor import Editor
from ..quality.intervals import in_words, interval
from ..quality.judge import network as judge
from .rows import fast, spread, study_cases

STEPS = 10
EXACT, COARSE, ALL, SHORTER = "every step", "coarse layers", "all layers", f"{STEPS - 1} steps"
WAYS = {f"{layers}, every {every}": (layers, every) for layers in (COARSE, ALL) for every in (2, 3)}
FINEST = re.compile(r"UNetModel\.(input_blocks\.[012]|output_blocks\.(9|10|11))\.\d+")  # of SD 1.5
SHOWN = ("located", "success", "psnr_inside", "psnr_outside", "perceptual")


def coarse_share() -> float:
    """The share of a row of SD 1.5 at 512x512 below the latent's own resolution, in floating-point operations."""
    network = weightless_unet(SD15).to("meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 768))
    counts = {name: sum(of_kind.values()) for name, of_kind in counter.get_flop_counts().items()}
    finest = sum(count for name, count in counts.items() if name.count(".") == 3 and FINEST.fullmatch(name))
    return 1 - (finest + counts["UNetModel.out"] + counts["UNetModel.time_embed"]) / counts["Global"]


def reuse(places: dict, layers: set, every: int) -> tuple[dict, int]:
    """A cache's places in which only every so-manieth step has attention of its own, and how many others there are.

    Args:
        places: {(sigma, layer): ...} of the cache.
        layers: The layers that are meant; the others keep theirs.
        every: 2 for every second step.
    """
    sigmas, changed = sorted({sigma for sigma, _ in places}, reverse=True), dict(places)
    for index, sigma in enumerate(sigmas):
        for layer in layers:
            if (sigma, layer) in places:
                changed[sigma, layer] = places[sigmas[index - index % every], layer]
    return changed, sum(index % every > 0 for index in range(len(sigmas)))


class Study:
    """One case at a time: its inversion, and its edits with the attention of fewer steps."""

    def __init__(self):
        self.editor, self.judge = Editor(), judge.load_judge()

    def figures(self, case: Case) -> dict[str, dict[str, float]]:
        """{way: the measures of its edit, its PSNR to the exact edit, the steps without source rows}."""
        self.editor.begin(case)
        method = replace(fast(STEPS), changes={"source_attention": CACHE})
        model = self.editor.unet(method)
        source, before = self.editor.invert(method, model), self.editor.rows
        exact = self.editor.vae.decode(self.editor.edit(method, model, source))
        found = {EXACT: self._measured(exact, case)}
        found[EXACT]["rows"] = STEPS + self.editor.rows - before
        shorter, _ = self.editor.make(case, fast(STEPS - 1))
        found[SHORTER] = self._beside(exact, shorter, case)
        places, network = dict(source.cache._places), model.model.diffusion_model
        height, width = source.trajectory.shape[-2:]
        sizes = {layer: tokens for layer, tokens, _ in layer_sizes(network, height, width)}
        chosen = {COARSE: {layer for layer in sizes if sizes[layer] < height * width}, ALL: set(sizes)}
        for name, (layers, every) in WAYS.items():
            source.cache._places, saved = reuse(places, chosen[layers], every)
            clip = self.editor.vae.decode(self.editor.edit(method, model, source))
            found[name] = self._beside(exact, clip, case)
            found[name]["saved"] = saved
        return found

    def _measured(self, clip: torch.Tensor, case: Case) -> dict[str, float]:
        return measures.measure(case, clip, case.clip(case.target), self.judge)

    def _beside(self, exact: torch.Tensor, clip: torch.Tensor, case: Case) -> dict[str, float]:
        return {**self._measured(clip, case), "to exact": metrics.mean(metrics.psnr(clip, exact))}


def report(cases: list[dict[str, dict[str, float]]], share: float) -> None:
    """Prints what each way saves and changes; share: of a row that is the coarse layers'."""
    print(f"\nA frame takes {mean(case[EXACT]['rows'] for case in cases):.1f} rows.")
    for name in (*WAYS, SHORTER):
        print(f"\n{name}: saves {saved_by(name, cases, share):.1f}")
        print(f"  {'PSNR to the exact edit':24} {in_words(*interval(case[name]['to exact'] for case in cases), 1)}")
        for measure in SHOWN:
            differences = [case[name][measure] - case[EXACT][measure] for case in cases]
            print(f"  {measure:24} {in_words(*interval(differences), 3, '+')}")


def saved_by(name: str, cases: list[dict[str, dict[str, float]]], share: float) -> float:
    """The rows of a frame that a way does without, in the mean over the cases."""
    if name == SHORTER:
        return mean(case[EXACT]["rows"] for case in cases) / STEPS
    layers, _ = WAYS[name]
    return mean(case[name]["saved"] for case in cases) * (share if layers == COARSE else 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=8)
    options, share = parser.parse_args(), coarse_share()
    print(f"Coarse layers are {share:.0%} of a row of SD 1.5 at 512x512.", flush=True)
    study, found = Study(), []
    # Nothing is left for, or taken up from, other edits of the session.
    alone = mock.patch.multiple(source_cache, keeps_attention=lambda: False, keep_attention=lambda *_: None)
    with torch.inference_mode(), alone:
        for case in spread(study_cases(), options.cases):
            found.append(study.figures(replace(case, frames=1)))
            print(
                case.name,
                {name: round(figures.get("to exact", 0.0), 1) for name, figures in found[-1].items()},
                flush=True,
            )
    report(found, share)


if __name__ == "__main__":
    main()
