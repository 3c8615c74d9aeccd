"""Video-P2P's ablation with known truths: whose unconditional embedding the source's and the edit's branch take.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.decoupled_guidance [--frames 4] [--steps 20]`.
Each clip of the demo world is inverted once and its null text optimised once; then the same edit is made in five ways.
Printed is PSNR in dB to the true edited clip, inside / outside the edited thing, and for how many per cent of the frames
demo/judge.py reads off the pixels the colour and the shape that the target prompt says (clips of one thing).
"""
import argparse
from dataclasses import replace

import numpy as np
import torch

from .toy_world import CASES, Editor, draw, edited_region, psnr

from fatezero_pack.demo.judge import color_mask, judge_color, judge_shape  # noqa: E402 (toy_world loads the pack)
from fatezero_pack.demo.world import caption  # noqa: E402
from fatezero_pack.fatezero.blend_settings import FAST_RECONSTRUCTION, INVERSION, RECONSTRUCTION  # noqa: E402
from fatezero_pack.fatezero.null_text import Optimization, null_text_conditioning, optimize_null_text  # noqa: E402
from fatezero_pack.fatezero.presets import PRESETS  # noqa: E402
from fatezero_pack.fatezero.prompt_edit import make_prompt_edit  # noqa: E402
from fatezero_pack.fatezero.sampling import sample_edit  # noqa: E402

# name: (where the attention comes from, whether the source has null text, whether the edit takes it as well)
WAYS = {"attention from inversion (FateZero)": (INVERSION, False, False),
        "guided reconstruction, no null text": (RECONSTRUCTION, False, False),
        "fast mode": (FAST_RECONSTRUCTION, False, False),
        "null text on both branches": (RECONSTRUCTION, True, True),
        "decoupled: null text on the source's": (RECONSTRUCTION, True, False)}


def success(case, image: torch.Tensor) -> float:
    """Share of frames in per cent whose thing has the target's colour and shape; nan in a scene of several things."""
    if len(case.target.things) > 1:
        return float("nan")
    thing, ground = case.target.things[0], case.target.ground
    frames = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    right = [judge_color(frame, ground) == thing.color
             and judge_shape(color_mask(frame, thing.color, ground))[0] == thing.shape for frame in frames]
    return 100 * float(np.mean(right))


def main():
    parser = argparse.ArgumentParser()
    for name, kind, default in (("--frames", int, 4), ("--steps", int, 20), ("--guidance", float, 4.0)):
        parser.add_argument(name, type=kind, default=default)
    parser.add_argument("--preset", help="a preset for all edits instead of the one of each kind")
    options = parser.parse_args()
    editor = Editor(options.steps, key_frames=("first",), guidance=options.guidance)
    empty = editor.clip.encode_from_tokens_scheduled(editor.clip.tokenize(""))
    table = []
    print(f"{options.frames} frames, {options.steps} steps, guidance {options.guidance}, preset "
          f"{options.preset or 'of the kind'}\n")
    print("| edit | " + " | ".join(WAYS) + " |\n|---|" + "---|" * len(WAYS))
    for case in (case for case in CASES if case.kind in ("attribute", "shape")):
        clip, truth = draw(case.source, options.frames, case.seed), draw(case.target, options.frames, case.seed)
        region = edited_region(case, options.frames)
        with torch.inference_mode():
            source = editor.invert(case, clip)
            with_null_text, _, _ = optimize_null_text(editor.inflated, source, empty,
                                                      Optimization(guidance=options.guidance))
            tokens, positive = editor.encode(caption(case.target))
            edit, row = make_prompt_edit(source.tokens, tokens), []
            for attention_from, null_text, in_edit in WAYS.values():
                run = with_null_text if null_text else source
                negative = null_text_conditioning(with_null_text) if in_edit else empty
                settings = replace(PRESETS[options.preset or case.kind], attention_from=attention_from)
                latent = sample_edit(editor.inflated, run, edit, settings, positive, negative, options.guidance,
                                     disable_pbar=True)
                image = editor.vae.decode(latent)
                row.append((psnr(image, truth, region), psnr(image, truth, ~region), success(case, image)))
        table.append(row)
        print(f"| {case.kind}: {case.name} | " + " | ".join("{:.1f} / {:.1f}, {:.0f} %".format(*values) for values in row) + " |",
              flush=True)
    means = np.nanmean(np.array(table), axis=0)
    print("| mean | " + " | ".join("{:.1f} / {:.1f}, {:.0f} %".format(*values) for values in means) + " |")


if __name__ == "__main__":
    main()
