"""`python -m benchmarks.cost [--short] [--only STAGE] [--json PATH]`: measures, and writes a table, results.json and
RESULTS.md."""

import argparse
import json
from pathlib import Path

import torch

from tools.terminal import Stage

from . import figures, kernels, report, tuning
from .sizes import Plan, plan_for

FOLDER = Path(__file__).resolve().parent.parent
# What needs the same model lies together; processes of their own come first, while this one is small.
PROFILE = "Where the time goes"
STAGES = {
    "Time and memory against frames": figures.against_frames,
    "Time and memory against resolution": figures.against_resolution,
    "With the source's attention cached": figures.with_cache,
    "Against stored maps": figures.against_stored_maps,
    "Replay joined or separate": figures.joined_replay,
    "A step of a tuning": tuning.tuning_step,
    "Other kernels": kernels.other_kernels,
    "Against ComfyUI's sampler": figures.ratios_to_sampler,
}


@torch.inference_mode()
def measure(plan: Plan, only: str | None = None) -> tuple[dict, dict]:
    """All figures by name, and the profile; of one stage alone where it is named."""
    measured, profile = {}, {}
    for what, stage in STAGES.items():
        if only in (None, what):
            with Stage(what):
                measured |= stage(plan)
    if only in (None, PROFILE):
        with Stage(PROFILE):
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
    parser.add_argument("--only", choices=[*STAGES, PROFILE], help="measure this alone; the other figures stay")
    options = parser.parse_args()
    machine = report.machine()
    print(f"Measuring on {report.machine_in_words(machine)}", flush=True)
    measured, profile = measure(plan_for(torch.cuda.is_available(), options.short), options.only)
    print("\n" + report.terminal_table(measured) + "\n")
    path = options.json or FOLDER / "results.json"
    results = report.results(measured, profile, machine, options.short)
    if options.only and path.exists():
        results = report.renewed(json.loads(path.read_text(encoding="utf-8")), results)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.json is None:
        page = FOLDER / "RESULTS.md"
        page.write_text(
            report.replace_section(page.read_text(encoding="utf-8"), report.section(results)), encoding="utf-8"
        )
    print(f"Written: {options.json or 'benchmarks/results.json and benchmarks/RESULTS.md'}")


if __name__ == "__main__":
    main()
