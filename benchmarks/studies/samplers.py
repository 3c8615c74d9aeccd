"""What a sampler costs an edit: why multistep samplers lose the background.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.samplers [--frames 2] [--steps 20]`.
Prints decibels for each sampler, over colour edits of the demo world: the source drawn again (against the VAE's own
picture of it), the background of the edit, likewise without latents blended, then also with attention fused in every
step (no window closes on the way), then also without guidance; and the edited part against the truth.

What it shows (12 steps, 2 frames, CPU): neither the blend nor a window that closes costs a multistep sampler its
background. It is as good as euler without guidance (dpmpp_2m and euler both 20.8 dB) and loses under guidance of 7.5
(11.0 against 18.0), so it extrapolates what guidance changes from step to step. euler, heun and dpm_2, which look at
one step at a time, are alike within 1.2 dB.
"""

import argparse
from dataclasses import replace

import comfy.samplers
import torch

from fatezero_pack.fatezero.edit.edit_run import blend_attention
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.source.reconstruction import clean_samples, denoise

from ..quality.cases import load_cases
from ..quality.editor import Editor
from ..quality.methods import Method

SAMPLERS = ("euler", "heun", "dpm_2", "dpmpp_2m", "res_multistep", "lms", "deis", "uni_pc")
COLUMNS = ("source again", "background", "no blend", "all steps fused", "no guidance", "edited part")
CLIPS = ("colour_1a", "one_of_two_1a")
GUIDANCE = 7.5


def psnr(picture: torch.Tensor, reference: torch.Tensor) -> float:
    """Decibels between pictures with values of 0..1, of any one shape."""
    return float(-10 * torch.log10((picture - reference).square().mean()))


class Comparison:
    """One clip, inverted, and what each sampler makes of it."""

    def __init__(self, editor: Editor, clip: str, frames: int, steps: int):
        self.editor = editor
        self.case = replace(next(case for case in load_cases() if case.name == clip), frames=frames)
        editor.begin(self.case)
        method = Method("", steps=steps)
        self.model = editor.unet(method)
        self.source = editor.invert(method, self.model)
        self.tokens, self.positive = editor.encode(self.case.target_prompt)
        self.edit = make_prompt_edit(self.source.tokens, self.tokens)

    def sampled(self, model, sampler: str, positive, cfg: float) -> torch.Tensor:
        """The clip [n, H, W, 3] that a sampler makes of the inverted noise."""
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, self.editor.empty)
        guider.set_cfg(cfg)
        samples = denoise(guider, self.source, comfy.samplers.sampler_object(sampler), disable_pbar=True)
        finished = samples if model is not self.model else clean_samples(self.model, self.source, samples)
        return self.editor.vae.decode(finished)

    def edited(self, settings, sampler: str, guidance: float) -> torch.Tensor:
        """The edited clip [n, H, W, 3]."""
        return self.sampled(
            blend_attention(self.model, self.source, self.edit, settings), sampler, self.positive, guidance
        )

    def measure(self, sampler: str) -> list[float]:
        """The figures of a sampler, in the order of the table."""
        before = self.editor.vae.decode(self.editor.latent)
        truth, inside = self.case.clip(self.case.target), self.case.edited_region()
        attribute = PRESETS["attribute"]
        bare = replace(attribute, latent_window=None)
        throughout = replace(bare, self_window=Window(0, 1), cross_window=Window(0, 1))
        edits = [
            self.sampled(
                blend_attention(self.model, self.source, self.edit, settings), sampler, self.positive, guidance
            )
            for settings, guidance in (
                (attribute, GUIDANCE),
                (bare, GUIDANCE),
                (throughout, GUIDANCE),
                (throughout, 1.0),
            )
        ]
        again = self.sampled(self.model, sampler, self.source.conditioning, 1.0)
        backgrounds = [psnr(edited[~inside], before[~inside]) for edited in edits]
        return [psnr(again, before), *backgrounds, psnr(edits[0][inside], truth[inside])]


def main(frames: int, steps: int) -> None:
    editor = Editor()
    comparisons = [Comparison(editor, clip, frames, steps) for clip in CLIPS]
    print(f"{'dB':15}" + "".join(f"{name:>16}" for name in COLUMNS))
    for sampler in SAMPLERS:
        rows = [comparison.measure(sampler) for comparison in comparisons]
        means = [sum(values) / len(values) for values in zip(*rows)]
        print(f"{sampler:15}" + "".join(f"{mean:16.1f}" for mean in means), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with torch.inference_mode():
        main(options.frames, options.steps)
