"""A clip that is longer than what the model was tuned on: all frames at once, or windows of the tuned length?

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.longer_clips [--steps 100]`.
Temporal attention spans the clip and knows no positions, so a model takes any number of frames. Prints, for edits of
shape whose truth is known, what the preset *shape* gives on a clip three times as long as the tuned one.

What it shows (two clips of 12 frames, tuned on the first 4, 100 steps, CPU): all frames at once are as good as windows
(inside 16.0 against 16.0 dB, outside 28.9 against 28.7) and agree better (flicker 1.43 against 1.56, 1.52 where windows
overlap by half; difference error 2.34 against 2.56). So a longer clip goes as a whole, in parts of its places.
"""

import argparse
from dataclasses import replace

import torch

from fatezero_pack.fatezero.tuning.settings import PRESETS, Tuning
from fatezero_pack.fatezero.tuning.tune import tune

from ..quality.cases import load_cases
from ..quality.editor import Editor
from ..quality.judge.network import load_judge
from ..quality.measures import measure
from ..quality.methods import Method

CLIPS, FRAMES, TUNED = ("shape_1a", "shape_2a"), 12, 4
MEASURES = ("success", "psnr_inside", "psnr_outside", "perceptual", "difference_error", "flicker")
ON_TUNED = Method("", key_frames=PRESETS["Tune-A-Video"].key_frames, normalise_across_frames=True)


def tuned(editor: Editor, frames: int, settings: Tuning):
    """The demo model tuned on the first frames of the case's clip."""
    _, conditioning = editor.encode(editor.case.source_prompt)
    return tune(editor.model, conditioning, editor.latent[:frames], settings)[0]


def edited(editor: Editor, model, method: Method, at_once: int, overlap: int = 0) -> torch.Tensor:
    """The edit [n, H, W, 3], made in windows of so many frames; where they overlap, latents are averaged."""
    clip, sum_, count = editor.latent, torch.zeros_like(editor.latent), torch.zeros(len(editor.latent), 1, 1, 1)
    starts = sorted({min(start, len(clip) - at_once) for start in range(0, len(clip), at_once - overlap)})
    for start in starts:
        window = slice(start, start + at_once)
        editor.latent = clip[window]
        sum_[window] += editor.edit(method, model, editor.invert(method, model))
        count[window] += 1
    editor.latent = clip
    return editor.vae.decode(sum_ / count)


def compare(editor: Editor, judge, settings: Tuning) -> dict[str, list[float]]:
    """{way: its measures} of the case at hand."""
    case, model = editor.case, tuned(editor, TUNED, settings)
    ways = {
        "not tuned, all at once": (editor.unet(Method("")), Method(""), FRAMES),
        "tuned on 4, all 12 at once": (model, ON_TUNED, FRAMES),
        "tuned on 4, windows of 4": (model, ON_TUNED, TUNED),
        "tuned on 4, windows of 4 that overlap by 2": (model, ON_TUNED, TUNED, TUNED // 2),
    }
    figures = {name: measure(case, edited(editor, *way), case.clip(case.target), judge) for name, way in ways.items()}
    return {name: [figure[measure] for measure in MEASURES] for name, figure in figures.items()}


def main(steps: int, rate: float) -> None:
    editor, judge = Editor(), load_judge()
    settings = replace(PRESETS["Tune-A-Video"], steps=steps, learning_rate=rate)
    print(f"{'':45}" + "".join(f"{name:>18}" for name in MEASURES))
    for name in CLIPS:
        case = next(case for case in load_cases() if case.name == name)
        editor.begin(replace(case, frames=FRAMES, height=128, width=128))
        for way, figures in compare(editor, judge, settings).items():
            print(f"{name + ' ' + way:55}" + "".join(f"{value:18.2f}" for value in figures), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=3e-4)
    options = parser.parse_args()
    with torch.inference_mode():
        torch.set_num_threads(1)
        main(options.steps, options.rate)
