"""`python -m benchmarks.compatibility [--only NAME ...] [--packs] [--pack PATH ...] [--without-core] [--write] ...`.

COMFYUI_PATH names the ComfyUI; with --packs the nodes of its custom_nodes folder are examined too, with --pack those of
packs that lie anywhere.
"""

import argparse
from collections import Counter
from pathlib import Path

import comfyui_version

from edit_cases import small_model

from .candidates import KINDS, candidates, load_nodes
from .cells import STEPS, Bench, examined, glanced
from .table import PAGE, as_row, as_table, verdict, write_section

HEADINGS = {
    "MODEL": "node on the model",
    "CONDITIONING": "node on a conditioning",
    "GUIDER": "guider",
    "SAMPLER": "sampler",
}
ABOUT = """
What `python -m benchmarks.compatibility --write` found with ComfyUI {version}: every node that patches a model, changes
a conditioning, guides or samples, and can be applied to a UNet without further files, on a small UNet with random
weights, {key_frames} as key frames. {packs}

*works*: the order of the nodes does not matter to the bit, a second run is the same to the bit, frames in chunks and a
cache give the same to 1e-5, and with all windows shut the edit is the node alone to 1e-6. *refused*: before work
starts, in the sentence beside it. *breaks without the pack*: ComfyUI's own fault with a batch of frames.

*moves the inversion* and *moves the edit* say how far the latent with the node lies from the latent without it, as a
share of the latter's length (relative L2): 0 is the same, 0.5 half as far as the latent is long, 1 and more another
latent altogether. No figure is a fault, since a node is there to move things; whether it does so rightly, the verdict
says. Above 0 at the inversion, give the edit the same node; above 1 at either, look at the result: little of what the
pack does alone is left in it.

*latent blend* is off in these edits. An edit takes Euler steps whichever sampler is chosen, and says so, since others
carry on what an edit changes from step to step: all samplers that are let through give one edit.

{counts}."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compatibility")
    parser.add_argument("--packs", action="store_true", help="also the packs in ComfyUI's custom_nodes")
    parser.add_argument("--pack", nargs="+", type=Path, default=[], metavar="PATH", help="also packs at these places")
    parser.add_argument("--without-core", action="store_true", help="the packs' nodes alone, in a section of their own")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="nodes whose name contains one of these")
    parser.add_argument("--key-frames", default="current, middle", help="of Inflate UNet")
    parser.add_argument("--steps", type=int, default=STEPS, help="of inversion and edit")
    parser.add_argument("--glance", action="store_true", help="in one order of the nodes, without chunks and cache")
    parser.add_argument("--write", action="store_true", help=f"write the page docs/{PAGE.name}")
    options = parser.parse_args()
    load_nodes(options.packs, options.pack)
    bench = Bench(small_model(), options.key_frames, steps=options.steps)
    found = {}
    for candidate in candidates(options.only):
        if options.without_core and candidate.pack == "core":
            continue
        found[candidate] = (glanced if options.glance else examined)(bench, candidate.graph)
        if found[candidate].in_place:
            bench = Bench(small_model(), options.key_frames, steps=options.steps)
        print(as_row(candidate.name, found[candidate]), flush=True)
    counted = Counter(map(verdict, found.values()))
    counts = ", ".join(f"{count} {word}" for word, count in counted.items())
    print(counts)
    if options.write:
        packs = sorted({candidate.pack for candidate in found} - {"core"})
        with_packs = f"With {', '.join(packs)}." if packs else "Without third-party packs."
        about = ABOUT.format(
            version=comfyui_version.__version__, key_frames=options.key_frames, packs=with_packs, counts=counts
        )
        heading = "Third-party packs" if options.without_core else "Nodes"
        write_section(heading, [about, *_tables(found)])


def _tables(found) -> list[str]:
    lines = []
    for kind in KINDS:
        cells = {_name(candidate): cell for candidate, cell in found.items() if candidate.kind == kind}
        lines += as_table(cells, HEADINGS[kind])
    return lines


def _name(candidate) -> str:
    return candidate.name if candidate.pack == "core" else f"{candidate.name} ({candidate.pack})"


if __name__ == "__main__":
    main()
