"""Edits by the demo video model against the drawn truth: inversion or not, fused attention, guidance, masks.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.coupled_edits [--half held-out]`.
Every setting edits the same clips from the same noise, so that settings are compared clip by clip. Settings are chosen
on one half of the clips; the other half is run once, with few of them. Figures are kept clip by clip in
coupled_edits.json, so that a stopped run goes on; those of other weights are dropped. The tables go into ../RESULTS.md.
"""

import argparse
import hashlib
import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from fatezero_pack.demo import world
from fatezero_pack.demo.video_model import WEIGHTS

from ..cost.report import machine, machine_in_words
from ..quality.cases import HELD_OUT, TUNING, Case
from ..quality.draw_cases import draw_edit
from ..quality.judge.network import Judge, load_judge
from ..quality.measures import measure
from ..quality.report import replace_section, without_nan
from ..quality.split import fits
from .coupled_tables import SHOWN, text_of
from .video_editor import FLOWEDIT, INVERSION, SEEN, SOURCE, TRUE, UNCHANGED, ClipEditor, Setting, VideoEditor

PAGE, FIGURES = Path(__file__).parents[1] / "RESULTS.md", Path(__file__).with_suffix(".json")
WRITER = "benchmarks.studies.coupled_edits"
SEED = 20261126
KINDS = ("colour", "shape", "one of two", "background", "style")
HALVES = {"choosing": TUNING, "held-out": HELD_OUT}
STEPS = 10
DEFAULT = Setting(cross=0.4)  # of Coupled Edit Sampler
# As templates invert, and where a new shape needs more guidance.
INVERTED = (Setting(INVERSION, cross=0.4), Setting(INVERSION, cross=0.4, cfg=5.5))
# Guidance and steps left out as its authors have them for FLUX: 28 steps, of which the last 24 are made.
PUBLISHED = Setting(FLOWEDIT, cfg=5.5, source_cfg=1.5, skip=4 / 28)
SETTINGS = {
    "Ways": [DEFAULT, Setting(), PUBLISHED, Setting(INVERSION), Setting(INVERSION, cross=0.4), Setting(UNCHANGED)],
    "Guidance": [*(Setting(cross=0.4, cfg=cfg) for cfg in (1, 2.5, 4)), Setting(cfg=4)],
    "Fused attention": [Setting(cross=0.8), Setting(cross=0.4, own=0.4), Setting(cross=0.8, own=0.8)],
    "Masks": [Setting(cross=0.4, mask=mask) for mask in (SEEN, TRUE)],
    "A new shape": [
        Setting(cross=0.4, cfg=5.5),
        *(Setting(cross=cross, cfg=5.5, mask=mask) for cross in (0, 0.4) for mask in (SEEN, TRUE)),
        Setting(FLOWEDIT, cfg=5.5, source_cfg=1.5, skip=4 / 28, mask=TRUE),
    ],
    "Away from the source's prompt": [Setting(cross=0.4, negative=SOURCE)],
    "From inverted noise": [
        Setting(INVERSION, cfg=1),
        Setting(INVERSION, cross=0.8, own=0.8),
        Setting(INVERSION, cross=0.4, mask=SEEN),
    ],
    "Guidance ends early": [INVERTED[1], *(replace(each, until=until) for each in INVERTED for until in (0.8, 0.6))],
}
# What the half that is held out is edited by: the ways, and what the other half has chosen.
FINAL = (
    *SETTINGS["Ways"],
    Setting(cross=0.8),
    Setting(cross=0.4, mask=SEEN),
    Setting(cross=0.4, cfg=5.5),
    Setting(cfg=5.5, mask=SEEN),
    INVERTED[1],
    *(replace(each, until=0.8) for each in INVERTED),
)


def draw_cases(half: str, count: int, frames: int) -> list[Case]:
    """So many edits of each kind, the same for every call; half: of HALVES."""
    cases = []
    for place, kind in enumerate(KINDS):
        rng = np.random.default_rng([SEED, list(HALVES).index(half), place])
        for number in range(count):
            source, target, preset = draw_edit(rng, kind, number)
            prompts, seed = (world.caption(source), world.caption(target)), int(rng.integers(1 << 20))
            name = f"{kind} {number + 1}"
            cases.append(Case(name, kind, HALVES[half], preset, source, target, *prompts, seed, frames, 128, 128))
    return sorted(cases, key=lambda case: int(case.name.rpartition(" ")[2]))  # a stopped run has as many of each kind


def groups_of(half: str, patterns: list[str]) -> dict[str, list[Setting]]:
    """The settings that a half is edited by, of those groups that the patterns ask for."""
    groups = {"Held out": list(FINAL)} if half == "held-out" else SETTINGS
    return {title: group for title, group in groups.items() if fits(title, patterns)}


def read_kept(weights: Path) -> dict:
    """What earlier runs with these weights have left, {"weights": digest, "runs": {title: {case: {setting: ...}}}}."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    kept = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    return kept if kept.get("weights") == digest else {"weights": digest, "runs": {}}


def keep(kept: dict) -> None:
    """Writes the figures, whole or not at all."""
    part = FIGURES.with_suffix(".part")
    part.write_text(json.dumps(without_nan(kept), indent=1) + "\n", encoding="utf-8")
    part.replace(FIGURES)


def make(editor: VideoEditor, cases: list[Case], settings: list[Setting], kept: dict, title: str) -> None:
    """Makes and measures the edits that are not there yet."""
    figures, judge = kept["runs"].setdefault(title, {}), load_judge()
    for case in cases:
        of_case = figures.setdefault(case.name, {})
        missing = [each for each in settings if each.applies(case) and str(each) not in of_case]
        if missing:
            clip = ClipEditor(editor, case)
            of_case.update({str(setting): measured(clip, setting, judge) for setting in missing})
            keep(kept)
            print(f"{title}: {case.name}, {len(missing)} edits", flush=True)


def measured(clip: ClipEditor, setting: Setting, judge: Judge) -> dict[str, float]:
    """What SHOWN says of an edit, and the seconds of one core that it took, inversion included."""
    began = time.process_time()
    edited = clip.edited(setting)
    seconds = time.process_time() - began
    figures = measure(clip.case, edited, clip.case.clip(clip.case.target), judge)
    return {**{name: float(f"{figures[name]:.4g}") for name in SHOWN}, "seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--half", choices=HALVES, default="choosing")
    parser.add_argument("--cases", type=int, default=4, help="of each kind")
    parser.add_argument("--frames", type=int, default=5, help="of a clip: 5, 9, 13 ...")
    parser.add_argument("--groups", nargs="*", default=["*"], metavar="PATTERN", help="titles of SETTINGS to run")
    parser.add_argument("--report", action="store_true", help="make nothing, and report what earlier runs have made")
    options = parser.parse_args()
    kept, title = read_kept(options.weights), f"{options.half}, {options.frames} frames, {STEPS} steps"
    if not options.report:
        cases = draw_cases(options.half, options.cases, options.frames)
        editor = VideoEditor(options.weights, STEPS)
        kept |= {"date": date.today().isoformat(), "machine": machine_in_words(machine())}
        with torch.inference_mode():
            for settings in groups_of(options.half, options.groups).values():
                make(editor, cases, settings, kept, title)
    pairs = [(str(each), str(replace(each, until=1.0))) for each in SETTINGS["Guidance ends early"] if each.until < 1]
    replace_section(PAGE, "coupled edits", text_of(without_nan(kept), str(DEFAULT), SETTINGS, pairs), WRITER)


if __name__ == "__main__":
    main()
