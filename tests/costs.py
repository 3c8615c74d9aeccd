"""What something costs, in figures that do not depend on the machine's load."""

import sys
import time


def lines_run(call) -> int:
    """How many lines of Python a call runs: what a loop in NumPy or PyTorch does counts as one."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def seconds(call, repeat: int = 5) -> float:
    """The least CPU time of several calls; for ratios."""
    times = []
    for _ in range(repeat):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return min(times)
