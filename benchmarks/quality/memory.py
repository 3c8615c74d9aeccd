"""The most memory that a method takes beyond the loaded model: each in a process of its own, for a peak never falls.

`python -m benchmarks.quality.memory NUMBER` measures a method of the main table.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from benchmarks.cost.memory import answer_apart, peak_memory, resting_memory

from .cases import load_cases
from .methods import TRUTH, UNCHANGED, Method, first_table

STEPS = 2  # memory does not grow with them, but for a few kB of trajectory each


def peaks(methods: list[Method], processes: int) -> dict[str, int]:
    """Bytes of RAM by the method's name, of the first clip of the list; some methods at once."""
    print("Memory of each method.", flush=True)
    edits = [(number, method) for number, method in enumerate(methods) if method.way not in (TRUTH, UNCHANGED)]
    with ThreadPoolExecutor(processes) as pool:
        return dict(pool.map(lambda edit: (edit[1].name, peak_apart(*edit)), edits))


def peak_apart(number: int, method: Method) -> int:
    """Of the main table's method of that number, in a fresh process."""
    return int(answer_apart("benchmarks.quality.memory", str(number), method.name, OMP_NUM_THREADS="1"))


def peak(method: Method) -> int:
    """Of one method, in this process: only right in a fresh one."""
    from .editor import Editor

    editor, case = Editor(), load_cases()[0]
    editor.make(replace(case, frames=1), replace(method, steps=1))  # loads whatever is loaded at first use
    before, _ = resting_memory()
    editor.make(case, replace(method, steps=STEPS))
    return peak_memory()[0] - before


if __name__ == "__main__":
    print(peak(first_table()[int(sys.argv[1])]))
