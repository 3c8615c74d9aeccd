"""How exactly and how fast the source comes back under guidance: null-text optimization and its alternatives.

Run with ComfyUI's Python and COMFYUI_PATH set:
`python -m benchmarks.studies.reconstruction [--frames 4] [--steps 20]`.
Prints a table over clips of the demo world (pixels against the clip; the VAE alone is the ceiling; times in
inversions), and ours against the published loop, each in a process of its own: as it is, and stopped at each step as
soon as its loss is that of the published loop. `--loops` leaves the table out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import torch

from fatezero_pack.fatezero.network.unet.chunked_sampling import sampled_in_chunks
from fatezero_pack.fatezero.null_text.optimization import (
    Optimization,
    negative_prompt_inversion,
    null_text_conditioning,
    optimize_null_text,
)
from fatezero_pack.fatezero.report import metrics
from fatezero_pack.fatezero.source.reconstruction import clean_samples, reconstruct
from oracles.published_null_text import published_null_text
from tools.lifeline import Lifeline

from ..cost.memory import GIVE_BACK, ROOT, peak_memory, resting_memory
from ..quality.cases import load_cases
from ..quality.editor import Editor
from ..quality.methods import Method

GUIDANCE = 7.5
CLIPS = ("colour_1a", "one_of_two_1a", "background_1a")
OURS, PUBLISHED, STOPPED = "ours", "published", "ours, stopped at the published loss"
MEAN_RISE = 51  # of the loss at which a step is left, over the steps: it rises to 101 times the first step's


class Reconstruction:
    """A clip of the quality benchmark, its source run, and ways to draw it again."""

    def __init__(self, editor: Editor, clip: str, frames: int, steps: int, frames_at_once: int = 0):
        case = replace(next(case for case in load_cases() if case.name == clip), frames=frames)
        self.editor, self.method = editor, Method("", steps=steps)
        self.model = sampled_in_chunks(editor.unet(self.method), frames_at_once)
        self.clip = case.clip(case.source)
        editor.begin(case)
        self.latent, self.negative = editor.latent, editor.empty
        self.source, self.seconds = timed(lambda: editor.invert(self.method, self.model))

    def psnr(self, latent) -> float:
        return metrics.mean(metrics.psnr(self.editor.vae.decode(latent), self.clip))

    def plain(self, negative=None, guidance=1.0, source=None):
        return reconstruct(self.model, source or self.source, negative, guidance, disable_pbar=True)

    def optimized(self, start, **settings):
        run, latent, losses = optimize_null_text(self.model, self.source, start, Optimization(GUIDANCE, **settings))
        return latent, run.null_text.embeddings[0].numel(), losses

    def ways(self):
        """Yields (name, latent, seconds beside one inversion, parameters per step, inner steps per step)."""

        def way(name, draw_again, before=0.0):
            found, seconds = timed(draw_again)
            latent, parameters, losses = found if isinstance(found, tuple) else (found, 0, None)
            inner = "-" if losses is None else f"{sum(len(step) - 1 for step in losses) / len(losses):.1f}"
            return name, latent, seconds + before, parameters, inner

        source = self.source.conditioning
        width = source[0][0][0].numel()
        yield way("guidance 1 (authors' fast mode)", self.plain)
        yield way("guidance 7.5", lambda: self.plain(self.negative, GUIDANCE))
        fast = negative_prompt_inversion(self.source, GUIDANCE)
        yield way(
            "negative-prompt inversion", lambda: (self.plain(null_text_conditioning(fast), GUIDANCE), width, None)
        )
        refined, seconds = timed(lambda: self.editor.invert(replace(self.method, refinement=2), self.model))
        yield way("guidance 1, refinement 2", lambda: self.plain(source=refined), seconds - self.seconds)
        yield way(
            "guidance 7.5, refinement 2", lambda: self.plain(self.negative, GUIDANCE, refined), seconds - self.seconds
        )
        yield way('published: from "", 10 inner steps', lambda: self.optimized(self.negative))
        yield way("the same, one per frame", lambda: self.optimized(self.negative, per_frame=True))
        yield way("ours: from the source prompt", lambda: self.optimized(source))
        yield way("the same, one per frame", lambda: self.optimized(source, per_frame=True))
        yield way("the same, shared, 1 inner step", lambda: self.optimized(source, inner_steps=1))


def timed(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def table(frames: int, steps: int):
    editor = Editor()
    rows, ceilings = {}, []
    for clip in CLIPS:
        reconstruction = Reconstruction(editor, clip, frames, steps)
        ceilings.append(reconstruction.psnr(reconstruction.latent))
        for place, (name, latent, seconds, *facts) in enumerate(reconstruction.ways()):
            rows.setdefault((place, name), []).append(
                (reconstruction.psnr(latent), seconds / reconstruction.seconds, facts)
            )
    print(f"{'':36} PSNR dB   time  parameters  inner steps\n{'VAE alone':36} {mean(ceilings):7.2f}")
    for (_, name), clips in rows.items():
        parameters, inner = clips[0][2]
        decibels, inversions = (mean(clip[place] for clip in clips) for place in (0, 1))
        print(f"{name:36} {decibels:7.2f} {inversions:6.1f} {parameters:11} {inner:>12}")


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def processor_timed(function):
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def one_way(way: str, frames: int, steps: int, early_stop: float) -> dict:
    """Processor seconds, peak memory beyond what was there before, and loss, of one way on the first clip; early_stop:
    of ours, as of Optimization."""
    with torch.inference_mode(way == OURS):
        editor = Editor()
        with torch.no_grad():
            this = Reconstruction(editor, CLIPS[0], frames, steps, frames_at_once=1)
            this.plain(this.negative, GUIDANCE)  # all that is loaded on first use
        before = resting_memory()[0]
        if way == OURS:
            settings = {"inner_steps": 1, "early_stop": early_stop}
            (latent, _, losses), seconds = processor_timed(lambda: this.optimized(this.source.conditioning, **settings))
        else:
            scale = (1 + this.source.sigmas**2).sqrt().view(-1, 1, 1, 1, 1)
            (_, losses, z), seconds = processor_timed(
                lambda: published_null_text(
                    this.model.model.diffusion_model,
                    this.source.trajectory / scale,
                    this.source.conditioning[0][0],
                    this.negative[0][0],
                    steps=steps,
                    guidance=GUIDANCE,
                    key_frame=(frames - 1) // 2,
                )
            )
            samples = this.model.model.process_latent_out(z * float(scale[0]))
            latent = clean_samples(this.model, this.source, samples)
        peak = peak_memory()[0] - before
        return {
            "seconds": seconds,
            "MiB": peak / 2**20,
            "loss": mean(step[-1] for step in losses),
            "last": losses[-1][-1],
            "dB": this.psnr(latent.detach()),
        }


def apart(way: str, options, early_stop: float) -> dict:
    """`one_way` in a process of its own."""
    arguments = ["--frames", str(options.frames), "--steps", str(options.steps), "--early-stop", str(early_stop)]
    environment = {**os.environ, **GIVE_BACK}
    with Lifeline() as lifeline:
        command = lifeline.command(sys.executable, "-m", "benchmarks.studies.reconstruction", "--only", way, *arguments)
        found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(found.splitlines()[-1])


def loops(options) -> None:
    """Prints the published loop beside ours."""
    print("\nIn a process of its own, first clip; ours from the source prompt, 1 inner step, 1 frame at once:")
    found: dict[str, dict] = {}
    for way in (PUBLISHED, OURS, STOPPED):
        early_stop = found[PUBLISHED]["loss"] / MEAN_RISE if way == STOPPED else Optimization.early_stop
        facts = found[way] = apart(OURS if way == STOPPED else way, options, early_stop)
        print(
            f"{way:36} {facts['seconds']:6.1f} s, peak {facts['MiB']:5.0f} MiB more, mean loss {facts['loss']:.2e}, "
            f"of the last step {facts['last']:.2e}, {facts['dB']:.2f} dB",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--loops", action="store_true", help="only the published loop beside ours")
    parser.add_argument("--only", choices=(OURS, PUBLISHED), help="one way, as JSON")
    parser.add_argument("--early-stop", type=float, default=Optimization.early_stop, help="of that one")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(one_way(options.only, options.frames, options.steps, options.early_stop)))
        sys.exit()
    if not options.loops:
        with torch.inference_mode():
            table(options.frames, options.steps)
    loops(options)
