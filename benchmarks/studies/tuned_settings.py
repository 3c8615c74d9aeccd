"""How to tune for an edit of shape (steps, what is trained, rank), and how firmly the edit is to hold the clip.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.tuned_settings [--processes N]`; a stopped
run goes on. Draws edits of shape from a seed of its own, and prints what each tuning and each way of editing gives.

What it shows (4 clips, 3 frames of 128x128, before the preset *shape* followed a guide; tuned minus untuned, ± twice
the standard error): no tuning helps inside the new shape. With *shape*, in dB: Tune-A-Video at 3e-4 after 50, 100, 200
and 500 steps - 0.2 ± 0.3, - 0.5 ± 0.6, - 0.8 ± 0.9 and - 0.5 ± 1.5, and from 200 steps on one clip of four keeps its
old shape; FateZero at 1e-4 and rank 16 after 50, 100 and 200 steps - 0.2 ± 0.3, - 0.4 ± 0.7 and - 0.7 ± 1.0; with rank
4 and 64 after 100 - 0.5 ± 0.3 and - 0.6 ± 1.0; queries alone - 0.3 ± 0.4, temporal parts alone - 0.4 ± 0.2. Outside it
gains: + 0.6 ± 0.6 with FateZero after 100 steps. Key frames and norms of a tuned model change nothing without tuning
(0.0 ± 0.0). Holding the clip less firmly helps tuned and untuned models alike: windows of 0 in place of 0.5 bring + 1.0
inside to the untuned and + 1.1 to the tuned, and cost 1 to 2 outside; leaving out the latent mask gains nothing inside.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.tuning.settings import PRESETS, QUERIES, TEMPORAL

from ..quality.cases import Case
from ..quality.methods import TUNE_A_VIDEO, Method, Tuned
from ..quality.runs import make_clips
from ..quality.tables import paired_difference
from ..quality.tuned import RANK, RATES, drawn_case

SEED, CLIPS = 20261127, 4
MEASURES = ("success", "psnr_inside", "psnr_outside", "flicker")


def edits(**how) -> dict[str, Method]:
    """{name: a way to edit}: the baseline, the published way, and ways that hold the clip less firmly."""
    short, none = ({"self_window": Window(0, until), "cross_window": Window(0, until)} for until in (0.3, 0))
    changed = {"windows 0.3": short, "windows 0": none, "no latent mask": {"latent_window": None}}
    return {
        "TAV + DDIM": Method("TAV + DDIM", TUNE_A_VIDEO, guidance=12.5, **how),
        "shape": Method("shape", **how),
        **{name: Method(name, changes=changes, **how) for name, changes in changed.items()},
    }


def on_tuned(preset: str, after: int, **changes) -> dict[str, Method]:
    """The same on a model that a preset has tuned so far, with a rate and rank for the demo model."""
    published = PRESETS[preset]
    values = {"steps": after, "learning_rate": RATES[preset], "rank": RANK if published.rank else 0, **changes}
    tuned = Tuned(replace(published, **values), after)
    return edits(tuned=tuned, key_frames=published.key_frames, normalise_across_frames=True)


def tunings() -> Iterator[tuple[str, dict[str, Method]]]:
    """What is compared with the model as it is: (name, its ways to edit)."""
    as_tuned = {"key_frames": PRESETS["FateZero"].key_frames, "normalise_across_frames": True}
    yield "not tuned, key frames and norms of a tuned one", edits(**as_tuned)
    for preset, last in (("Tune-A-Video", 500), ("FateZero", 200)):
        for after in (after for after in (50, 100, 200, 500) if after <= last):
            yield f"{preset}, {after} steps", on_tuned(preset, after, steps=last)
    for trained in (QUERIES, TEMPORAL):
        yield f"Tune-A-Video, 100 steps, {trained}", on_tuned("Tune-A-Video", 100, trained=trained)
    for rank in (4, 64):
        yield f"FateZero, 100 steps, rank {rank}", on_tuned("FateZero", 100, rank=rank)


def drawn() -> list[Case]:
    rng = np.random.default_rng(SEED)
    cases = [drawn_case(rng, "shape", number) for number in range(CLIPS)]
    return [replace(case, name=f"settings_{case.name}") for case in cases]


def main(processes: int) -> None:
    cases, untuned = drawn(), edits()
    everything = [untuned, *(ways for _, ways in tunings())]
    make_clips([(case, method) for case in cases for ways in everything for method in ways.values()], processes)
    print(f"{'minus the same on the model as it is':65}" + "".join(f"{measure:>18}" for measure in MEASURES))
    for name, ways in tunings():
        for edit, method in ways.items():
            differences = [paired_difference(cases, method, untuned[edit], measure) for measure in MEASURES]
            print(f"{name + ': ' + edit:65}" + "".join(f"{mean:+10.2f} ± {half:5.2f}" for mean, half in differences))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes at once")
    main(parser.parse_args().processes)
