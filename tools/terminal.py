"""One line per stage in the terminal; on a real terminal the line moves while the stage runs."""

import shutil
import sys
import time


class Stage:
    """`  what ... 3.1 s`, printed when the stage is over; a context manager whose line `show` can update meanwhile."""

    def __init__(self, what):
        self.what = what
        self.started = time.monotonic()
        self.show("")

    @property
    def seconds(self):
        return time.monotonic() - self.started

    def show(self, doing):
        """Puts `doing` behind the stage's name, on a terminal only."""
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print("\r" + f"  {self.what} ... {doing}"[:width].ljust(width), end="", flush=True)

    def bar(self, value, maximum):
        """Shows `value` of `maximum` steps as a bar."""
        filled = round(20 * value / maximum)
        self.show(f"[{'#' * filled}{'.' * (20 - filled)}] {value:.0f}/{maximum:.0f}")

    def end(self, result=None):
        """Leaves the finished line: the stage and its seconds, or the `result` given."""
        self.show("")
        start = "\r" if sys.stdout.isatty() else ""
        print(f"{start}  {self.what} ... {result or f'{self.seconds:.1f} s'}", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.end("stopped" if kind else None)
