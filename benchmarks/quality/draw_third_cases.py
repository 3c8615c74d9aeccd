"""`python -m benchmarks.quality.draw_third_cases`: draws the third list of edits, third_cases.json, from one seed.

Written before any edit of the list was run; it never changes. It has the kinds that failed most in the second list, new
shapes, pairs, crossings and new grounds, because that list's halves had been run many times: a choice made now needs
edits that nobody has seen, and so does the figure that judges it.
"""

from .cases import THIRD_LIST
from .draw_hard_cases import write_list

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
    write_list(THIRD_LIST, SEED, KINDS, "third_")


if __name__ == "__main__":
    main()
