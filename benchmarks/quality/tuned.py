"""`python -m benchmarks.quality.tuned [--held-out]`: does tuning to the clip help edits of shape?

Makes and measures edits of shape, with and without colour, on models tuned to the clip and on the demo model as it is,
and writes TUNED.md and tuned.json. A stopped run goes on. Settings are chosen on the tuning half; --held-out shows the
chosen ones on other clips, drawn from a seed of their own.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from fatezero_pack.demo import world
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.tuning.settings import PRESETS

from .cases import HELD_OUT, TUNING, Case, load_cases
from .draw_cases import draw_edit
from .methods import TUNE_A_VIDEO, Method, Tuned
from .runs import make_clips

PAGE, FIGURES = (Path(__file__).parent / name for name in ("TUNED.md", "tuned.json"))
FRAMES, SIDE = 3, 128
SEED = 20261126  # of the held-out clips that cases.json does not have
HELD_OUT_CLIPS = {"shape": 12, "colour and shape": 8}
CHOSEN_FROM = {"shape": 3, "colour and shape": 2}

RATES = {"Tune-A-Video": 3e-4, "FateZero": 1e-4}  # the demo model is small: the published ones hardly move it
STEPS = {"Tune-A-Video": (100, 200), "FateZero": (50, 100)}
RANK = 16


def cases(half: str) -> list[Case]:
    """Clips of a half of cases.json in few frames of one size; the held-out half is filled up from the seed."""
    counts = CHOSEN_FROM if half == TUNING else HELD_OUT_CLIPS
    rng = np.random.default_rng(SEED)
    chosen = []
    for kind, count in counts.items():
        listed = [case for case in load_cases() if case.kind == kind and case.half == half][:count]
        drawn = [drawn_case(rng, kind, number) for number in range(count - len(listed))]
        chosen += [replace(case, frames=FRAMES, height=SIDE, width=SIDE) for case in listed + drawn]
    return chosen


def drawn_case(rng, kind: str, number: int) -> Case:
    source, target, preset = draw_edit(rng, kind, 0)
    prompts, seed = (world.caption(source), world.caption(target)), int(rng.integers(1000))
    name = f"{kind.replace(' ', '_')}_tuned_{number + 1}"
    return Case(name, kind, HELD_OUT, preset, source, target, *prompts, seed, FRAMES, SIDE, SIDE)


def edits(prefix: str, **how) -> list[Method]:
    """The ways to edit that are compared on each model."""
    short = {"self_window": Window(0, 0.3), "cross_window": Window(0, 0.3)}
    return [
        Method(f"{prefix}TAV + DDIM, guidance 12.5", TUNE_A_VIDEO, guidance=12.5, **how),
        Method(f"{prefix}shape", **how),
        Method(f"{prefix}shape (as in the paper)", as_in_paper=True, **how),
        Method(f"{prefix}shape, windows 0.3", changes=short, **how),
    ]


def tuned_edits(preset: str, steps: int) -> list[Method]:
    """The same on a model tuned by a preset, with a rate and rank for the demo model, after so many steps."""
    published, rate = PRESETS[preset], RATES[preset]
    settings = replace(published, steps=STEPS[preset][-1], learning_rate=rate, rank=RANK if published.rank else 0)
    how = {"tuned": Tuned(settings, steps), "key_frames": published.key_frames, "normalise_across_frames": True}
    return edits(f"{preset} {rate:g} × {steps}: ", **how)


def chosen_from() -> list[Method]:
    tuned = [method for preset, tried in STEPS.items() for steps in tried for method in tuned_edits(preset, steps)]
    return [*edits("untuned: "), *tuned]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    make_clips([(case, method) for case in cases(TUNING) for method in chosen_from()], options.processes)


if __name__ == "__main__":
    main()
