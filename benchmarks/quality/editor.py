"""Makes the edited clip of a case by a method, with the demo model, through the functions behind the nodes."""
import time

import comfy.sample
import torch
from fatezero_pack.demo.model import load_demo_model
from fatezero_pack.fatezero.inflation import Inflation, inflate
from fatezero_pack.fatezero.inversion import inversion_sigmas, invert
from fatezero_pack.fatezero.null_text import Optimization, null_text_conditioning, optimize_null_text
from fatezero_pack.fatezero.prompt_edit import make_prompt_edit
from fatezero_pack.fatezero.sampling import sample_edit
from fatezero_pack.fatezero.schedule import OFFICIAL
from fatezero_pack.fatezero.tokens import tokenize_prompt

from .cases import Case
from .methods import PROMPT_TO_PROMPT, SDEDIT, TRUTH, UNCHANGED, Method

SEED = 0  # of SDEdit's noise


class Editor:
    """The demo model, and the inversions of the case at hand, which methods share."""

    def __init__(self):
        self.model, self.clip, self.vae = load_demo_model()
        self.empty = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(""))
        self.case = None
        self.latent = None
        self.inversions = {}

    def make(self, case: Case, method: Method) -> tuple[torch.Tensor, float]:
        """The edited clip as an IMAGE [n, H, W, 3] of 0..1, and the processor seconds from latent to latent."""
        with torch.inference_mode():
            if case != self.case:
                self.case, self.inversions = case, {}
                self.latent = self.vae.encode(case.clip(case.source))
            started = time.process_time()
            if method.way in (TRUTH, UNCHANGED):
                clip = case.clip(case.target if method.way == TRUTH else case.source)
                return self.vae.decode(self.vae.encode(clip)), 0.0
            if method.way == SDEDIT:
                latent, seconds = self.noised_and_denoised(method), 0.0
            else:
                latent, seconds = self.inverted_and_edited(method)
            return self.vae.decode(latent), time.process_time() - started + seconds

    def encode(self, text: str):
        tokens = tokenize_prompt(self.clip, text)
        conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))
        return tokens, [[embedding, {**options, "fatezero_tokens": tokens}] for embedding, options in conditioning]

    def unet(self, method: Method):
        if not method.key_frames:
            return self.model
        return inflate(self.model, Inflation(method.key_frames, normalise_across_frames=method.normalise_across_frames))

    def noised_and_denoised(self, method: Method) -> torch.Tensor:
        """SDEdit: every frame by itself, from the same noise, as img2img with a fixed seed."""
        _, positive = self.encode(self.case.target_prompt)
        noise = comfy.sample.prepare_noise(self.latent[:1], SEED).expand_as(self.latent)
        return comfy.sample.sample(
            self.unet(method), noise, method.steps, method.guidance, "euler", "normal", positive, self.empty,
            self.latent, denoise=method.strength, disable_pbar=True, seed=SEED)

    def inverted_and_edited(self, method: Method) -> tuple[torch.Tensor, float]:
        """The edited latent, and the seconds of an inversion that an earlier method has paid for."""
        model = self.unet(method)
        source, seconds = self.inverted(method, model)
        target_tokens, positive = self.encode(self.case.target_prompt)
        edit = make_prompt_edit(source.tokens, target_tokens, method.alignment)
        negative = self.empty
        if method.way == PROMPT_TO_PROMPT:
            optimization = Optimization(guidance=method.guidance, inner_steps=1, per_frame=True)
            source, _, _ = optimize_null_text(model, source, source.conditioning, optimization)
            negative = null_text_conditioning(source)
        return sample_edit(model, source, edit, method.settings(self.case), positive, negative, method.guidance,
                           disable_pbar=True), seconds

    def inverted(self, method: Method, model):
        """The source run, and the seconds that it took if it was made before."""
        asked = method.key_frames, method.normalise_across_frames, method.steps, method.label, method.refinement
        if asked in self.inversions:
            return self.inversions[asked]
        started = time.process_time()
        _, conditioning = self.encode(self.case.source_prompt)
        sigmas = inversion_sigmas(model, OFFICIAL, method.steps)
        source = invert(model, conditioning, self.latent, sigmas=sigmas, label=method.label,
                        refinement=method.refinement, disable_pbar=True)
        self.inversions[asked] = source, time.process_time() - started
        return source, 0.0
