"""Whether processes have ended, for tests that kill some."""

import time

import psutil


def ended(process):
    """Whether a process is gone, also one whose exit status nobody has asked for."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(happens, patience=60):
    """Waits until something happens; False if it does not."""
    deadline = time.monotonic() + patience
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.1)
    return happens()
