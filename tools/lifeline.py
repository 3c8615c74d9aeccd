"""Processes that end when the one that started them is gone, however it ended: `kill -9` leaves no time to stop them.

A `Lifeline` listens on a local port. `python lifeline.py PORT ...` connects to it and runs what follows, a script or
`-m` and a module, as Python would. Nobody ever sends a word: the system closes the connection with the process that
listens. Unlike a pipe this works alike on Linux, macOS and Windows and leaves standard input alone. Standard library
only, for it runs in any ComfyUI's Python.
"""

import multiprocessing
import os
import runpy
import socket
import sys
import threading


class Lifeline:
    """Holds the processes that are started by its commands; a context manager. Once it is closed they end too."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.listener.close()

    def command(self, python, *arguments):
        """What runs `python` with these arguments, for subprocess: a script or "-m" and a module, then its own."""
        port = self.listener.getsockname()[1]
        return [str(python), os.path.abspath(__file__), str(port), *map(str, arguments)]


def hold(port):
    """Ends this process, at once and from any thread, when whoever listens on the local port is gone."""
    try:
        connection = socket.create_connection(("127.0.0.1", port))
    except OSError:
        os._exit(1)
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()


def _end_with(connection):
    try:
        connection.recv(1)
    except OSError:  # that is how a process that was killed hangs up
        pass
    os._exit(1)


def end_with_parent():
    """Ends this process of a multiprocessing pool with the one that made the pool, which it would wait for for ever."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def run(arguments):
    """Runs a script, or "-m" and a module, in this process, which finds what it would find without us."""
    as_module, ours = arguments[0] == "-m", os.path.dirname(os.path.abspath(__file__))
    sys.argv[:] = arguments[as_module:]
    if os.path.abspath(sys.path[0]) == ours:  # not where Python was told to put no folder there
        sys.path[0] = os.getcwd() if as_module else os.path.dirname(os.path.abspath(sys.argv[0]))
    if as_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    hold(int(sys.argv[1]))
    run(sys.argv[2:])
