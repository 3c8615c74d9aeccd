"""What a sampler costs an edit: why multistep samplers lose the background.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.samplers [--frames 2] [--steps 20]`.
Prints decibels for each sampler, over colour edits of the demo world: the source drawn again (against the VAE's own
picture of it), the background of the edit with and without latents blended, and the edited part against the truth.
"""

import argparse
from dataclasses import replace

import comfy.samplers
import torch

from fatezero_pack.fatezero.edit.edit_run import blend_attention
from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.source.reconstruction import clean_samples, denoise

from ..quality.cases import load_cases
from ..quality.editor import Editor
from ..quality.methods import Method

SAMPLERS = ("euler", "ddim", "heun", "dpm_2", "lms", "ipndm", "deis", "dpmpp_2m", "res_multistep", "uni_pc")
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

    def measure(self, sampler: str) -> list[float]:
        """The four figures of a sampler."""
        before = self.editor.vae.decode(self.editor.latent)
        truth, inside = self.case.clip(self.case.target), self.case.edited_region()
        attribute = PRESETS["attribute"]
        blended, bare = (
            self.sampled(
                blend_attention(self.model, self.source, self.edit, settings), sampler, self.positive, GUIDANCE
            )
            for settings in (attribute, replace(attribute, latent_window=None))
        )
        return [
            psnr(self.sampled(self.model, sampler, self.source.conditioning, 1.0), before),
            psnr(blended[~inside], before[~inside]),
            psnr(bare[~inside], before[~inside]),
            psnr(blended[inside], truth[inside]),
        ]


def main(frames: int, steps: int) -> None:
    editor = Editor()
    comparisons = [Comparison(editor, clip, frames, steps) for clip in CLIPS]
    print(f"{'dB':15} source again  background  without blend  edited part")
    for sampler in SAMPLERS:
        rows = [comparison.measure(sampler) for comparison in comparisons]
        again, background, bare, inside = (sum(values) / len(values) for values in zip(*rows))
        print(f"{sampler:15} {again:12.1f} {background:11.1f} {bare:14.1f} {inside:12.1f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with torch.inference_mode():
        main(options.frames, options.steps)
