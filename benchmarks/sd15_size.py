"""Time and memory of inversion and edit at SD 1.5's real size, random weights, against ComfyUI's own sampler.

Run with ComfyUI's Python and COMFYUI_PATH set: `python benchmarks/sd15_size.py [--size 256] [--frames 4] [--steps 2]`.
The times are ratios to ComfyUI's euler doing the same number of UNet rows in the same process; memory is the process's
peak resident set after each of them. For the CPU and Unix.
"""
import argparse
import resource
import sys
import time
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import comfyui_pack  # noqa: E402,F401
import comfy.samplers  # noqa: E402
from comfy.sd1_clip import SD1Tokenizer  # noqa: E402
from fatezero_pack.fatezero.inflation import Inflation, inflate  # noqa: E402
from fatezero_pack.fatezero.inversion import inversion_sigmas, invert  # noqa: E402
from fatezero_pack.fatezero.presets import PRESETS  # noqa: E402
from fatezero_pack.fatezero.prompt_edit import make_prompt_edit  # noqa: E402
from fatezero_pack.fatezero.sampling import sample_edit  # noqa: E402
from fatezero_pack.fatezero.schedule import OFFICIAL  # noqa: E402
from fatezero_pack.fatezero.tokens import tokenize_prompt  # noqa: E402
from golden_unet import random_model  # noqa: E402

SD15 = {"model_channels": 320, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "context_dim": 768}


def conditioning(tokens, seed: int):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens.length, 768, generator=generator), {"fatezero_tokens": tokens}]]


def comfy_sampler(model, positive, negative, noise, sigmas):
    """ComfyUI's own euler: two rows per frame with a negative, one without."""
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive} if negative is None else
                           {"positive": positive, "negative": negative})
    guider.set_cfg(1.0 if negative is None else 7.5)
    guider.sample(torch.zeros_like(noise), noise, comfy.samplers.ksampler("euler"), sigmas, disable_pbar=True)


def timed(function) -> tuple[float, int]:
    """Seconds, and the process's peak resident set afterwards in bytes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("--size", 256), ("--frames", 4), ("--steps", 2), ("--repeats", 3)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    model = inflate(random_model(**SD15), Inflation(("current", "middle")))
    tokenizer = SD1Tokenizer()
    source_tokens = tokenize_prompt(tokenizer, "a silver jeep driving down a curvy road")
    target_tokens = tokenize_prompt(tokenizer, "a red porsche driving down a curvy road")
    edit = make_prompt_edit(source_tokens, target_tokens)
    source_prompt, target_prompt = conditioning(source_tokens, 1), conditioning(target_tokens, 2)
    negative = [[torch.zeros(1, 77, 768), {}]]
    latent = torch.randn(options.frames, 4, options.size // 8, options.size // 8)
    sigmas = inversion_sigmas(model, OFFICIAL, options.steps)
    runs = {}

    def run_inversion():
        runs["source"] = invert(model, source_prompt, latent, sigmas=sigmas, disable_pbar=True)

    with torch.inference_mode():
        work = {
            "sampler, 1 row": lambda: comfy_sampler(model, source_prompt, None, latent, sigmas.flip(0)),
            "sampler, 2 rows": lambda: comfy_sampler(model, target_prompt, negative, latent, sigmas.flip(0)),
            "inversion": run_inversion,
            "edit": lambda: sample_edit(model, runs["source"], edit, PRESETS["enhance"], target_prompt, negative, 7.5,
                                        disable_pbar=True)}
        timed(work["sampler, 1 row"])
        results = {name: [timed(function) for _ in range(options.repeats)] for name, function in work.items()}
    seconds = {name: median(run[0] for run in runs) for name, runs in results.items()}
    peaks = {name: max(run[1] for run in runs) for name, runs in results.items()}
    source = runs["source"]
    kept = sum(tensor.numel() * tensor.element_size() for tensor in (source.trajectory, source.word_maps))
    rows = seconds["sampler, 1 row"] + seconds["sampler, 2 rows"]
    print(f"SD 1.5 size, float32, CPU, {torch.get_num_threads()} thread(s), {options.frames} frames of "
          f"{options.size}x{options.size}, {options.steps} steps, median of {options.repeats}")
    print(f"inversion / sampler with 1 row per frame: {seconds['inversion'] / seconds['sampler, 1 row']:.2f}")
    print(f"edit / sampler with 3 rows per frame:     {seconds['edit'] / rows:.2f}")
    print(f"edit / sampler with 2 rows per frame:     {seconds['edit'] / seconds['sampler, 2 rows']:.2f}")
    print(f"kept by the source run: {kept / 1e6:.1f} MB")
    print(f"peak memory of the process: sampler {peaks['sampler, 2 rows'] / 1e9:.2f} GB, inversion "
          f"{peaks['inversion'] / 1e9:.2f} GB, edit {peaks['edit'] / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
