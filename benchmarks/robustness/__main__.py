"""`python -m benchmarks.robustness fuzz|faults|soak ...`; dev.py runs it so."""

import argparse
import os
import sys

from .faults import faults
from .fuzz import fuzz
from .soak import MODES, RUNS, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fuzz", help="what do the nodes say of bad inputs and spoilt files?")
    command.add_argument("--minutes", type=float, default=1.0, metavar="N")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the first turn")
    command = commands.add_parser("faults", help="what is left when a call fails?")
    command.add_argument("--only", default="", metavar="NODE", help="scenarios whose name contains this")
    command.add_argument("--most", type=int, default=0, metavar="N", help="calls that fail, of each kind (0: all)")
    command = commands.add_parser("soak", help="does a server's memory grow?")
    command.add_argument("--runs", type=int, default=RUNS, metavar="N")
    command.add_argument("--only", default="", metavar="MODE", help=f"of {', '.join(MODES)}: those that contain this")
    options = parser.parse_args()
    os.environ.setdefault("SVT_LOG", "1")  # the encoder of av1 says errors only
    if options.command == "fuzz":
        fuzz(options.minutes, options.seed)
    elif options.command == "faults":
        return int(not faults(options.most, options.only))
    else:
        soak(options.runs, options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
