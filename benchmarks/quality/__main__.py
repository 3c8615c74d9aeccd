"""`python -m benchmarks.quality [--short] [--processes N]`: makes and measures the edits and writes the report."""
import argparse

from . import report
from .cases import HELD_OUT, TUNING, load_cases
from .memory import peaks
from .methods import ABLATIONS, CURVES, OURS, main_table
from .noise import reduced_list
from .runs import available_processes, make_clips


def main():
    parser = argparse.ArgumentParser("dev.py quality", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one edit of each kind, and no ablations")
    parser.add_argument("--processes", type=int, default=available_processes(), metavar="N",
                        help="processes at once (default: one for each core)")
    options = parser.parse_args()
    cases = load_cases()
    tuning, held_out = ([case for case in cases if case.half == half] for half in (TUNING, HELD_OUT))
    reduced = [(variant, OURS) for variants in reduced_list(cases) for variant in variants]
    if options.short:
        shown = {"One edit of each kind": [case for case in tuning if case.name.endswith("_1a")]}
        varied = []
    else:
        shown = {"Held-out edits": held_out, "Edits that settings were chosen on": tuning}
        varied = [case for case in tuning if case.frames > 1 and case.name[-2:] in ("1a", "2a")]
    pairs = [(case, method) for group in shown.values() for case in group for method in main_table()]
    pairs += reduced
    pairs += [(case, method) for case in varied for methods in ABLATIONS.values() for method in methods]
    pairs += [(case, method) for case in varied for points in CURVES.values() for _, method in points]
    make_clips(pairs, options.processes)
    report.write(shown, varied, reduced_list(cases), peaks(main_table()), short=options.short)


if __name__ == "__main__":
    main()
