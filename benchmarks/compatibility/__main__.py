"""`python -m benchmarks.compatibility [--packs] [--only NAME] [--key-frames ...] [--write]`.

COMFYUI_PATH names the ComfyUI; with --packs the nodes of its custom_nodes folder are examined too.
"""

import argparse
from pathlib import Path

import comfyui_version

from edit_cases import small_model

from .candidates import candidates, load_nodes
from .cells import Bench, examined
from .table import as_rows, verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
HEAD = """# Beside other nodes

What `python -m benchmarks.compatibility` found with ComfyUI {version}: every node that patches a model and can be
applied to a UNet without further files, on a small UNet with random weights, {key_frames} as key frames.

*works*: the order of the nodes does not matter to the bit, a second run is the same to the bit, frames in chunks and a
cache give the same to 1e-5, and with all windows shut the edit is the node alone to 1e-6. The figures are relative L2
distances of latents: how far the node moves things.

"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compatibility")
    parser.add_argument("--packs", action="store_true", help="also the packs in ComfyUI's custom_nodes")
    parser.add_argument("--only", metavar="NAME", help="nodes whose name contains this")
    parser.add_argument("--key-frames", default="current, middle", help="of Inflate UNet")
    parser.add_argument("--write", action="store_true", help=f"write the page docs/{PAGE.name}")
    options = parser.parse_args()
    load_nodes(options.packs)
    bench = Bench(small_model(), options.key_frames)
    found = {}
    for candidate in candidates(options.only):
        found[candidate.name] = examined(bench, candidate.apply)
        print(as_rows({candidate.name: found[candidate.name]})[-1], flush=True)
    words = [verdict(cell) for cell in found.values()]
    print(", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)))
    if options.write:
        head = HEAD.format(version=comfyui_version.__version__, key_frames=options.key_frames)
        PAGE.write_text(head + "\n".join(as_rows(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
