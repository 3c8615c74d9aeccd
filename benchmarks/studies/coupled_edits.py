"""What coupled sampling's settings do to edits of the demo video model, against the drawn truth.

Run with ComfyUI's Python and COMFYUI_PATH set: `python -m benchmarks.studies.coupled_edits [--cases 8] [--frames 9]`.
Every setting edits the same clips from the same noise, so that settings are compared clip by clip: the table shows a
setting's mean and its mean difference to the first one, with the 95 % interval of Student's t.
benchmarks/RESULTS.md has what it showed.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import comfy.samplers
import numpy as np
import torch
from scipy import stats

from fatezero_pack.demo import world
from fatezero_pack.demo.video_model import WEIGHTS, load_demo_video_model
from fatezero_pack.fatezero.edit.settings import INPUT_MASK, WORDS
from fatezero_pack.fatezero.edit.transformer.coupled_mask import MaskSettings, coupled_mask
from fatezero_pack.fatezero.edit.transformer.coupled_sampling import (
    CoupledGuider,
    CoupledProgress,
    CoupledSampler,
    CoupledSettings,
    steps_of_models,
)
from fatezero_pack.fatezero.network.transformer.families import family_of
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.report import metrics

from ..quality.cases import Case
from ..quality.draw_cases import draw_edit
from ..quality.judge.network import load_judge
from ..quality.measures import success_and_kept

KINDS = ("colour", "background", "shape", "colour and shape", "style")
SEED = 9200
MEASURES = ("inside", "outside", "success", "kept")


@dataclass(frozen=True)
class Setting:
    """How the clips are edited: guidance, what it leads away from, CoupledSettings, and where the mask comes from."""

    cfg: float = 1.5
    negative: str = "empty"  # or the source's prompt, which makes guidance act on what the prompts differ in
    cross_until: float = 0.0
    self_until: float = 0.0
    skip: float = 0.0
    mask_from: str = INPUT_MASK  # with no mask: everywhere

    def __str__(self):
        changed = {name: value for name, value in asdict(self).items() if value != getattr(Setting, name)}
        return ", ".join(f"{name} {value}" for name, value in changed.items()) or "FlowEdit, cfg 1.5"


SETTINGS = (
    Setting(),
    Setting(cfg=1.0),
    Setting(cfg=3.0),
    Setting(self_until=0.4),
    Setting(cross_until=0.4),
    Setting(cross_until=0.8),
    Setting(cross_until=0.4, cfg=1.0),
    Setting(cross_until=0.4, cfg=3.0),
    Setting(cross_until=0.4, negative="source"),
    Setting(cross_until=0.4, mask_from=WORDS),
)


def draw_cases(kind: str, count: int, frames: int) -> list[Case]:
    """Edits of one kind, the same for every call."""
    rng, cases = np.random.default_rng([SEED, KINDS.index(kind)]), []
    for number in range(count):
        source, target, preset = draw_edit(rng, kind, number)
        prompts, seed = (world.caption(source), world.caption(target)), int(rng.integers(1 << 20))
        cases.append(Case(f"{kind} {number}", kind, "", preset, source, target, *prompts, seed, frames, 128, 128))
    return cases


class VideoEditor:
    """The demo video model, and edits by it."""

    def __init__(self, weights: Path):
        self.model, self.clip, self.vae = load_demo_video_model(weights)

    def encode(self, text: str):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def edit(self, case: Case, setting: Setting, steps: int) -> torch.Tensor:
        """The edited clip, IMAGE [n, H, W, 3] of 0..1."""
        latent = self.vae.encode(case.clip(case.source))
        prompts = case.source_prompt, case.target_prompt
        edit = make_prompt_edit(*(tokenize_prompt(self.clip, prompt) for prompt in prompts))
        options, family = asdict(setting), family_of(self.model)
        cfg, negative = options.pop("cfg"), case.source_prompt if options.pop("negative") == "source" else ""
        where, source = MaskSettings(options.pop("mask_from")), self.encode(case.source_prompt)
        options["mask"] = coupled_mask(self.model, family, edit, source, latent, where, seed=case.seed)
        sigmas = comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), "simple", steps)
        guider = CoupledGuider(self.model, family, edit, CoupledSettings(**options), steps)
        guider.set_prompts(*map(self.encode, prompts), self.encode(negative), cfg)
        (run,) = steps_of_models(sigmas, setting.skip, None)
        sampler = CoupledSampler(guider, CoupledProgress(torch.Generator().manual_seed(case.seed)), run)
        zeros = torch.zeros_like(latent)
        return self.vae.decode(guider.sample(zeros, latent, sampler, sigmas, disable_pbar=True, seed=0))[0].float()


def measured(case: Case, clip: torch.Tensor, judge) -> list[float]:
    """MEASURES of an edit: dB to the truth within what changes and outside it, and what the judge finds, %."""
    truth, region = case.clip(case.target), case.edited_region().float()
    if case.kind == "background":  # what should stay is the thing
        outside = case.things(case.target).float()
        region = 1 - outside
    else:
        outside = 1 - region
    shares = success_and_kept(case, judge.read(clip))
    found = [metrics.mean(metrics.psnr(clip, truth, where)) for where in (region, outside)]
    return [*found, *(100 * share for share in shares)]


def compared(values: np.ndarray, base: np.ndarray) -> str:
    """Mean of a setting, and its mean difference to the base with the 95 % interval; both are (cases,)."""
    mean = f"{np.nanmean(values):.1f}"
    difference = (values - base)[~np.isnan(values - base)]
    if len(difference) < 2 or not difference.any():
        return mean
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / len(difference) ** 0.5
    return f"{mean} ({difference.mean():+.1f} ± {half:.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--cases", type=int, default=8, help="of each kind")
    parser.add_argument("--frames", type=int, default=9, help="of a clip: 5, 9, 13 ...")
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--json", type=Path, help="where to keep each clip's figures")
    options = parser.parse_args()
    editor, judge, kept = VideoEditor(options.weights), load_judge(), {}
    for kind in options.kinds:
        cases, base = draw_cases(kind, options.cases, options.frames), None
        print(
            f"\n**{kind}**, {len(cases)} clips\n\n| setting | {' | '.join(MEASURES)} |\n|{'---|' * (1 + len(MEASURES))}"
        )
        with torch.inference_mode():
            for setting in SETTINGS:
                edits = [editor.edit(case, setting, options.steps) for case in cases]
                figures = np.array([measured(case, clip, judge) for case, clip in zip(cases, edits)])
                base = figures if base is None else base
                kept[f"{kind}: {setting}"] = figures.tolist()
                cells = [compared(figures[:, column], base[:, column]) for column in range(len(MEASURES))]
                print(f"| {setting} | {' | '.join(cells)} |", flush=True)
        if options.json:
            options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
