"""Peak memory beyond the model, of one clip in a process of its own: a peak of a process never falls.

`python -m benchmarks.cost.memory JSON` takes {"size": {...}, "works": [...]}, prints {work: {"ram", "vram", "cache"}}.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import torch

from tools.lifeline import Lifeline

from .sizes import Size

ROOT = Path(__file__).resolve().parents[2]
SAMPLE, INVERT, REPLAY = "guided sampler", "inversion", "edit by replay"
FIRST_CACHED, CACHED = "first edit with cache", "later edit with cache"
# glibc then gives freed tensors back at once, so that what counts is what is in use and not how the heap is cut up.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def peaks_apart(size: Size, works: list[str]) -> dict[str, dict[str, int]]:
    """The peak of each work, one after the other in a fresh process: bytes of RAM and VRAM beyond the loaded model, and
    what the cache of the source's attention holds afterwards."""
    question = json.dumps({"size": asdict(size), "works": works})
    return json.loads(answer_apart("benchmarks.cost.memory", question, str(size)))


def answer_apart(module: str, question: str, subject: str, **variables: str) -> str:
    """The last line that a module prints in a fresh process, where freed memory is given back at once.

    Args:
        module: What runs, such as "benchmarks.cost.memory".
        question: Its argument.
        subject: What is measured, for the error.
        variables: Of the process's environment.

    Raises:
        RuntimeError: The module stopped; with the end of what it wrote to stderr.
    """
    with Lifeline() as lifeline:
        answer = subprocess.run(
            lifeline.command(sys.executable, "-m", module, question),
            cwd=ROOT,
            text=True,
            capture_output=True,
            env={**os.environ, **GIVE_BACK, **variables},
        )
    if answer.returncode:
        raise RuntimeError(f"The measurement of {subject} stopped:\n{answer.stderr[-4000:]}")
    return answer.stdout.splitlines()[-1]


def peaks(size: Size, works: list[str]) -> dict[str, dict[str, int]]:
    """As `peaks_apart`, in this process: only right in a fresh one."""
    from .runs import ClipRuns, fused_in_every_step

    def run(runs, work):
        if work == SAMPLE:
            runs.sample(2)
        elif work == INVERT:
            runs.invert()
        else:
            runs.edit(fused_in_every_step("replay" if work == REPLAY else "cache"))

    with torch.inference_mode():
        warm = ClipRuns(replace(size, frames=1, steps=1))  # loads the model and whatever is loaded at first use
        for work in works:
            run(warm, work)
        runs = ClipRuns(size, warm.model)
        del warm
        before = resting_memory()
        results = {}
        for work in works:
            resting_memory()
            run(runs, work)
            ram, vram = peak_memory()
            cache = runs.source.cache.bytes.total if runs.source else 0
            results[work] = {"ram": ram - before[0], "vram": vram - before[1], "cache": cache}
    return results


def resting_memory() -> tuple[int, int]:
    """RAM and VRAM in use after everything unused was given back; the peaks start again from there."""
    gc.collect()
    if sys.platform == "linux":
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    if not torch.cuda.is_available():
        return psutil.Process().memory_info().rss, 0
    torch.cuda.reset_peak_memory_stats()
    return psutil.Process().memory_info().rss, torch.cuda.memory_allocated()


def peak_memory() -> tuple[int, int]:
    """The most RAM and VRAM in use: on Linux since `resting_memory`, elsewhere since the process began."""
    vram = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024, vram
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset, vram
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, vram  # bytes on macOS


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    print(json.dumps(peaks(Size(**question["size"]), question["works"])))
