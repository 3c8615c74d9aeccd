"""Makes the edited clip of a case by a method, with the demo model, through the functions behind the nodes."""

import time
from dataclasses import dataclass

import comfy.sample
import comfy.samplers
import torch

from fatezero_pack.demo.model import WEIGHTS, load_demo_model
from fatezero_pack.fatezero.edit.sampling import sample_edit
from fatezero_pack.fatezero.network.unet.inflation import Inflation, inflate
from fatezero_pack.fatezero.null_text.optimization import Optimization, null_text_conditioning, optimize_null_text
from fatezero_pack.fatezero.prompts.meaning import lean_towards, meant
from fatezero_pack.fatezero.prompts.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.prompts.tokens import tokenize_prompt
from fatezero_pack.fatezero.prompts.window import Window
from fatezero_pack.fatezero.prompts.word_fields import read_factors
from fatezero_pack.fatezero.source.inversion import invert
from fatezero_pack.fatezero.source.reconstruction import clean_samples, denoise
from fatezero_pack.fatezero.source.schedule import inversion_sigmas
from fatezero_pack.fatezero.tuning.settings import Tuning
from fatezero_pack.fatezero.tuning.tune import tune
from fatezero_pack.fatezero.tuning.tuned_state import TunedState, tuned_model

from .cases import Case
from .methods import ON_BOTH, REDRAWN, SDEDIT, TRUTH, TUNE_A_VIDEO, UNCHANGED, Method
from .redrawn import redrawn

SEED = 0  # of SDEdit's noise


@dataclass(frozen=True)
class Price:
    """Processor seconds, and rows: how many frames went through the UNet, counted where they enter it."""

    seconds: float = 0.0
    rows: int = 0

    def __add__(self, other: "Price") -> "Price":
        return Price(self.seconds + other.seconds, self.rows + other.rows)

    def __sub__(self, other: "Price") -> "Price":
        return Price(self.seconds - other.seconds, self.rows - other.rows)


