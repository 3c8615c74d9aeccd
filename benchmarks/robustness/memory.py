"""The memory of another process: what it holds, and the most that it had for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Peak:
    """megabytes: how far the process went beyond what it had at the beginning; 0 where the system does not tell."""

    megabytes: float = 0.0


def held(process: int) -> float:
    """What a process holds in RAM, in MB: on Linux without the files that it has mapped (`RssAnon`), whose pages the
    system takes back as it likes."""
    status = Path("/proc", str(process), "status")
    return _entry(status, "RssAnon") if status.exists() else psutil.Process(process).memory_info().rss / 1e6


def _entry(status: Path, name: str) -> float:
    (line,) = [line for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def peak_since(process: int) -> Iterator[Peak]:
    """Within it, watches a process by its number (Linux: `VmHWM`); the Peak is filled in at the end."""
    peak, folder = Peak(), Path("/proc", str(process))
    watched = (folder / "clear_refs").exists()
    if watched:
        (folder / "clear_refs").write_text("5")
        begin = _entry(folder / "status", "VmRSS")
    yield peak
    if watched and (folder / "status").exists():
        peak.megabytes = max(0.0, _entry(folder / "status", "VmHWM") - begin)
