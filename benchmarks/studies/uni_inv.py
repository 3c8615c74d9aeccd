"""How exactly a clip comes back from its noise without guidance, by the inversion's label, the sampler and the steps.

`python -m benchmarks.studies.uni_inv [--steps 6 8 10 20] [--clips 4]`, with COMFYUI_PATH set: clips of the rows' study
(`rows.py`), PSNR of the pixels against the VAE's own picture of the clip. Every way takes one row of the UNet for each
step and frame in each direction.
"""

import argparse
from dataclasses import replace

import comfy.samplers
import torch

from fatezero_pack.fatezero.report import metrics
from fatezero_pack.fatezero.source.reconstruction import clean_samples, denoise
from fatezero_pack.fatezero.source.source_run import TARGET_LABEL, UNI_INV

from ..quality.cases import Case
from ..quality.editor import Editor
from ..quality.intervals import in_words, interval
from ..quality.methods import EVERY_STEP
from .rows import spread, study_cases

SAMPLERS = ("euler", "dpmpp_2m")


def decibels(editor: Editor, case: Case, steps: int, label: str) -> dict[tuple[str, str], float]:
    """{(label, sampler): PSNR of the clip that comes back}."""
    editor.begin(case)
    method = replace(EVERY_STEP, steps=steps, label=label)
    model = editor.unet(method)
    source, before, found = editor.invert(method, model), editor.vae.decode(editor.latent), {}
    for sampler in SAMPLERS:
        guider = comfy.samplers.CFGGuider(model)
        guider.inner_set_conds({"positive": source.conditioning})
        samples = denoise(guider, source, comfy.samplers.sampler_object(sampler), disable_pbar=True)
        found[label, sampler] = metrics.mean(
            metrics.psnr(editor.vae.decode(clean_samples(model, source, samples)), before)
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[6, 8, 10, 20])
    parser.add_argument("--clips", type=int, default=4)
    options = parser.parse_args()
    editor, cases = Editor(), spread(study_cases(), 2 * options.clips)[::2]
    for steps in options.steps:
        clips = [
            {**decibels(editor, case, steps, TARGET_LABEL), **decibels(editor, case, steps, UNI_INV)} for case in cases
        ]
        for way in clips[0]:
            print(
                f"{steps:3} steps  {', '.join(way):18} {in_words(*interval(clip[way] for clip in clips), 1)} dB",
                flush=True,
            )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
