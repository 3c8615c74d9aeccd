"""What a sampler costs an edit: why multistep samplers lose the background.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.samplers [--frames 2] [--steps 20]`.
With `--why 12 25 50` instead: the background, attention fused in every step and guidance 7.5, in so many steps, also by
a dpmpp_2m that takes its correction from the unguided prediction.
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

import comfy.model_patcher
import comfy.samplers
import torch

from fatezero_pack.fatezero.edit.presets import PRESETS
from fatezero_pack.fatezero.edit.unet.edit_run import blend_attention
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

    def sampled(self, model, sampler, positive, cfg: float) -> torch.Tensor:
        """The clip [n, H, W, 3] that one of ComfyUI's SAMPLERs makes of the inverted noise."""
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, self.editor.empty)
        guider.set_cfg(cfg)
        samples = denoise(guider, self.source, sampler, disable_pbar=True)
        finished = samples if model is not self.model else clean_samples(self.model, self.source, samples)
        return self.editor.vae.decode(finished)

    def edited(self, settings, sampler, guidance: float) -> torch.Tensor:
        """The edited clip [n, H, W, 3]."""
        model = blend_attention(self.model, self.source, self.edit, settings)
        return self.sampled(model, sampler, self.positive, guidance)

    def background(self, edited: torch.Tensor) -> float:
        """Decibels of an edited clip outside the edit's true place, against the VAE's own picture of the source."""
        inside = self.case.edited_region()
        return psnr(edited[~inside], self.editor.vae.decode(self.editor.latent)[~inside])

    def measure(self, name: str) -> list[float]:
        """The figures of a sampler, in the order of the table."""
        sampler = comfy.samplers.sampler_object(name)
        truth, inside = self.case.clip(self.case.target), self.case.edited_region()
        attribute = PRESETS["attribute"]
        bare = replace(attribute, latent_window=None)
        throughout = replace(bare, self_window=Window(0, 1), cross_window=Window(0, 1))
        ways = ((attribute, GUIDANCE), (bare, GUIDANCE), (throughout, GUIDANCE), (throughout, 1.0))
        edits = [self.edited(settings, sampler, guidance) for settings, guidance in ways]
        again = psnr(
            self.sampled(self.model, sampler, self.source.conditioning, 1.0), self.editor.vae.decode(self.editor.latent)
        )
        return [again, *map(self.background, edits), psnr(edits[0][inside], truth[inside])]


@torch.no_grad()
def sample_dpmpp_2m_unguided(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """DPM-Solver++(2M) whose correction, the change since the last step, is that of the conditional prediction alone;
    arguments as of k-diffusion's samplers."""
    seen: list[torch.Tensor] = []

    def see(arguments):
        seen.append(arguments["cond_denoised"])
        return arguments["denoised"]

    extra_args = dict(extra_args or {})
    extra_args["model_options"] = comfy.model_patcher.set_model_options_post_cfg_function(
        extra_args["model_options"], see
    )
    steps = (-sigmas.log()).diff()
    for i, sigma in enumerate(sigmas[:-1]):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        if i and sigmas[i + 1] > 0:
            denoised = denoised + steps[i] / steps[i - 1] / 2 * (seen[-1] - seen[-2])
        x = sigmas[i + 1] / sigma * x - (-steps[i]).expm1() * denoised
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
    return x


def why(frames: int, steps: list[int]) -> None:
    """Prints the background of each solver, guided, with attention fused in every step and latents not blended."""
    editor = Editor()
    settings = replace(PRESETS["attribute"], latent_window=None, self_window=Window(0, 1), cross_window=Window(0, 1))
    solvers = {
        "euler": comfy.samplers.sampler_object("euler"),
        "dpmpp_2m": comfy.samplers.sampler_object("dpmpp_2m"),
        "dpmpp_2m, unguided correction": comfy.samplers.KSAMPLER(sample_dpmpp_2m_unguided),
    }
    for count in steps:
        clips = [Comparison(editor, clip, frames, count) for clip in CLIPS]
        for name, solver in solvers.items():
            found = [clip.background(clip.edited(settings, solver, GUIDANCE)) for clip in clips]
            print(f"{count:3} steps  {name:30} {sum(found) / len(found):5.1f} dB", flush=True)


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
    parser.add_argument("--why", type=int, nargs="+", metavar="STEPS")
    options = parser.parse_args()
    with torch.inference_mode():
        why(options.frames, options.why) if options.why else main(options.frames, options.steps)
