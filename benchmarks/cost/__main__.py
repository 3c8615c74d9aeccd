"""`python -m benchmarks.cost [--short] [--json PATH]`: measures, and writes a table, results.json and RESULTS.md."""

import argparse
from pathlib import Path

import torch

from tools.terminal import Stage

from . import figures, report, tuning
from .sizes import Plan, plan_for

FOLDER = Path(__file__).resolve().parent.parent
# What needs the same model lies together; processes of their own come first, while this one is small.
STAGES = {
    "Time and memory against frames": figures.against_frames,
    "Time and memory against resolution": figures.against_resolution,
    "With the source's attention cached": figures.with_cache,
    "Against stored maps": figures.against_stored_maps,
    "Replay joined or separate": figures.joined_replay,
    "A step of a tuning": tuning.tuning_step,
    "Against ComfyUI's sampler": figures.ratios_to_sampler,
}


@torch.inference_mode()
def measure(plan: Plan) -> tuple[dict, dict]:
    """All figures by name, and the profile."""
    measured = {}
    for what, stage in STAGES.items():
        with Stage(what):
            measured |= stage(plan)
    with Stage("Where the time goes"):
        profile = figures.profile(plan)
    return measured, profile


def main():
    parser = argparse.ArgumentParser("dev.py bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="PATH",
        help="where to write the figures instead of benchmarks/results.json; RESULTS.md then stays",
    )
    options = parser.parse_args()
    machine = report.machine()
    print(f"Measuring on {report.machine_in_words(machine)}", flush=True)
    measured, profile = measure(plan_for(torch.cuda.is_available(), options.short))
    print("\n" + report.terminal_table(measured) + "\n")
    (options.json or FOLDER / "results.json").write_text(
        report.as_json(measured, profile, machine, options.short), encoding="utf-8"
    )
    if options.json is None:
        results = FOLDER / "RESULTS.md"
        new = report.section(measured, profile, machine, options.short)
        results.write_text(report.replace_section(results.read_text(encoding="utf-8"), new), encoding="utf-8")
    print(f"Written: {options.json or 'benchmarks/results.json and benchmarks/RESULTS.md'}")


if __name__ == "__main__":
    main()
