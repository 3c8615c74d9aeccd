"""How near a clip in chunks comes to the clip at once where that is not exact: `all`, both neighbours, joint norms.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.chunk_approximations [--frames 16] [--steps 10]`.
The demo model edits one clip of the demo world, whole and in chunks; printed is the PSNR in dB between the two edits
and, to judge it by, between the whole-clip edits with and without looking at key frames at all.
"""
import argparse

import torch

from .toy_world import CASES, Editor, draw, psnr

from fatezero_pack.fatezero.chunked_sampling import ChunkedRun, sampled_in_chunks  # noqa: E402 (toy_world loads it)
from fatezero_pack.fatezero.inflation import Inflation, inflate  # noqa: E402
from fatezero_pack.fatezero.presets import PRESETS  # noqa: E402

WAYS = {"current, middle": Inflation(("current", "middle")), "-1, first": Inflation(("-1", "first")),
        "all": Inflation(("all",)), "-1, +1": Inflation(("-1", "+1")),
        "current, middle; norms across frames": Inflation(("current", "middle"), normalise_across_frames=True)}


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("--frames", 16), ("--steps", 10), ("--at-once", 6)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    editor = Editor(options.steps)
    case = next(case for case in CASES if case.kind == "attribute")
    clip = draw(case.source, options.frames, case.seed)
    settings, everywhere = PRESETS[case.kind], torch.ones(clip.shape[:3], dtype=torch.bool)

    def edited(inflation, at_once):
        editor.inflated = sampled_in_chunks(inflate(editor.model, inflation), at_once, "benchmark")
        return editor.edit(case, editor.invert(case, clip), settings)

    with torch.inference_mode():
        alone = edited(Inflation(("current",)), options.frames)
        print("| key frames | chunked against whole | without key frames against whole | in words |\n|---|---|---|---|")
        for name, inflation in WAYS.items():
            whole, chunked = edited(inflation, options.frames), edited(inflation, options.at_once)
            words = ChunkedRun(editor.inflated, "").describe((options.frames, 4, 16, 16))
            near, far = psnr(chunked, whole, everywhere), psnr(alone, whole, everywhere)
            print(f"| {name} | {near:.1f} dB | {far:.1f} dB | {words} |", flush=True)


if __name__ == "__main__":
    main()
