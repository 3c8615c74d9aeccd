"""FateZero for ComfyUI on a fresh machine: try it, open it, test it.

    python dev.py demo     edits the demo clip in a real ComfyUI and says where the videos and the report lie
    python dev.py serve    opens that ComfyUI in the browser with the demo workflow loaded
    python dev.py check    looks through the code without running it: lint, format, types, calls of ComfyUI
    python dev.py format   rewrites the code as check wants it
    python dev.py test     runs all tests
    python dev.py bench    measures what an edit costs and writes it to benchmarks/ (--short: in under five minutes)
    python dev.py quality  measures how good edits are and writes it to benchmarks/quality/ (--short: some five minutes)
    python dev.py batch    makes many edits from a table: `batch --help` tells how
    python dev.py browser  tests ComfyUI's real page in headless Chromium (--pictures FOLDER: with screenshots)
    python dev.py screens  makes the pictures of that page in docs/screens anew
    python dev.py fuzz     gives every node what no one should: bad inputs, spoilt files (--minutes N)
    python dev.py faults   lets every call of every node fail once, and looks what is left
    python dev.py soak     runs a graph 200 times in one server of each kind, and watches its memory

The first run installs torch and ComfyUI into this folder (.venv and .comfyui), later runs start at once. `demo` and
`serve` take --comfyui PATH (and --python PATH) to use an existing installation instead, --port N, and any further
argument of ComfyUI; `test` passes its arguments on to pytest.
"""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):  # this file alone must be readable by any Python, old ones included
    sys.exit(
        "dev.py needs Python 3.10 to 3.13 and was started with {}.{}; install one of those and start dev.py "
        "with it, for instance `python3.12 dev.py demo`.".format(*sys.version_info[:2])
    )

from tools.commands import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(__doc__))
