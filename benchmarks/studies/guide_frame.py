"""What it changes that the frames of a new shape follow one frame's attention (`fatezero/edit/correspondence.py`).

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.guide_frame [--held-out]`. Draws edits of
shape, a third of them of the colour too, makes each with and without it, and prints the differences of the means with
twice their standard error.

What it shows (6 frames of 128x128, preset *shape*): on 12 clips to choose from, difference error - 0.34 ± 0.23, flicker
- 0.18 ± 0.17, success - 3 ± 4 %; on 20 held-out clips, run once, difference error - 0.63 ± 0.50, flicker - 0.41 ± 0.40,
success + 3 ± 3 %, and nothing else changed by more than its error (inside + 0.0 ± 0.2 dB, outside + 0.0 ± 0.3 dB). It
takes 3 % more time. Tried beside it and not taken, on the first 12: a latent mask with a blurred edge is + 1.6 ± 0.9 dB
outside, but the shape comes through in 19 ± 23 % fewer frames, since the edge closes on it; blurred outwards alone it
does nothing; attention to the guide's queries in place of the nearest one gains less.
"""

import argparse
from dataclasses import replace

import numpy as np

from ..quality.cases import Case
from ..quality.methods import Method
from ..quality.runs import make_clips
from ..quality.tables import paired_difference
from ..quality.tuned import drawn_case

CHOOSE, HELD_OUT = (20261201, {"shape": 8, "colour and shape": 4}), (20261202, {"shape": 12, "colour and shape": 8})
FRAMES = 6
WITHOUT, WITH = Method("without", changes={"follow_guide": False}), Method("with", changes={"follow_guide": True})
MEASURES = ("success", "kept", "psnr_inside", "psnr_outside", "perceptual", "difference_error", "flicker")


def drawn(seed: int, counts: dict[str, int]) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases = [drawn_case(rng, kind, number) for kind, count in counts.items() for number in range(count)]
    return [replace(case, name=f"guide_{seed}_{case.name}", frames=FRAMES) for case in cases]


def main(held_out: bool, processes: int) -> None:
    cases = drawn(*(HELD_OUT if held_out else CHOOSE))
    make_clips([(case, method) for case in cases for method in (WITHOUT, WITH)], processes)
    for measure in MEASURES:
        mean, half_width = paired_difference(cases, WITH, WITHOUT, measure)
        print(f"{measure:20}{mean:+8.2f} ± {half_width:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="the clips that nothing was chosen on")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes at once")
    options = parser.parse_args()
    main(options.held_out, options.processes)
