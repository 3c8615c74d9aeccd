"""`python -m benchmarks.quality.draw_third_cases`: draws the third list of edits, third_cases.json, from one seed.

Written before any edit of the list was run; it never changes. It has the kinds that failed most in the second list, new
shapes, pairs, crossings and new grounds, because that list's halves had been run many times: a choice made now needs
edits that nobody has seen, and so does the figure that judges it.
"""

import json

import numpy as np

from .cases import HELD_OUT, THIRD_LIST, TUNING
from .draw_hard_cases import draw_entries

SEED = 20261128
# kind: how many cases of each half
KINDS = {
    "shape": 8,
    "colour and shape": 4,
    "pair of one colour": 6,
    "pair of one shape": 6,
    "crossing": 4,
    "background": 6,
}


def main():
    rng = np.random.default_rng(SEED)
    cases = []
    for kind, count in KINDS.items():
        for number in range(count):
            for half in (TUNING, HELD_OUT):
                name = f"third_{kind.replace(' ', '_')}_{number + 1}{'a' if half == TUNING else 'b'}"
                (entry,) = draw_entries(rng, kind, number)
                cases.append({"name": name, "kind": kind, "half": half, "seed": int(rng.integers(1000)), **entry})
    THIRD_LIST.write_text(json.dumps({"seed": SEED, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases: {THIRD_LIST}")


if __name__ == "__main__":
    main()