class Editor:
    """The demo model, and what methods share of the case at hand: its latent, inversions and null texts.

    weights: the file of another demo model; methods that name another are not for this editor.
    """

    def __init__(self, weights: str = ""):
        self.model, self.clip, self.vae = load_demo_model(weights or WEIGHTS)
        self.empty = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(""))
        self.case = None
        self.latent = None
        self.shared = {}
        self.rows = 0
        self.model.model.diffusion_model.register_forward_pre_hook(self.count_rows)

    def count_rows(self, network, arguments) -> None:
        """Called before the UNet, whose first argument is [rows, c, h, w]."""
        self.rows += len(arguments[0])

    def spent(self) -> Price:
        """Of this process, so far."""
        return Price(time.process_time(), self.rows)

    def make(self, case: Case, method: Method) -> tuple[torch.Tensor, Price]:
        """The edited clip as an IMAGE [n, H, W, 3] of 0..1, and its price from latent to latent."""
        with torch.inference_mode():
            if method.way in (TRUTH, REDRAWN, UNCHANGED):
                scene = {TRUTH: case.target, UNCHANGED: case.source}.get(method.way) or redrawn(case)
                clip = case.clip(scene)
                return self.vae.decode(self.vae.encode(clip)), Price()
            self.begin(case)
            before = self.spent()
            if method.way == SDEDIT:
                latent, shared = self.noised_and_denoised(method), Price()
            else:
                model = self.unet(method)
                source, shared = self.inverted(method, model)
                latent = self.edit(method, model, source)
            price = self.spent() - before + shared
            return self.vae.decode(latent), price

    def begin(self, case: Case) -> None:
        """Encodes a case's clip and forgets what belonged to another."""
        if case != self.case:
            self.case, self.shared = case, {}
            self.latent = self.vae.encode(case.clip(case.source))

    def encode(self, text: str):
        tokens = tokenize_prompt(self.clip, text)
        conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))
        return tokens, [[embedding, {**options, "fatezero_tokens": tokens}] for embedding, options in conditioning]

    def unet(self, method: Method):
        model = self.model if method.tuned is None else self.tuned(method)
        if not method.key_frames:
            return model
        return inflate(model, Inflation(method.key_frames, normalise_across_frames=method.normalise_across_frames))

    def tuned(self, method: Method):
        """The demo model tuned on the case's clip; its states along the way serve all methods that share the way."""
        assert method.tuned is not None
        states, _ = self.once(method.tuned.settings, lambda: self.states_along_the_way(method.tuned.settings))
        return tuned_model(self.model, states[method.tuned.after])

    def states_along_the_way(self, settings: Tuning) -> dict[int, TunedState]:
        """{steps: the state after them}"""
        states: dict[int, TunedState] = {}
        _, conditioning = self.encode(self.case.source_prompt)
        tune(self.model, conditioning, self.latent, settings, on_state=states.__setitem__)
        return states

    def noised_and_denoised(self, method: Method) -> torch.Tensor:
        """SDEdit: every frame by itself, from the same noise (as img2img with a fixed seed) or from its own."""
        _, positive = self.encode(self.case.target_prompt)
        noise = comfy.sample.prepare_noise(self.latent if method.own_noise else self.latent[:1], SEED)
        noise = noise.expand_as(self.latent)
        return comfy.sample.sample(
            self.unet(method),
            noise,
            method.steps,
            method.guidance,
            "euler",
            "normal",
            positive,
            self.empty,
            self.latent,
            denoise=method.strength,
            disable_pbar=True,
            seed=SEED,
        )

    def inverted(self, method: Method, model):
        """The source run, with null text where the method has it, and what an earlier method has paid for it."""
        asked = (method.tuned, method.way == TUNE_A_VIDEO, method.key_frames, method.normalise_across_frames)
        asked += method.steps, method.schedule, method.label, method.refinement
        source, price = self.once(asked, lambda: self.invert(method, model))
        if method.null_text is None:
            return source, price
        asked += method.guidance, method.published_null_text
        source, more = self.once(asked, lambda: self.with_null_text(method, model, source))
        return source, price + more

    def once(self, asked, make):
        """What make() gave when it was first asked for, and what it took then; nothing if now."""
        if asked in self.shared:
            return self.shared[asked]
        before = self.spent()
        made = make()
        self.shared[asked] = made, self.spent() - before
        return made, Price()

    def invert(self, method: Method, model):
        """The case's source run."""
        _, conditioning = (None, self.empty) if method.way == TUNE_A_VIDEO else self.encode(self.case.source_prompt)
        sigmas = inversion_sigmas(model, method.schedule, method.steps)
        return invert(
            model,
            conditioning,
            self.latent,
            sigmas=sigmas,
            label=method.label,
            refinement=method.refinement,
            disable_pbar=True,
        )

    def with_null_text(self, method: Method, model, source):
        """The source run with its null text: one embedding for each frame where frames are apart."""
        start, inner_steps = (self.empty, 10) if method.published_null_text else (source.conditioning, 1)
        optimization = Optimization(guidance=method.guidance, inner_steps=inner_steps, per_frame=not method.key_frames)
        return optimize_null_text(model, source, start, optimization)[0]

    def edit(self, method: Method, model, source) -> torch.Tensor:
        """The edited latent."""
        target_tokens, positive = self.encode(self.case.target_prompt)
        if method.way == TUNE_A_VIDEO:
            guider = comfy.samplers.CFGGuider(model)
            guider.set_conds(positive, self.empty)
            guider.set_cfg(method.guidance)
            samples = denoise(guider, source, comfy.samplers.sampler_object("euler"), disable_pbar=True)
            return clean_samples(model, source, samples)
        acts_on, emphasis = method.emphasis_acts_on, self.case.emphasis
        edit = make_prompt_edit(
            source.tokens, target_tokens, method.alignment, emphasis=emphasis, emphasis_acts_on=acts_on
        )
        factors = meant(edit, read_factors(target_tokens, emphasis, "emphasis"))
        if factors:
            positive = lean_towards(positive, target_tokens, factors, self.encode)
        negative = null_text_conditioning(source) if method.null_text == ON_BOTH else self.empty
        return sample_edit(
            model,
            source,
            edit,
            method.settings(self.case),
            positive,
            negative,
            method.guidance,
            disable_pbar=True,
            sampler=method.sampler,
            guided=Window(*method.guided),
        )
