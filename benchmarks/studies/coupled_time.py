"""How long a step of a coupled edit takes beside one of the model's own sampler with as many rows.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.coupled_time [--model ltx] [--blocks 2]`.
A Wan of random weights, as wide as Wan 2.1 1.3B, or an LTX-Video as wide as 2B. Both ways are run in turns in one
process; the table has the medians of the process's own time, and their ratio. benchmarks/RESULTS.md has what it showed.
"""

import argparse
import math
import statistics
import time

import comfy.samplers
import torch

from fatezero_pack.fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
)
from fatezero_pack.fatezero.network.transformer.families import patch_size
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import PromptTokens, Word
from fatezero_pack.tests.tiny_video_models import conditioning, ltx, wan

SIGMAS = torch.tensor([0.9, 0.8, 0.7])
EDITS = {
    "no fusion": CoupledSettings(cross_until=0.0),
    "cross fused": CoupledSettings(cross_until=1.0),
    "cross and self fused": CoupledSettings(cross_until=1.0, self_until=1.0),
}


def prompt(word: int) -> PromptTokens:
    """A prompt of Wan's length with one word, of this number."""
    return PromptTokens(f"word{word}", (word, 1, *[0] * 510), (Word(f"word{word}", (0,)),), is_t5=True)


def plain(model, latent: torch.Tensor) -> None:
    """ComfyUI's own sampler with two rows: positive and negative."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning(prompt(5)), conditioning(prompt(6)))
    guider.set_cfg(1.5)
    guider.sample(latent, latent, comfy.samplers.ksampler("euler"), SIGMAS, disable_pbar=True, seed=0)


def coupled(model, latent: torch.Tensor, settings: CoupledSettings) -> None:
    """A coupled edit with two rows: clip and edit."""
    source, target = prompt(5), prompt(6)
    guider = CoupledGuider(model, make_prompt_edit(source, target), settings, len(SIGMAS) - 1)
    guider.set_prompts(conditioning(source), conditioning(target), conditioning(target), 1.0)
    sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(0)), range(len(SIGMAS) - 1))
    guider.sample(torch.zeros_like(latent), latent, sampler, SIGMAS, disable_pbar=True, seed=0)


def seconds(run, *given) -> float:
    start = time.process_time()
    run(*given)
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", choices=("wan", "ltx"), default="wan", help="as wide as Wan 2.1 1.3B or LTX-Video 2B"
    )
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--latent", type=int, nargs=3, default=(5, 16, 24), help="frames, rows and columns")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with torch.inference_mode():
        if options.model == "wan":
            model = wan(dim=1536, ffn_dim=8960, num_heads=12, num_layers=options.blocks)
        else:
            heads = {"num_attention_heads": 32, "attention_head_dim": 64, "cross_attention_dim": 2048}
            model = ltx(**heads, num_layers=options.blocks)
        channels = model.model.latent_format.latent_channels
        latent = torch.randn(1, channels, *options.latent, generator=torch.Generator().manual_seed(0))
        plain(model, latent)  # the first call of all loads and allocates
        taken: dict[str, list[float]] = {"plain, 2 rows": [], **{name: [] for name in EDITS}}
        for _ in range(options.runs):
            taken["plain, 2 rows"].append(seconds(plain, model, latent))
            for name, settings in EDITS.items():
                taken[name].append(seconds(coupled, model, latent, settings))
    tokens, steps = latent[0, 0].numel() // math.prod(patch_size(model)), len(SIGMAS) - 1
    print(f"{options.blocks} blocks, {tokens} tokens, {options.runs} runs of {steps} steps\n")
    print("| | seconds | beside plain |\n|---|---|---|")
    base = statistics.median(taken["plain, 2 rows"])
    for name, runs in taken.items():
        print(f"| {name} | {statistics.median(runs):.2f} | {statistics.median(runs) / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
