"""`python -m benchmarks.quality.tuned [--held-out]`: does tuning to the clip help edits of shape?

Makes and measures edits of shape, with and without colour, on models tuned to the clip and on the demo model as it is,
and writes TUNED.md and tuned.json. A stopped run goes on. Settings are chosen on the tuning half; --held-out shows the
chosen ones on other clips, drawn from a seed of their own.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from fatezero_pack.demo import world
from fatezero_pack.fatezero.edit.settings import RECONSTRUCTION
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.tuning.settings import PRESETS

from .cases import HELD_OUT, TUNING, Case, load_cases
from .draw_cases import draw_edit
from .figure_tables import Figures, differences, differences_within, means
from .methods import APART, ON_BOTH, SDEDIT, TUNE_A_VIDEO, Method, Tuned, video_p2p
from .pictures import methods_sheet
from .report import replace_section, without_nan
from .runs import make_clips, read_figures

PAGE, FIGURES = (Path(__file__).parent / name for name in ("TUNED.md", "tuned.json"))
FRAMES, SIDE = 3, 128
SEED = 20261126  # of the held-out clips that cases.json does not have
HELD_OUT_CLIPS = {"shape": 12, "colour and shape": 8}
CHOSEN_FROM = {"shape": 3, "colour and shape": 2}

RATES = {
    "Tune-A-Video": 3e-4,
    "FateZero": 1e-4,
    "Video-P2P": 3e-4,
}  # the demo model is small: the published ones hardly move it
STEPS = {"Tune-A-Video": (100, 200), "FateZero": (50, 100)}
RANK = 16
CHOSEN, CHOSEN_STEPS = "Tune-A-Video", 100
SHOWN_EDITS = 3  # the first ones of `edits`
SHOWN = (
    "success",
    "kept",
    "psnr_inside",
    "psnr_outside",
    "perceptual",
    "difference_error",
    "flicker",
    "tem_con",
    "frame_acc",
)


def cases(half: str) -> list[Case]:
    """Clips of a half of cases.json in few frames of one size; the held-out half is filled up from the seed."""
    counts = CHOSEN_FROM if half == TUNING else HELD_OUT_CLIPS
    rng = np.random.default_rng(SEED)
    chosen = []
    for kind, count in counts.items():
        listed = [case for case in load_cases() if case.kind == kind and case.half == half][:count]
        drawn = [drawn_case(rng, kind, number) for number in range(count - len(listed))]
        chosen += [replace(case, frames=FRAMES, height=SIDE, width=SIDE) for case in listed + drawn]
    return chosen


def drawn_case(rng, kind: str, number: int) -> Case:
    source, target, preset = draw_edit(rng, kind, 0)
    prompts, seed = (world.caption(source), world.caption(target)), int(rng.integers(1000))
    name = f"{kind.replace(' ', '_')}_tuned_{number + 1}"
    return Case(name, kind, HELD_OUT, preset, source, target, *prompts, seed, FRAMES, SIDE, SIDE)


def edits(prefix: str, **how) -> list[Method]:
    """The ways to edit that are compared on each model."""
    short = {"self_window": Window(0, 0.3), "cross_window": Window(0, 0.3)}
    return [
        Method(f"{prefix}TAV + DDIM, guidance 12.5", TUNE_A_VIDEO, guidance=12.5, **how),
        Method(f"{prefix}shape", **how),
        Method(f"{prefix}shape (as in the paper)", as_in_paper=True, **how),
        Method(f"{prefix}shape, windows 0.3", changes=short, **how),
    ]


def tuned_edits(preset: str, steps: int, last: int) -> list[Method]:
    """The same on a model tuned by a preset, with a rate and rank for the demo model, after so many of its steps."""
    return edits(f"{preset} {RATES[preset]:g} × {steps}: ", **on_tuned_model(preset, steps, last))


def on_tuned_model(preset: str, steps: int, last: int) -> dict:
    """A method's fields for a model tuned by a preset: how, and what such a model brings along."""
    published = PRESETS[preset]
    settings = replace(published, steps=last, learning_rate=RATES[preset], rank=RANK if published.rank else 0)
    return {"tuned": Tuned(settings, steps), "key_frames": published.key_frames, "normalise_across_frames": True}


def chosen_from() -> list[Method]:
    tuned = [tuned_edits(preset, steps, tried[-1]) for preset, tried in STEPS.items() for steps in tried]
    return [*edits("untuned: "), *(method for methods in tuned for method in methods)]


def shown() -> tuple[list[Method], list[Method]]:
    """What the held-out half shows: the model as it is, and tuned as was chosen; the same edits of both."""
    tuned = tuned_edits(CHOSEN, CHOSEN_STEPS, CHOSEN_STEPS)
    return edits("untuned: ")[:SHOWN_EDITS], tuned[:SHOWN_EDITS]


