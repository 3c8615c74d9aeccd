"""`python -m benchmarks.quality.draw_later_cases LIST`: draws the third or fourth list of edits, each from a seed.

Each was written before any edit of it was run; it never changes. They have the kinds that failed most in the second
list, new shapes, pairs, crossings and new grounds, because a list whose halves have been run many times is no judge: a
choice made now needs edits that nobody has seen, and so does the figure that judges it.
"""

import sys

from .cases import FOURTH_LIST, THIRD_LIST
from .draw_hard_cases import write_list

# list: its seed, before its cases' names, and how many cases of each kind are in each half
LISTS = {
    THIRD_LIST: (
        20261128,
        "third_",
        {
            "shape": 8,
            "colour and shape": 4,
            "pair of one colour": 6,
            "pair of one shape": 6,
            "crossing": 4,
            "background": 6,
        },
    ),
    FOURTH_LIST: (
        20261129,
        "fourth_",
        {
            "shape": 10,
            "colour and shape": 6,
            "pair of one colour": 8,
            "pair of one shape": 8,
            "crossing": 6,
            "background": 6,
        },
    ),
}


def main(name: str) -> None:
    path = next(path for path in LISTS if path.stem.startswith(name))
    seed, prefix, kinds = LISTS[path]
    write_list(path, seed, kinds, prefix)


if __name__ == "__main__":
    main(sys.argv[1])
