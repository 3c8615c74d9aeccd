"""How near a clip in chunks comes to the clip at once where that is not exact: `all`, both neighbours, joint norms.

Run with ComfyUI's Python and COMFYUI_PATH set:
`python -m benchmarks.studies.chunk_approximations [--frames 16] [--steps 10]`.
The demo model edits one clip of the demo world, whole and in chunks; printed is the PSNR in dB between the two edits
and, to judge it by, between the whole-clip edits with and without looking at key frames at all.
"""

import argparse
from dataclasses import replace

import torch

from fatezero_pack.fatezero.network.unet.chunked_sampling import ChunkedRun, sampled_in_chunks
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.report import metrics

from ..quality.cases import load_cases
from ..quality.editor import Editor
from ..quality.methods import OURS

WAYS = {
    "current, middle": Inflation(("current", "middle")),
    "-1, first": Inflation(("-1", "first")),
    "all": Inflation(("all",)),
    "-1, +1": Inflation(("-1", "+1")),
    "current, middle; norms across frames": Inflation(("current", "middle"), normalise_across_frames=True),
}


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("--frames", 16), ("--steps", 10), ("--at-once", 6)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    editor = Editor()
    case = replace(load_cases()[0], frames=options.frames)
    method = replace(OURS, steps=options.steps)

    def edited(inflation, at_once):
        model = sampled_in_chunks(inflate(editor.model, inflation), at_once)
        clip = editor.vae.decode(editor.edit(method, model, editor.invert(method, model)))
        return clip, ChunkedRun(model).describe(editor.latent.shape)

    with torch.inference_mode():
        editor.begin(case)
        alone, _ = edited(Inflation(("current",)), options.frames)
        print("| key frames | chunked against whole | without key frames against whole | in words |\n|---|---|---|---|")
        for name, inflation in WAYS.items():
            (whole, _), (chunked, words) = edited(inflation, options.frames), edited(inflation, options.at_once)
            near, far = (metrics.mean(metrics.psnr(clip, whole)) for clip in (chunked, alone))
            print(f"| {name} | {near:.1f} dB | {far:.1f} dB | {words} |", flush=True)


if __name__ == "__main__":
    main()
