"""`python -m benchmarks.quality`: makes and measures the edits and writes the report.

--split choosing or held-out runs a half of the second list, which the results stand on, with "third" or "fourth"
before it one of a later list; without it the first list runs, for regressions.
"""

import argparse
from dataclasses import replace

from . import report, split
from .cases import HELD_OUT, TUNING, load_cases
from .memory import peaks
from .methods import CURVES, OURS, first_table, preset_sweep
from .noise import reduced_list
from .runs import available_processes, make_clips


def read_options():
    parser = argparse.ArgumentParser(
        "dev.py quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="one edit of each kind, and no curves")
    parser.add_argument(
        "--processes",
        type=int,
        default=available_processes(),
        metavar="N",
        help="processes at once (default: one for each core)",
    )
    parser.add_argument("--report", action="store_true", help="make nothing, and report what earlier runs have made")
    split.add_arguments(parser)
    return parser.parse_args()


def main():
    options = read_options()
    if options.split:
        split.run(options)
        return
    cases = load_cases()
    first = [case for case in cases if case.half == TUNING and case.name.endswith("_1a")]
    if options.short:
        shown, varied, swept = {"One edit of each kind": [shortened(case) for case in first]}, [], {}
    else:
        shown = {"Held-out edits": [case for case in cases if case.half == HELD_OUT]}
        tuning = [shortened(case) for case in cases if case.half == TUNING]
        varied = [case for case in tuning if case.frames > 1]
        swept = {
            preset: [case for case in tuning if case.preset == preset]
            for preset in dict.fromkeys(case.preset for case in tuning)
        }
    varied_methods = [method for points in CURVES.values() for _, method in points]
    stages = {title: [(case, method) for case in group for method in first_table()] for title, group in shown.items()}
    stages["Reduced list"] = [(case, OURS) for variants in reduced_list(cases) for case in variants]
    stages["Preset sweep"] = [
        (case, method) for preset, of_preset in swept.items() for case in of_preset for method in preset_sweep(preset)
    ]
    stages["Curves"] = [(case, method) for case in varied for method in varied_methods]
    for title, pairs in stages.items():
        if not options.report:
            print(f"{title}:", flush=True)
            make_clips(pairs, options.processes)
    report.write(
        shown, varied, swept, reduced_list(cases), peaks(first_table(), options.processes), short=options.short
    )


def shortened(case):
    """Four frames of a clip are enough to compare settings."""
    return replace(case, frames=min(case.frames, 4))


if __name__ == "__main__":
    main()