def table_one() -> list[Method]:
    """The rows of FateZero's Table 1 that tune no atlas: the baselines, and ours on a tuned model."""
    apart = {"key_frames": APART}
    return [
        Method(
            "prompt-to-prompt + null text, frame by frame",
            changes={"attention_from": RECONSTRUCTION},
            null_text=ON_BOTH,
            published_null_text=True,
            **apart,
        ),
        *(Method(f"SDEdit {strength}, frame by frame", SDEDIT, strength=strength, **apart) for strength in (0.6, 0.8)),
        *(replace(method, name=method.name.partition(": ")[2]) for method in shown()[1]),
    ]


def ablation() -> list[Method]:
    """Video-P2P's ablation: with and without tuning, and whose unconditional embedding the two branches take."""
    tuned = on_tuned_model("Video-P2P", CHOSEN_STEPS, CHOSEN_STEPS)
    ways = video_p2p("word swap (Video-P2P)")[2:]
    untuned = [replace(way, name=f"untuned: {way.name}", normalise_across_frames=True) for way in ways]
    return [*untuned, *(replace(way, name=f"tuned: {way.name}", **tuned) for way in ways)]


def held_out_methods() -> list[Method]:
    return [*shown()[0], *shown()[1], *table_one(), *ablation()]


def complete(cases: list[Case], methods: list[Method]) -> list[Case]:
    """Those that every method has made."""
    return [case for case in cases if all(read_figures(case, method) for method in methods)]


def write_report() -> None:
    """tuned.json, with what is stored of clips that are not here any more; TUNED.md between its marks; the sheet."""
    stored: Figures = json.loads(FIGURES.read_text(encoding="utf-8"))["cases"] if FIGURES.exists() else {}
    for half, methods in ((TUNING, chosen_from()), (HELD_OUT, held_out_methods())):
        for case in complete(cases(half), methods):
            stored[case.name] = {method.name: read_figures(case, method) for method in methods}
    FIGURES.write_text(json.dumps(without_nan({"cases": stored}), indent=1) + "\n", encoding="utf-8")
    draw_sheet()
    replace_section(PAGE, "tuned", text_of(json.loads(FIGURES.read_text(encoding="utf-8"))["cases"]))


def text_of(stored: Figures) -> str:
    """The section of TUNED.md, from what tuned.json holds."""
    tuning, held_out = (
        {case.name: stored[case.name] for case in cases(half) if case.name in stored} for half in (TUNING, HELD_OUT)
    )
    untuned, tuned = ([method.name for method in methods] for methods in shown())
    pairs = [*zip(tuned, untuned), (tuned[1], tuned[0])]
    kinds = {case.name: case.kind for case in cases(HELD_OUT)}
    text = [
        f"± is the interval of 95 % of a mean over clips (Student's t). Clips are {FRAMES} frames of {SIDE}x{SIDE}.",
        "",
        f"### Chosen from: {len(tuning)} clips of the tuning half",
        "",
        means(tuning, [method.name for method in chosen_from()], SHOWN),
        "",
        f"### Held out: {len(held_out)} clips",
        "",
        means(held_out, [*untuned, *tuned], SHOWN),
        "",
        "Differences, bold where the interval excludes zero:",
        "",
        differences(held_out, pairs, SHOWN),
        "",
        differences_within(held_out, kinds, pairs, SHOWN),
    ]
    for title, methods in (("FateZero's Table 1", table_one()), ("Video-P2P's ablation", ablation())):
        *others, ours = [method.name for method in methods]
        text += ["", f"### As {title}, on the same clips", "", means(held_out, [*others, ours], SHOWN)]
        text += ["", differences(held_out, [(ours, other) for other in others], SHOWN)]
    return "\n".join(
        [*text, "", "Some of the held-out clips, middle frame:", "", "![Edits on tuned models](pictures/tuned.png)"]
    )


def draw_sheet() -> None:
    """Some of the held-out clips by what is shown of them, where they are here."""
    held_out = complete(cases(HELD_OUT), held_out_methods())
    if not held_out:
        return
    pairs = [method for pair in zip(*shown()) for method in pair]
    titles = [method.name.replace(f"{CHOSEN} {RATES[CHOSEN]:g} × {CHOSEN_STEPS}", "tuned") for method in pairs]
    named = [replace(method, name=title.partition(", guidance")[0]) for method, title in zip(pairs, titles)]
    methods_sheet(PAGE.parent / "pictures" / "tuned.png", held_out[::2], named)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes at once")
    parser.add_argument("--held-out", action="store_true", help="make the held-out half, else the one to choose on")
    parser.add_argument("--report", action="store_true", help="make nothing, and report what earlier runs have made")
    options = parser.parse_args()
    half, methods = (HELD_OUT, held_out_methods()) if options.held_out else (TUNING, chosen_from())
    if not options.report:
        make_clips([(case, method) for case in cases(half) for method in methods], options.processes)
    write_report()


if __name__ == "__main__":
    main()
