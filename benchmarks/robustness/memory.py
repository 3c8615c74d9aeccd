"""The most memory that a process had for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Peak:
    """megabytes: how far the process went beyond what it had at the beginning; 0 where the system does not tell."""

    megabytes: float = 0.0


@contextmanager
def peak_since(process: int) -> Iterator[Peak]:
    """Within it, watches a process by its number (Linux: `VmHWM`); the Peak is filled in at the end."""
    peak, folder = Peak(), Path("/proc", str(process))
    watched = (folder / "clear_refs").exists()
    if watched:
        (folder / "clear_refs").write_text("5")
        begin = psutil.Process(process).memory_info().rss
    yield peak
    if watched and (folder / "status").exists():
        (line,) = [line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM")]
        peak.megabytes = max(0.0, int(line.split()[1]) / 1e3 - begin / 1e6)
